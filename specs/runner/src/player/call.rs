//! What a stream carries beside its frames, as fields of the BEGIN that opens it: `identity={…}`, and
//! `deadline=5000`, in milliseconds from the moment at which it is opened.

use std::fmt::Write as _;
use std::sync::Arc;

use tidegate_engine::{CallContext, Duration, Time};
use tidegate_streams::{Field as _, Identity, Value};

use crate::captures::Captures;
use crate::difference::Difference;
use crate::said::Said;

const IDENTITY: &str = "identity";
const DEADLINE: &str = "deadline";

/// A BEGIN's own fields, without those that state what the stream carries.
pub(super) fn without_call(said: &Said) -> Said {
    let mut own = said.clone();
    own.fields
        .retain(|(name, _)| name != IDENTITY && name != DEADLINE);
    own
}

/// What a BEGIN that the script plays states.
pub(super) fn stated(said: &Said, captures: &Captures, now: Time) -> Result<CallContext, String> {
    let mut call = CallContext::default();
    for (name, pattern) in &said.fields {
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

/// What a stream carried when it was opened towards a side of the script.
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

    /// Whether it is what the script says: what is not said is not there.
    pub(super) fn agrees(&self, said: &Said, captures: &mut Captures) -> Result<(), Difference> {
        for name in [IDENTITY, DEADLINE] {
            let pattern = said.fields.iter().find(|(known, _)| known == name);
            let value = self.0.iter().find(|(known, _)| *known == name);
            match (pattern, value) {
                (None, None) => {}
                (None, Some((_, value))) => {
                    return Err(format!("{name}={value} is not in the script").into());
                }
                (Some(_), None) => {
                    let what = format!("the stream carries no {name}");
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

    /// Appends it to a line of a script.
    pub(super) fn print(&self, line: &mut String) {
        for (name, value) in &self.0 {
            let _ = write!(line, " {name}={value}");
        }
    }
}
