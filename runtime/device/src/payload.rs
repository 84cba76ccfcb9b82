//! Writes the payload of a command from its arguments.

use serde_json::{Map, Value};

use crate::device::Payload;
use crate::template::TemplateError;

impl Payload {
    /// The payload of a command with these arguments.
    ///
    /// ```
    /// use tidegate_device::{Payload, Template};
    ///
    /// let arguments = serde_json::json!({ "level": 40 });
    /// let arguments = arguments.as_object().cloned().unwrap_or_default();
    /// let payload = Payload::Template(Template::new("LEVEL {{ level }}")?);
    /// assert_eq!(payload.render(&arguments)?, "LEVEL 40");
    /// assert_eq!(Payload::Arguments.render(&arguments)?, r#"{"level":40}"#);
    /// # Ok::<(), tidegate_device::TemplateError>(())
    /// ```
    pub fn render(&self, arguments: &Map<String, Value>) -> Result<String, TemplateError> {
        match self {
            Self::Fixed(text) => Ok(text.clone()),
            Self::Arguments => Ok(Value::Object(arguments.clone()).to_string()),
            Self::Argument(name) => match arguments.get(name) {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(value) => Ok(value.to_string()),
                None => Err(TemplateError::Failed {
                    reason: format!("the argument '{name}' is missing"),
                }),
            },
            Self::Template(template) => template.render(&Value::Object(arguments.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_argument_is_written_as_text() {
        let arguments = json!({ "text": "a", "number": 1.5 });
        let arguments = arguments.as_object().expect("an object");
        let render = |name: &str| Payload::Argument(name.to_owned()).render(arguments);
        assert_eq!(render("text"), Ok("a".to_owned()));
        assert_eq!(render("number"), Ok("1.5".to_owned()));
        assert!(render("missing").is_err());
        let fixed = Payload::Fixed("ON".to_owned());
        assert_eq!(fixed.render(arguments), Ok("ON".to_owned()));
    }
}
