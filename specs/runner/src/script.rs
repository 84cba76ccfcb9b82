//! A scenario file: a header, and lines that are executed in order.

use std::fmt;
use std::path::{Path, PathBuf};

use nom::Parser;
use nom::character::complete::{char, u64 as number};
use nom::sequence::preceded;
use thiserror::Error;
use tidegate_engine::Duration;

use crate::event::{Event, event};
use crate::lexer::{Read, SyntaxError, blanks, expected, name, word};
use crate::statement::{Statement, statement};
use crate::value::{Pattern, pattern};

/// A parsed scenario.
#[derive(Debug, Clone)]
pub struct Script {
    pub(crate) path: PathBuf,
    pub(crate) binding: String,
    pub(crate) config: PathBuf,
    pub(crate) seed: u64,
    /// Sides whose credit the script grants, with their initial credit.
    pub(crate) manual: Vec<(String, u32)>,
    /// Whether it can also run over real sockets.
    pub(crate) live: bool,
    /// Whether the order of frames is significant, so that seeds are not used.
    pub(crate) ordered: bool,
    /// Number of expected panics.
    pub(crate) faults: u64,
    /// While parsing: whether a `repeat` is open.
    repeats: bool,
    pub(crate) lines: Vec<Line>,
}

/// A line, including its continuation lines.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Line number, from 1.
    pub(crate) number: usize,
    /// The text as written, with continuation lines.
    pub(crate) text: String,
    pub(crate) step: Option<Step>,
}

/// The action of a line.
#[derive(Debug, Clone)]
pub enum Step {
    /// `>`
    Play(Statement),
    /// `<`
    Expect(Statement),
    /// An event that no line before was about.
    Event(Event),
    /// Advance the clock.
    Advance(Duration),
    /// Advance the clock to the next timer.
    Next,
    /// Shut down the engine.
    Shutdown,
    /// Execute the lines up to [`Step::Again`] this many times, each time with the captures from before.
    Repeat(u64),
    /// End of the repeated lines.
    Again,
}

/// A syntax error in a script.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ScriptError {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The error.
    pub what: String,
    /// The text of the line.
    pub text: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            column,
            what,
            text,
        } = self;
        writeln!(f, "{}:{line}:{column}: {what}", path.display())?;
        writeln!(f, "  {text}")?;
        write!(f, "  {:>column$}", "^")
    }
}

impl Script {
    /// Parses a script. `path` is used in errors; the config is relative to its folder.
    pub fn parse(path: &Path, source: &str) -> Result<Self, ScriptError> {
        let mut script = Self {
            path: path.to_owned(),
            binding: String::new(),
            config: PathBuf::new(),
            seed: 7,
            manual: Vec::new(),
            live: false,
            ordered: false,
            faults: 0,
            repeats: false,
            lines: gather(source),
        };
        let mut lines = std::mem::take(&mut script.lines);
        for line in &mut lines {
            let error = script.read(line).err();
            if let Some(error) = error {
                return Err(script.error(line, error));
            }
        }
        script.lines = lines;
        if script.repeats {
            let last = script
                .lines
                .iter()
                .rfind(|line| !line.text.trim().is_empty());
            let what = (0, "'repeat' without 'again'".to_owned());
            return Err(match last {
                Some(line) => script.error(line, what),
                None => script.error(
                    &Line {
                        number: 1,
                        text: String::new(),
                        step: None,
                    },
                    what,
                ),
            });
        }
        if script.binding.is_empty() {
            return Err(ScriptError {
                path: script.path,
                line: 1,
                column: 1,
                what: "the script names no binding; say 'binding NAME config=FILE' first"
                    .to_owned(),
                text: source.lines().next().unwrap_or_default().to_owned(),
            });
        }
        Ok(script)
    }

    /// The steps: line number from 1, text, and step.
    pub fn steps(&self) -> impl Iterator<Item = (usize, &str, &Step)> {
        let step = |line: &'_ Line| line.step.is_some();
        let lines = self.lines.iter().filter(move |line| step(line));
        lines.filter_map(|line| Some((line.number, line.text.as_str(), line.step.as_ref()?)))
    }

    /// Whether it is about events, which are recorded then.
    pub(crate) fn has_events(&self) -> bool {
        self.steps()
            .any(|(_, _, step)| matches!(step, Step::Event(_)))
    }

    /// Path of the config.
    pub fn config(&self) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        folder.join(&self.config)
    }

    /// Path of the script.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it can also run over real sockets (`live`).
    pub const fn is_live(&self) -> bool {
        self.live
    }

    /// Whether the order of frames is significant (`ordered`): seeds are not used.
    pub const fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// The text, including lines changed by blessing.
    pub(crate) fn source(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|line| line.text.as_str()).collect();
        lines.join("\n") + "\n"
    }

    fn read(&mut self, line: &mut Line) -> Result<(), (usize, String)> {
        let text = line.text.clone();
        let body = text.trim_start();
        if body.is_empty() || body.starts_with('#') {
            return Ok(());
        }
        let at = |error: SyntaxError<'_>| {
            let what = format!("expected {}", error.expected);
            (text.len() - error.rest.len(), what)
        };
        let failed = |error: nom::Err<SyntaxError<'_>>| match error {
            nom::Err::Error(error) | nom::Err::Failure(error) => at(error),
            nom::Err::Incomplete(_) => (text.len(), "unexpected end of line".to_owned()),
        };
        let start = text.len() - body.len();
        line.step = if let Some(rest) = body.strip_prefix('>') {
            Some(Step::Play(whole(statement, rest).map_err(failed)?))
        } else if let Some(rest) = body.strip_prefix('<') {
            Some(Step::Expect(whole(statement, rest).map_err(failed)?))
        } else if let Some(rest) = body.strip_prefix("event ") {
            Some(Step::Event(whole(event, rest).map_err(failed)?))
        } else if body.starts_with('+') {
            Some(whole(time, body).map_err(failed)?)
        } else {
            let (keyword, items) = whole(header, body).map_err(failed)?;
            self.header(&keyword, &items)
                .map_err(|what| (start, what))?
        };
        Ok(())
    }

    fn header(&mut self, keyword: &str, items: &[HeaderItem]) -> Result<Option<Step>, String> {
        let mut words = items.iter().filter_map(|item| match item {
            HeaderItem::Word(word) => Some(word.clone()),
            HeaderItem::Field(..) => None,
        });
        let field = |expected: &str| {
            items.iter().find_map(|item| match item {
                HeaderItem::Field(name, Pattern::Exactly(value)) if name == expected => {
                    Some(value.clone())
                }
                _ => None,
            })
        };
        let missing = |what: &str| format!("'{keyword}' needs {what}");
        match keyword {
            "binding" => {
                self.binding = words.next().ok_or_else(|| missing("a binding's name"))?;
                let Some(tidegate_streams::Value::Text(config)) = field("config") else {
                    return Err(missing("config=\"FILE\""));
                };
                self.config = PathBuf::from(&config[..]);
            }
            "seed" => {
                let seed = words.next().and_then(|word| word.parse().ok());
                self.seed = seed.ok_or_else(|| missing("a number"))?;
            }
            "window" => {
                let (manual, side) = (words.next(), words.next());
                let (Some("manual"), Some(side)) = (manual.as_deref(), side) else {
                    return Err("invalid 'window'; use 'window manual SIDE maximum=N'".to_owned());
                };
                let Some(tidegate_streams::Value::Integer(maximum)) = field("maximum") else {
                    return Err(missing("maximum=N"));
                };
                let maximum = u32::try_from(maximum).map_err(|_| missing("maximum=N"))?;
                self.manual.push((side, maximum));
            }
            "faults" => {
                let faults = words.next().and_then(|word| word.parse().ok());
                self.faults = faults.ok_or_else(|| missing("a number"))?;
            }
            "repeat" => {
                let times = words.next().and_then(|word| word.parse().ok());
                let times = times.ok_or_else(|| missing("a count"))?;
                if std::mem::replace(&mut self.repeats, true) {
                    return Err("'repeat' cannot be nested".to_owned());
                }
                return Ok(Some(Step::Repeat(times)));
            }
            "again" => {
                if !std::mem::replace(&mut self.repeats, false) {
                    return Err("'again' without 'repeat'".to_owned());
                }
                return Ok(Some(Step::Again));
            }
            "live" => self.live = true,
            "ordered" => self.ordered = true,
            _ => {
                return Err(format!(
                    "unknown keyword '{keyword}'; a line starts with '>', '<', '+', '#', 'binding', \
                     'seed', 'window', 'faults', 'repeat', 'again', 'event', 'live' or 'ordered'"
                ));
            }
        }
        Ok(None)
    }

    fn error(&self, line: &Line, (offset, what): (usize, String)) -> ScriptError {
        let before = line.text.get(..offset).unwrap_or(&line.text);
        let down = before.matches('\n').count();
        let column = before
            .chars()
            .rev()
            .take_while(|letter| *letter != '\n')
            .count()
            + 1;
        ScriptError {
            path: self.path.clone(),
            line: line.number + down,
            column,
            what,
            text: line.text.lines().nth(down).unwrap_or_default().to_owned(),
        }
    }
}

/// Joins continuation lines: a line that starts with whitespace continues the previous one.
fn gather(source: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (index, text) in source.lines().enumerate() {
        let continues = text.starts_with([' ', '\t']) && !text.trim().is_empty();
        match lines.last_mut() {
            Some(last)
                if continues && !last.text.trim().is_empty() && !last.text.starts_with('#') =>
            {
                last.text.push('\n');
                last.text.push_str(text);
            }
            _ => lines.push(Line {
                number: index + 1,
                text: text.to_owned(),
                step: None,
            }),
        }
    }
    lines
}

/// Applies a parser to the whole input, except surrounding whitespace.
fn whole<'a, T>(
    parser: impl Parser<&'a str, Output = T, Error = SyntaxError<'a>>,
    input: &'a str,
) -> Result<T, nom::Err<SyntaxError<'a>>> {
    let (rest, found) = preceded(blanks, parser).parse(input)?;
    let (rest, _) = blanks(rest)?;
    if rest.is_empty() {
        return Ok(found);
    }
    Err(nom::Err::Failure(SyntaxError {
        rest,
        expected: "a word, name=value, a payload or end of line",
    }))
}

fn time(input: &str) -> Read<'_, Step> {
    let (rest, _) = char('+').parse(input)?;
    match rest.trim_end() {
        "next" => return Ok(("", Step::Next)),
        "shutdown" => return Ok(("", Step::Shutdown)),
        _ => {}
    }
    let (behind, count) = expected("a time like 5s or 100ms, 'next' or 'shutdown'", number)(rest)?;
    let (end, unit) = expected("'s', 'ms' or 'us'", word)(behind)?;
    let duration = match unit {
        "s" => Duration::from_secs(count),
        "ms" => Duration::from_millis(count),
        "us" => Duration::from_micros(count),
        _ => {
            return Err(nom::Err::Failure(SyntaxError {
                rest: behind,
                expected: "'s', 'ms' or 'us'",
            }));
        }
    };
    Ok((end, Step::Advance(duration)))
}

enum HeaderItem {
    Word(String),
    Field(String, Pattern),
}

fn header(input: &str) -> Read<'_, (String, Vec<HeaderItem>)> {
    let (mut rest, keyword) = expected("'>', '<', '+', '#' or a word like 'binding'", name)(input)?;
    let mut items = Vec::new();
    loop {
        let (behind, _) = blanks(rest)?;
        if behind.is_empty() {
            return Ok((behind, (keyword.to_owned(), items)));
        }
        let field = name(behind)
            .ok()
            .and_then(|(at, field)| Some((at.strip_prefix('=')?, field)));
        rest = if let Some((at, field)) = field {
            let (rest, value) = config_value(at)?;
            items.push(HeaderItem::Field(field.to_owned(), value));
            rest
        } else {
            let (rest, word) = word(behind)?;
            items.push(HeaderItem::Word(word.to_owned()));
            rest
        };
    }
}

/// A value in the header; paths need no quotes.
fn config_value(input: &str) -> Read<'_, Pattern> {
    let bare = input.split(char::is_whitespace).next().unwrap_or_default();
    let is_path = bare.contains(['.', '/']) && !bare.starts_with('"');
    if is_path {
        let value = tidegate_streams::Value::Text(bare.to_owned().into());
        return Ok((&input[bare.len()..], Pattern::Exactly(value)));
    }
    pattern(input)
}
