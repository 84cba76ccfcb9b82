//! The call context of a stream as fields of its BEGIN: `identity={…}`, and `deadline=5000` in
//! milliseconds after BEGIN.

use std::fmt::Write as _;
use std::sync::Arc;

use tidegate_engine::{CallContext, Duration, Time};
use tidegate_streams::{Field as _, Identity, Value};

use crate::captures::Captures;
use crate::difference::Difference;
use crate::statement::Statement;

const IDENTITY: &str = "identity";
const DEADLINE: &str = "deadline";

/// The fields of a BEGIN without those of the call context.
pub(super) fn without_call(statement: &Statement) -> Statement {
    let mut own = statement.clone();
    own.fields
        .retain(|(name, _)| name != IDENTITY && name != DEADLINE);
    own
}

/// The call context stated by a BEGIN of the script.
pub(super) fn stated(
    statement: &Statement,
    captures: &Captures,
    now: Time,
) -> Result<CallContext, String> {
    let mut call = CallContext::default();
    for (name, pattern) in &statement.fields {
        if name != IDENTITY && name != DEADLINE {
            continue;
        }
        let value = pattern.resolve(captures).map_err(|it| it.to_string())?;
        if name == IDENTITY {
            let identity = Identity::from_value(&value).map_err(|it| it.to_string())?;
            call.identity = Some(Arc::new(identity));
        } else {
            let millis = u64::from_value(&value).map_err(|it| it.to_string())?;
            call.deadline = Some(now + Duration::from_millis(millis));
        }
    }
    Ok(call)
}

/// The call context of a stream that the binding opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried(Vec<(&'static str, Value)>);

impl Carried {
    pub(super) fn of(call: &CallContext, now: Time) -> Self {
        let identity = call.identity.as_ref();
        let identity = identity.map(|it| (IDENTITY, it.to_value()));
        let deadline = call.deadline.map(|it| it.since(now).as_millis());
        let deadline = deadline.map(|millis| (DEADLINE, millis.to_value()));
        Self(identity.into_iter().chain(deadline).collect())
    }

    /// Compares it with the statement: what is not stated must be absent.
    pub(super) fn agrees(
        &self,
        statement: &Statement,
        captures: &mut Captures,
    ) -> Result<(), Difference> {
        for name in [IDENTITY, DEADLINE] {
            let pattern = statement.fields.iter().find(|(known, _)| known == name);
            let value = self.0.iter().find(|(known, _)| *known == name);
            match (pattern, value) {
                (None, None) => {}
                (None, Some((_, value))) => {
                    return Err(format!("unexpected {name}={value}").into());
                }
                (Some(_), None) => {
                    let what = format!("missing {name}");
                    return Err(Difference::of_field(name, what));
                }
                (Some((_, pattern)), Some((_, value))) => {
                    if !pattern.matches(value, captures) {
                        return Err(Difference::of_field(name, format!("{name} is {value}")));
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends it as fields to a line.
    pub(super) fn print(&self, line: &mut String) {
        for (name, value) in &self.0 {
            let _ = write!(line, " {name}={value}");
        }
    }
}
