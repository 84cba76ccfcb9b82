//! Expressions for the caller in texts of a config: `${guarded['GUARD'].identity}` is its subject, and
//! `${guarded['GUARD'].attributes.NAME}` one of its attributes.

use crate::Identity;

/// How an expression begins.
pub const EXPRESSION: &str = "${";

/// What of a caller an expression stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerValue {
    /// The subject.
    Subject,
    /// The attribute of this name.
    Attribute(Box<str>),
}

impl CallerValue {
    /// Parses a whole expression, with its braces. Returns the guard that it names too; `None` if it is
    /// no expression for the caller.
    ///
    /// ```
    /// use tidegate_streams::CallerValue;
    /// let parsed = CallerValue::parse("${guarded['staff'].identity}");
    /// assert_eq!(parsed, Some(("staff", CallerValue::Subject)));
    /// assert_eq!(CallerValue::parse("${guarded['staff'].roles}"), None);
    /// ```
    pub fn parse(expression: &str) -> Option<(&str, Self)> {
        let inner = expression.strip_prefix("${guarded['")?.strip_suffix('}')?;
        let (guard, of_identity) = inner.split_once("']")?;
        if guard.is_empty() {
            return None;
        }
        if of_identity == ".identity" {
            return Some((guard, Self::Subject));
        }
        let attribute = of_identity.strip_prefix(".attributes")?;
        let name = attribute
            .strip_prefix('.')
            .or_else(|| attribute.strip_prefix("['")?.strip_suffix("']"))?;
        let is_name = !name.is_empty() && !name.contains(['\'', '[', ']']);
        is_name.then(|| (guard, Self::Attribute(name.into())))
    }

    /// The value for a caller, if it has one.
    pub fn of<'a>(&self, caller: &'a Identity) -> Option<&'a str> {
        match self {
            Self::Subject => Some(&caller.subject),
            Self::Attribute(name) => caller.attribute(name).map(|value| &**value),
        }
    }
}
