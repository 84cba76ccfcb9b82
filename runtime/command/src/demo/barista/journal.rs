//! What each side of the tour sees: printed with its time as it happens, and kept, so that the tour can
//! wait for it and check it.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::watch;

use crate::console::{dim, print_line};

/// Most entries that are kept; further ones are printed only.
const KEPT_MAX: usize = 10_000;

/// Something that one side saw or did.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// It sent a message.
    Sent { topic: String, text: String },
    /// It received a message.
    Received { topic: String, text: String },
    /// The broker has taken over a message that it sent.
    Acknowledged { topic: String },
    /// A tool was called.
    Called {
        tool: &'static str,
        argument: String,
        answer: String,
    },
    /// The gateway has subscribed.
    Subscribed,
    /// The gateway has acknowledged a message: it is done with it.
    DoneWith,
    /// Anything else, in words.
    Did(String),
}

impl Event {
    /// The topic and the payload of a message that was received.
    pub(super) fn received(&self) -> Option<(&str, Value)> {
        match self {
            Self::Received { topic, text } => {
                Some((topic, serde_json::from_str(text).unwrap_or_default()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { topic, text } => write!(f, "→ {topic}  {}", on_one_line(text)),
            Self::Received { topic, text } => write!(f, "← {topic}  {}", on_one_line(text)),
            Self::Acknowledged { topic } => write!(f, "the broker has {topic}"),
            Self::Called {
                tool,
                argument,
                answer,
            } => write!(f, "{tool}(\"{argument}\") → {answer}"),
            Self::Subscribed => f.write_str("subscribed"),
            Self::DoneWith => f.write_str("done with it: acknowledged to the broker"),
            Self::Did(what) => f.write_str(what),
        }
    }
}

/// A payload as it is, unless it has several lines.
fn on_one_line(text: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Value>(text) {
        Ok(json) if text.contains('\n') => json.to_string().into(),
        _ => text.into(),
    }
}

/// An event, and whose it is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) who: &'static str,
    pub(super) event: Event,
}

/// The journal of a tour; its clones are the same journal.
#[derive(Debug, Clone)]
pub(super) struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pages: Mutex<Pages>,
    /// The number of entries.
    count: watch::Sender<usize>,
}

#[derive(Debug)]
struct Pages {
    /// Time 0 of the lines that are printed.
    began: Instant,
    entries: Vec<Entry>,
}

impl Journal {
    pub(super) fn new() -> Self {
        let pages = Pages {
            began: Instant::now(),
            entries: Vec::new(),
        };
        Self(Arc::new(Shared {
            pages: Mutex::new(pages),
            count: watch::Sender::new(0),
        }))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the printed times begin again.
    pub(super) fn begin(&self) {
        self.pages().began = Instant::now();
    }

    /// Prints and keeps an event.
    pub(super) fn add(&self, who: &'static str, event: Event) {
        let at = Instant::now();
        let count = {
            let mut pages = self.pages();
            let time = at.duration_since(pages.began).as_secs_f64() * 1e3;
            print_line(format!(
                "{} {who:8} {event}",
                dim(&format!("{time:9.1} ms"))
            ));
            if pages.entries.len() < KEPT_MAX {
                pages.entries.push(Entry { who, event });
            }
            pages.entries.len()
        };
        self.0.count.send_replace(count);
    }

    /// The number of entries so far: a place to look from.
    pub(super) fn place(&self) -> usize {
        self.pages().entries.len()
    }

    /// What `find` makes of the entries from a place on.
    pub(super) fn all<T>(&self, from: usize, find: impl Fn(&Entry) -> Option<T>) -> Vec<T> {
        let pages = self.pages();
        let entries = pages.entries.get(from..).unwrap_or_default();
        entries.iter().filter_map(find).collect()
    }

    /// Waits for the first entry from a place on of which `find` makes something.
    pub(super) async fn first<T>(&self, from: usize, find: impl Fn(&Entry) -> Option<T>) -> T {
        let mut count = self.0.count.subscribe();
        loop {
            count.borrow_and_update();
            let found = self.all(from, &find).into_iter().next();
            match found {
                Some(found) => return found,
                // It fails when the sender is dropped, which this journal holds.
                None => drop(count.changed().await),
            }
        }
    }
}
