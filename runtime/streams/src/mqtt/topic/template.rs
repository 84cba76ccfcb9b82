//! Topic filters that contain the caller: `commands/${guarded['staff'].identity}/set`.
//!
//! An expression stands for a whole level. Its value comes from the caller's identity and is never more
//! than one level: a value that is empty or contains `/`, `+`, `#` or NUL matches nothing, nor does one
//! that begins with `$` at the first level. So no subject and no claim of a token can widen what its
//! bearer may reach.

use bytestring::ByteString;
use thiserror::Error;

use super::{Level, TopicError, TopicFilter, covers, is_reserved, levels};
use crate::{CallerValue, EXPRESSION as OPEN, Identity};

/// A topic filter with at least one expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    text: ByteString,
    guard: Box<str>,
    levels: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A level of a filter, as written.
    Text(Box<str>),
    /// A value of the caller.
    Caller(CallerValue),
}

/// Why a text is not a valid template. Each message completes a sentence such as
/// `invalid topic filter 'a': …`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Not a known expression.
    #[error(
        "unknown expression '{0}'; use ${{guarded['GUARD'].identity}} or \
         ${{guarded['GUARD'].attributes.NAME}}"
    )]
    Expression(String),
    /// An expression beside other characters in a level.
    #[error("an expression must stand alone between slashes; write '{0}' as a whole level")]
    Level(String),
    /// Expressions of two guards.
    #[error("it names the guards '{0}' and '{1}', but a caller has an identity of one guard only")]
    Guards(String, String),
    /// The levels around the expressions are no topic filter.
    #[error(transparent)]
    Filter(#[from] TopicError),
    /// A shared subscription.
    #[error("shared subscriptions are not allowed here; remove '$share/NAME/'")]
    Shared,
}

impl TopicTemplate {
    /// Whether a text contains an expression.
    pub fn is_template(text: &str) -> bool {
        text.contains(OPEN)
    }

    /// Parses a text with at least one expression.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, TemplateError> {
        let text = text.into();
        let mut guard: Option<Box<str>> = None;
        let mut levels = Vec::new();
        let mut rest = Some(&*text);
        while let Some(from) = rest {
            let (level, behind) = split_level(from)?;
            rest = behind;
            if !level.starts_with(OPEN) {
                levels.push(Part::Text(level.into()));
                continue;
            }
            let (named, part) = expression(level)?;
            match &guard {
                Some(guard) if **guard != *named => {
                    return Err(TemplateError::Guards(guard.to_string(), named.to_owned()));
                }
                _ => guard = Some(named.into()),
            }
            levels.push(part);
        }
        let guard = guard.ok_or_else(|| TemplateError::Expression(text.to_string()))?;
        let template = Self {
            text,
            guard,
            levels: levels.into_boxed_slice(),
        };
        if template.example()?.is_shared() {
            return Err(TemplateError::Shared);
        }
        Ok(template)
    }

    /// The template, as written.
    pub const fn text(&self) -> &ByteString {
        &self.text
    }

    /// The guard whose identities it contains.
    pub fn guard(&self) -> &str {
        &self.guard
    }

    /// The filter with one character for each expression, for checks of its levels.
    pub fn example(&self) -> Result<TopicFilter, TopicError> {
        let levels = self.levels.iter().map(|part| match part {
            Part::Text(text) => &**text,
            Part::Caller(_) => "x",
        });
        TopicFilter::parse(levels.collect::<Vec<_>>().join("/"))
    }

    /// Whether it matches `topic`, which must be valid, for this caller.
    pub fn allows_topic(&self, caller: Option<&Identity>, topic: &str) -> bool {
        let own = self.levels(caller);
        own.is_some_and(|own| covers(own, levels(topic).map(Level::Literal)))
    }

    /// Whether it covers `filter` for this caller.
    pub fn allows_filter(&self, caller: Option<&Identity>, filter: &TopicFilter) -> bool {
        let levels = self.levels(caller);
        levels.is_some_and(|levels| covers(levels, filter.levels()))
    }

    /// The filter of this caller, if there is one.
    pub fn filter(&self, caller: Option<&Identity>) -> Option<TopicFilter> {
        let levels: Vec<&str> = self.texts(caller)?.collect();
        TopicFilter::parse(levels.join("/")).ok()
    }

    /// The first level for this caller, unless it is a wildcard.
    pub fn first_level<'a>(&'a self, caller: Option<&'a Identity>) -> Option<&'a str> {
        let first = self.texts(caller)?.next();
        first.filter(|level| !matches!(*level, "+" | "#"))
    }

    fn levels<'a>(
        &'a self,
        caller: Option<&'a Identity>,
    ) -> Option<impl Iterator<Item = Level<'a>>> {
        let caller = self.checked(caller)?;
        Some(self.levels.iter().map(move |part| match part {
            Part::Text(text) => Level::of_filter(text),
            // Values are literals, whatever they contain.
            Part::Caller(value) => Level::Literal(value.of(caller).unwrap_or_default()),
        }))
    }

    fn texts<'a>(&'a self, caller: Option<&'a Identity>) -> Option<impl Iterator<Item = &'a str>> {
        let caller = self.checked(caller)?;
        Some(self.levels.iter().map(move |part| match part {
            Part::Text(text) => &**text,
            Part::Caller(value) => value.of(caller).unwrap_or_default(),
        }))
    }

    /// The caller, if each of its values is one level.
    fn checked<'a>(&self, caller: Option<&'a Identity>) -> Option<&'a Identity> {
        let caller = caller.filter(|caller| *caller.guard == *self.guard)?;
        let mut parts = self.levels.iter().enumerate();
        let is_valid = |(index, part): (usize, &Part)| {
            matches!(part, Part::Text(_))
                || part
                    .value(caller)
                    .is_some_and(|value| is_one_level(value) && !(index == 0 && is_reserved(value)))
        };
        parts.all(is_valid).then_some(caller)
    }
}

impl Part {
    /// The caller's value of an expression.
    fn value<'a>(&self, caller: &'a Identity) -> Option<&'a str> {
        match self {
            Self::Text(_) => None,
            Self::Caller(value) => value.of(caller),
        }
    }
}

fn is_one_level(value: &str) -> bool {
    !value.is_empty()
        && !value
            .bytes()
            .any(|byte| matches!(byte, b'/' | b'+' | b'#' | 0))
}

/// The first level of a text and what follows its slash. A slash within an expression separates nothing.
fn split_level(text: &str) -> Result<(&str, Option<&str>), TemplateError> {
    let end = if text.starts_with(OPEN) {
        let end = text.find('}').map(|brace| brace + 1);
        end.ok_or_else(|| TemplateError::Expression(text.to_owned()))?
    } else {
        text.find('/').unwrap_or(text.len())
    };
    let (level, behind) = text.split_at_checked(end).unwrap_or((text, ""));
    if !text.starts_with(OPEN) && level.contains(OPEN) {
        return Err(TemplateError::Level(level.to_owned()));
    }
    match behind.strip_prefix('/') {
        Some(behind) => Ok((level, Some(behind))),
        None if behind.is_empty() => Ok((level, None)),
        None => Err(TemplateError::Level(level.to_owned())),
    }
}

/// The guard that an expression names, and what of the identity.
fn expression(level: &str) -> Result<(&str, Part), TemplateError> {
    let (guard, value) =
        CallerValue::parse(level).ok_or_else(|| TemplateError::Expression(level.to_owned()))?;
    Ok((guard, Part::Caller(value)))
}

#[cfg(test)]
mod tests;
