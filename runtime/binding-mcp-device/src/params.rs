//! The `params` of a call: collected until they are complete, then read as arguments.

use bytestring::ByteString;
use serde_json::{Map, Value};
use tidegate_json::Gather;
use tidegate_streams::mcp::{McpCapabilities, McpReset, McpResetKind, McpToolsCall};
use tidegate_streams::{Data, shown};

/// A call whose `params` are being received.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) tool: ByteString,
    text: Gather,
    bound: usize,
    can_ask: bool,
}

/// The params of a call.
#[derive(Debug)]
pub(crate) struct Params {
    pub(crate) arguments: Arguments,
    /// Whether the client asks for progress notifications.
    pub(crate) progress: bool,
    /// Whether the client can ask its user.
    pub(crate) can_ask: bool,
}

/// The arguments of a call; each is taken once, and what is left is unknown.
#[derive(Debug, Default)]
pub(crate) struct Arguments(Map<String, Value>);

impl Call {
    /// A call with `params` of up to `bound` bytes.
    pub(crate) fn new(call: McpToolsCall, bound: usize) -> Result<Self, McpReset> {
        if usize::try_from(call.content_length).is_ok_and(|length| length > bound) {
            return Err(too_large(bound));
        }
        let form = McpCapabilities::CLIENT_ELICITATION_FORM;
        Ok(Self {
            can_ask: call.capabilities.contains(form),
            tool: call.name,
            text: Gather::new(),
            bound,
        })
    }

    /// Adds a part. Returns whether it was the last one.
    pub(crate) fn add(&mut self, data: Data) -> Result<bool, McpReset> {
        if self.text.len() + data.payload.len() > self.bound {
            return Err(too_large(self.bound));
        }
        self.text.push(data.payload);
        Ok(data.flags.is_fin())
    }

    /// The params received so far.
    pub(crate) fn take(&mut self) -> Result<Params, McpReset> {
        let invalid = |why: String| McpReset::new(McpResetKind::Invalid, why);
        let text = self.text.take().contiguous();
        let params = if text.is_empty() {
            Value::Object(Map::new())
        } else {
            serde_json::from_slice(&text)
                .map_err(|error| invalid(format!("Invalid JSON in 'params': {error}.")))?
        };
        let Value::Object(mut params) = params else {
            return Err(invalid("'params' must be an object.".to_owned()));
        };
        let meta = params.get("_meta");
        let progress = meta.is_some_and(|meta| meta.get("progressToken").is_some());
        let arguments = match params.remove("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(invalid("'arguments' must be an object.".to_owned())),
        };
        Ok(Params {
            arguments: Arguments(arguments),
            progress,
            can_ask: self.can_ask,
        })
    }
}

fn too_large(bound: usize) -> McpReset {
    McpReset::new(
        McpResetKind::TooLarge,
        format!("'params' exceeds {bound} bytes (maxParams); send smaller arguments."),
    )
}

impl Arguments {
    #[cfg(test)]
    pub(crate) fn of(value: Value) -> Self {
        match value {
            Value::Object(members) => Self(members),
            _ => Self::default(),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A text, if it is given.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a string", &other)),
        }
    }

    /// A text that must be given.
    pub(crate) fn required(&mut self, name: &str, what: &str) -> Result<String, String> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("'{name}' is missing; add {what}."))
    }

    /// A boolean, if it is given.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(name, "true or false", &other)),
        }
    }

    /// A whole number from `min` to `max`, if it is given.
    pub(crate) fn whole(&mut self, name: &str, min: u64, max: u64) -> Result<Option<u64>, String> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let allowed = format!("a whole number from {min} to {max}");
        let exact = value.as_u64().or_else(|| whole(value.as_f64()?));
        match exact.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None if value.is_number() => Err(format!("'{name}' is {value}; use {allowed}.")),
            None => Err(wrong(name, &allowed, &value)),
        }
    }

    /// A number of at least 0, if it is given.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_f64().filter(|number| *number >= 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, "a number of at least 0", &value)),
        }
    }

    /// An object; empty if it is not given.
    pub(crate) fn object(&mut self, name: &str) -> Result<Map<String, Value>, String> {
        match self.take(name) {
            None => Ok(Map::new()),
            Some(Value::Object(members)) => Ok(members),
            Some(other) => Err(wrong(name, "an object", &other)),
        }
    }

    /// Checks that nothing is left: an argument that is not understood must not be ignored.
    pub(crate) fn finish(&self, known: &str) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("Unknown argument '{}'; use {known}.", shown(name))),
        }
    }
}

/// A number without a fraction, such as 3.0.
fn whole(number: f64) -> Option<u64> {
    /// Every integer up to this one is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "exact within the range checked here"
    )]
    (number.fract() == 0.0 && (0.0..=EXACT).contains(&number)).then_some(number as u64)
}

fn wrong(name: &str, wanted: &str, given: &Value) -> String {
    let given = match given {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::String(_) => "a string".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        other => shown(&other.to_string()).into_owned(),
    };
    format!("'{name}' must be {wanted}, not {given}.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_read_by_kind() {
        let mut arguments = Arguments::of(json!({
            "text": "a", "flag": true, "whole": 3.0, "number": 0.5, "object": { "a": 1 }, "none": null,
        }));
        assert_eq!(arguments.text("text"), Ok(Some("a".to_owned())));
        assert_eq!(arguments.boolean("flag"), Ok(Some(true)));
        assert_eq!(arguments.whole("whole", 1, 3), Ok(Some(3)));
        assert_eq!(arguments.number("number"), Ok(Some(0.5)));
        assert_eq!(arguments.object("object").map(|it| it.len()), Ok(1));
        assert_eq!(arguments.text("none"), Ok(None));
        assert_eq!(arguments.finish("nothing"), Ok(()));
    }

    #[test]
    fn an_error_says_what_is_allowed() {
        let given = json!({
            "text": 1, "flag": "yes", "whole": 4, "half": 1.5, "number": -1, "object": [], "x": 1,
        });
        let mut arguments = Arguments::of(given);
        let text = arguments.text("text").expect_err("a number");
        assert_eq!(text, "'text' must be a string, not 1.");
        let flag = arguments.boolean("flag").expect_err("a text");
        assert_eq!(flag, "'flag' must be true or false, not a string.");
        let whole = arguments.whole("whole", 1, 3).expect_err("too large");
        assert_eq!(whole, "'whole' is 4; use a whole number from 1 to 3.");
        assert!(arguments.whole("half", 1, 3).is_err());
        assert!(arguments.number("number").is_err() && arguments.object("object").is_err());
        let missing = arguments.required("device", "the id of a device");
        assert_eq!(
            missing,
            Err("'device' is missing; add the id of a device.".to_owned())
        );
        assert_eq!(
            arguments.finish("device"),
            Err("Unknown argument 'x'; use device.".to_owned())
        );
    }
}
