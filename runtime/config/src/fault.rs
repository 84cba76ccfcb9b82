//! Faults and warnings of a config, each with line, column and path, in source order.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use thiserror::Error;

use crate::locate::{Location, Target, locate};

/// Most faults printed for one config; the rest are counted.
const REPORTED: usize = 50;

/// One fault or warning. `Display` does not include [`Fault::help`].
#[derive(Debug, Clone, Error)]
#[error("{file}:{line}:{column}: {subject}{message}", file = document.name(), subject = subject(path))]
pub struct Fault {
    document: Arc<NamedSource<String>>,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// The path of the key or value, e.g. `bindings.http0.options.listen`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

fn subject(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path}: ")
    }
}

impl Fault {
    /// The fault and its fix, in one line.
    pub fn with_help(&self) -> String {
        match &self.help {
            Some(help) => format!("{self}; {help}"),
            None => self.to_string(),
        }
    }
}

impl Diagnostic for Fault {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.document)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let text = self.document.inner();
        let line = text
            .split_inclusive('\n')
            .take(self.line - 1)
            .map(str::len)
            .sum::<usize>();
        let rest = text.get(line..).unwrap_or_default();
        let offset: usize = rest.chars().take(self.column - 1).map(char::len_utf8).sum();
        let word = rest.get(offset..).unwrap_or_default();
        let length = word
            .find([' ', ',', ':', '}', ']', '\n', '\r'])
            .unwrap_or(word.len());
        let span = LabeledSpan::at(line + offset..line + offset + length, "here");
        Some(Box::new(std::iter::once(span)))
    }
}

/// Every fault of a config.
#[derive(Debug, Clone, Error)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The faults, in source order.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().take(REPORTED).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(&fault.with_help())?;
        }
        if self.0.len() > REPORTED {
            write!(f, "\nand {} more", self.0.len() - REPORTED)?;
        }
        Ok(())
    }
}

/// Collects faults while a config is read.
pub(crate) struct Findings<'t> {
    text: &'t str,
    document: Arc<NamedSource<String>>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// Faults and warnings at or below these paths are dropped.
    ignored: Vec<Vec<String>>,
    written: Vec<Written>,
}

/// A path that is not in the text, and where what it names is written.
struct Written {
    path: Vec<String>,
    place: Vec<String>,
    /// Whether what is below the path is written there as well, and not below it.
    is_whole: bool,
}

impl<'t> Findings<'t> {
    pub(crate) fn new(file: &str, text: &'t str) -> Self {
        let document = Arc::new(NamedSource::new(file, text.to_owned()));
        Self {
            text,
            document,
            faults: Vec::new(),
            warnings: Vec::new(),
            ignored: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Records a fault of the value at a path.
    pub(crate) fn value(&mut self, path: &[String], message: impl Into<String>) {
        self.record(path, Target::Value, message.into(), None);
    }

    /// Records a fault of the key at a path.
    pub(crate) fn key(
        &mut self,
        path: &[String],
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.record(path, Target::Key, message.into(), help);
    }

    /// Records a fault of the value at a path, and its fix.
    pub(crate) fn value_with(
        &mut self,
        path: &[String],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.record(path, Target::Value, message.into(), Some(help.into()));
    }

    /// Records a fault at a location.
    pub(crate) fn at(
        &mut self,
        location: Location,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let fault = self.fault(location, &[], message.into(), help);
        self.faults.push(fault);
    }

    /// Records a warning about the value at a path, or about its parent if there is no such value.
    pub(crate) fn warn(
        &mut self,
        path: &[String],
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = &self.place(path);
        let location = locate(self.text, path, Target::Value);
        let warning = self.fault(location, path, message.into(), Some(help.into()));
        self.warnings.push(warning);
    }

    /// Records no more faults of what lies at or below a path: its value is not known.
    pub(crate) fn ignore_below(&mut self, path: &[String]) {
        self.ignored.push(path.to_vec());
    }

    /// Reports what is at or below `path`, which is not in the text, at or below `written`.
    pub(crate) fn written_below(&mut self, path: Vec<String>, written: Vec<String>) {
        self.written.push(Written {
            path,
            place: written,
            is_whole: false,
        });
    }

    /// Reports what is at or below `path`, which is not in the text, at `written`.
    pub(crate) fn written_at(&mut self, path: Vec<String>, written: Vec<String>) {
        self.written.push(Written {
            path,
            place: written,
            is_whole: true,
        });
    }

    /// Where what a path names is written.
    pub(crate) fn place(&self, path: &[String]) -> Vec<String> {
        let found = self.written.iter().filter(|it| path.starts_with(&it.path));
        let Some(found) = found.max_by_key(|it| it.path.len()) else {
            return path.to_vec();
        };
        let below = path.get(found.path.len()..).unwrap_or_default();
        let below = if found.is_whole { &[] } else { below };
        [found.place.as_slice(), below].concat()
    }

    /// Whether there are values that are not known.
    pub(crate) const fn ignores_some(&self) -> bool {
        !self.ignored.is_empty()
    }

    fn record(&mut self, path: &[String], target: Target, message: String, help: Option<String>) {
        let path = &self.place(path);
        if self.ignored.iter().any(|ignored| path.starts_with(ignored)) {
            return;
        }
        let location = locate(self.text, path, target);
        let fault = self.fault(location, path, message, help);
        self.faults.push(fault);
    }

    fn fault(&self, at: Location, path: &[String], message: String, help: Option<String>) -> Fault {
        Fault {
            document: Arc::clone(&self.document),
            line: at.line,
            column: at.column,
            path: path.join("."),
            message,
            help,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.faults.len()
    }

    pub(crate) fn into_faults(self) -> Faults {
        Faults(sorted(self.faults))
    }

    /// The warnings, or the faults if there are any.
    pub(crate) fn into_warnings(self) -> Result<Vec<Fault>, Faults> {
        if self.faults.is_empty() {
            Ok(sorted(self.warnings))
        } else {
            Err(self.into_faults())
        }
    }
}

/// In source order.
fn sorted(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort_by_key(|fault| (fault.line, fault.column));
    faults
}

/// The known word with the smallest edit distance, if it is close enough.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "did you mean …?" if a known word is close, and the list of valid words.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'? Valid: {list}"),
        None => format!("valid: {list}"),
    }
}
