//! Files that are replaced while they are in use.
//!
//! The contents are compared every few seconds, which also finds what a notification would miss: files
//! behind a symbolic link, as in a mounted Kubernetes secret, and bind mounts. A certificate and its
//! key are often replaced one after the other, so changed files are used when they have stopped
//! changing. Files that cannot be used are reported once, and the last good ones stay in use.
//!
//! [`Reload::step`] compares once and says when to compare again; an edge calls it, on a thread that
//! may block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::pem::Unusable;

/// How often the files are compared.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long changed files must stay the same.
const SETTLED: Duration = Duration::from_millis(300);

/// The files that options name, and what is made of them.
pub trait Files: Send + Sync + 'static {
    /// Their contents.
    type Contents: Eq + Send;
    /// What is made of the contents.
    type Made: Send + Sync;

    /// Reads the files.
    fn read(&self) -> Result<Self::Contents, Unusable>;
    /// Makes it.
    fn make(&self, contents: &Self::Contents) -> Result<Self::Made, Unusable>;
}

/// What is in use, for all workers.
pub struct Current<F: Files> {
    files: F,
    current: Mutex<(F::Contents, Arc<F::Made>)>,
}

impl<F: Files> Current<F> {
    /// Reads the files for the first time.
    pub fn load(files: F) -> Result<Self, Unusable> {
        let contents = files.read()?;
        let made = Arc::new(files.make(&contents)?);
        Ok(Self {
            files,
            current: Mutex::new((contents, made)),
        })
    }

    /// What is in use now.
    pub fn get(&self) -> Arc<F::Made> {
        Arc::clone(&self.lock().1)
    }

    fn lock(&self) -> MutexGuard<'_, (F::Contents, Arc<F::Made>)> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds changed files, and puts them to use.
pub struct Reload<F: Files> {
    current: Arc<Current<F>>,
    /// Changed files that may still be changing.
    changing: Option<F::Contents>,
    reported: Option<Unusable>,
}

/// The result of a comparison.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// When to compare again.
    pub after: Duration,
    /// What to report: other files are in use, or they cannot be used.
    pub report: Option<Result<(), Unusable>>,
}

impl<F: Files> Reload<F> {
    /// Compares with what is in use.
    pub const fn new(current: Arc<Current<F>>) -> Self {
        Self {
            current,
            changing: None,
            reported: None,
        }
    }

    /// Compares once. It reads files, and blocks.
    pub fn step(&mut self) -> Step {
        let last = self.changing.take();
        let contents = match self.current.files.read() {
            Ok(contents) => contents,
            Err(why) => return self.failed(why),
        };
        if self.current.lock().0 == contents {
            self.reported = None;
            return Step {
                after: INTERVAL,
                report: None,
            };
        }
        if last.as_ref() != Some(&contents) {
            self.changing = Some(contents);
            return Step {
                after: SETTLED,
                report: None,
            };
        }
        match self.current.files.make(&contents) {
            Ok(made) => {
                *self.current.lock() = (contents, Arc::new(made));
                self.reported = None;
                Step {
                    after: INTERVAL,
                    report: Some(Ok(())),
                }
            }
            Err(why) => self.failed(why),
        }
    }

    fn failed(&mut self, why: Unusable) -> Step {
        let is_new = self.reported.as_ref() != Some(&why);
        if is_new {
            self.reported = Some(why.clone());
        }
        Step {
            after: INTERVAL,
            report: is_new.then_some(Err(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose content is a number, or nothing that can be used.
    struct Number(Arc<Mutex<String>>);

    impl Files for Number {
        type Contents = String;
        type Made = u32;

        fn read(&self) -> Result<String, Unusable> {
            Ok(self.0.lock().expect("no panic").clone())
        }

        fn make(&self, contents: &String) -> Result<u32, Unusable> {
            let number = contents.parse();
            number.map_err(|_| Unusable::because(format!("{contents} is no number")))
        }
    }

    fn setup() -> (Arc<Mutex<String>>, Arc<Current<Number>>, Reload<Number>) {
        let file = Arc::new(Mutex::new("1".to_owned()));
        let current = Current::load(Number(Arc::clone(&file)));
        let current = Arc::new(current.unwrap_or_else(|why| panic!("{why}")));
        let reload = Reload::new(Arc::clone(&current));
        (file, current, reload)
    }

    fn nothing(after: Duration) -> Step {
        Step {
            after,
            report: None,
        }
    }

    #[test]
    fn changed_files_are_used_once_they_have_stopped_changing() {
        let (file, current, mut reload) = setup();
        assert_eq!(reload.step(), nothing(INTERVAL));
        "2".clone_into(&mut file.lock().expect("no panic"));
        assert_eq!(reload.step(), nothing(SETTLED));
        "3".clone_into(&mut file.lock().expect("no panic"));
        assert_eq!(reload.step(), nothing(SETTLED));
        assert_eq!(*current.get(), 1);
        assert_eq!(reload.step().report, Some(Ok(())));
        assert_eq!(*current.get(), 3);
        assert_eq!(reload.step(), nothing(INTERVAL));
    }

    #[test]
    fn files_that_cannot_be_used_are_reported_once_and_the_last_good_ones_stay() {
        let (file, current, mut reload) = setup();
        "x".clone_into(&mut file.lock().expect("no panic"));
        assert_eq!(reload.step(), nothing(SETTLED));
        let failed = reload.step().report;
        assert_eq!(failed, Some(Err(Unusable::because("x is no number"))));
        assert_eq!(reload.step(), nothing(SETTLED));
        assert_eq!(reload.step(), nothing(INTERVAL));
        assert_eq!(*current.get(), 1);
        // The good ones are back, and then the same fault is a new one.
        "1".clone_into(&mut file.lock().expect("no panic"));
        assert_eq!(reload.step(), nothing(INTERVAL));
        "x".clone_into(&mut file.lock().expect("no panic"));
        assert_eq!(reload.step(), nothing(SETTLED));
        assert!(reload.step().report.is_some());
    }
}
