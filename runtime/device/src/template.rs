//! Templates of payloads: Jinja, as Home Assistant and many configs write them, within limits.

mod home_assistant;

use std::sync::{Arc, OnceLock};

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use thiserror::Error;

use crate::text::Text;

/// Most bytes of a template's source.
const SOURCE_MAX: usize = 4096;
/// Most instructions of one rendering.
const FUEL: u64 = 20_000;
/// Most bytes of a rendered text.
const OUTPUT_MAX: usize = 65_536;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// The source is too long.
    #[error("the template is {length} bytes long and at most 4096 are allowed; shorten it")]
    TooLong {
        /// Length in bytes.
        length: usize,
    },
    /// The source is not a template, or uses what does not exist.
    #[error("invalid template: {reason}")]
    Invalid {
        /// What the parser says.
        reason: String,
    },
    /// Rendering failed.
    #[error("the template could not be rendered: {reason}")]
    Failed {
        /// What the engine says, such as an undefined variable or too many steps.
        reason: String,
    },
    /// The payload does not have what the template needs.
    #[error("the template could not be rendered: {reason}")]
    Undefined {
        /// What the engine says.
        reason: String,
    },
    /// The result is too long.
    #[error("the template rendered more than 65536 bytes; it must render less")]
    OutputTooLong,
}

/// A template, checked when it was made.
///
/// It has the filters and tests of minijinja, reads no file and includes no other template. One rendering runs at most
/// 20,000 instructions and writes at most 64 KiB.
///
/// ```
/// use tidegate_device::Template;
///
/// let template = Template::new("{{ value_json.temperature | round(1) }}")?;
/// let context = serde_json::json!({ "value_json": { "temperature": 21.46 } });
/// assert_eq!(template.render(&context)?, "21.5");
/// # Ok::<(), tidegate_device::TemplateError>(())
/// ```
///
/// Only the source is kept, because a home has tens of thousands of templates of which few are rendered; compiling one
/// again takes microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Shared, because commands and properties are cloned with their device.
    source: Arc<str>,
    dialect: Dialect,
}

/// What a template may use beside Jinja itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Only what minijinja has; an undefined variable is an error.
    Plain,
    /// Filters, functions and methods that Home Assistant adds; an undefined variable renders as nothing.
    HomeAssistant,
    /// The same, for a rendering that only finds what does not exist.
    Trial,
    /// The same, for a rendering that only finds whether a message says something: it runs few instructions.
    Mention,
}

/// Most instructions of a rendering that finds whether a message says something.
pub(crate) const MENTION_FUEL: u64 = 500;

const NAME: &str = "payload";

impl Template {
    /// Compiles `source`.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let template = Self::unchecked(source, Dialect::Plain)?;
        template.compile(environment(Dialect::Plain))?;
        Ok(template)
    }

    /// Compiles `source`, a template as devices declare it for Home Assistant.
    ///
    /// It has the filters and functions that templates of devices use (numbers, JSON, choices, time),
    /// and Python's methods of texts, lists and mappings. An undefined variable renders as nothing. What reads the
    /// clock or the state of other entities, such as `now()` and `states()`, is refused.
    ///
    /// ```
    /// use tidegate_device::Template;
    ///
    /// let template = Template::home_assistant("{{ value_json.Color.split(',')[0:3] | join(',') }}")?;
    /// let context = serde_json::json!({ "value_json": { "Color": "255,0,64,10,0" } });
    /// assert_eq!(template.render(&context)?, "255,0,64");
    /// # Ok::<(), tidegate_device::TemplateError>(())
    /// ```
    pub fn home_assistant(source: &str) -> Result<Self, TemplateError> {
        let template = Self::unchecked(source, Dialect::HomeAssistant)?;
        let trial = template.compile(environment(Dialect::Trial))?;
        home_assistant::check_names(&trial)?;
        home_assistant::check_trial(&trial)?;
        drop(trial);
        Ok(template)
    }

    fn unchecked(source: &str, dialect: Dialect) -> Result<Self, TemplateError> {
        if source.len() > SOURCE_MAX {
            return Err(TemplateError::TooLong {
                length: source.len(),
            });
        }
        Ok(Self {
            source: source.into(),
            dialect,
        })
    }

    fn compile<'a>(
        &'a self,
        environment: &'a Environment<'a>,
    ) -> Result<minijinja::Template<'a, 'a>, TemplateError> {
        environment
            .template_from_named_str(NAME, &self.source)
            .map_err(|error| TemplateError::Invalid {
                reason: reason(&error),
            })
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is of Home Assistant's dialect, in which nothing rendered means that a message says nothing, and
    /// `None` that the value is unknown.
    pub(crate) fn is_home_assistant(&self) -> bool {
        self.dialect == Dialect::HomeAssistant
    }

    /// Renders it with the members of `context`.
    pub fn render(&self, context: &serde_json::Value) -> Result<String, TemplateError> {
        let mut output = Bounded(Vec::new());
        self.render_to(environment(self.dialect), Serde(context), &mut output)?;
        String::from_utf8(output.0).map_err(|error| TemplateError::Failed {
            reason: error.to_string(),
        })
    }

    /// Whether it renders anything but space with the members of `context`, in at most [`MENTION_FUEL`] instructions, and
    /// how many it took. Of Home Assistant's dialect.
    pub(crate) fn says_something(
        &self,
        context: &minijinja::Value,
    ) -> Result<(bool, u64), TemplateError> {
        let mut output = Bounded(Vec::new());
        let environment = environment(Dialect::Mention);
        let taken = self.render_to(environment, context.clone(), &mut output)?;
        let says = output.0.iter().any(|byte| !byte.is_ascii_whitespace());
        Ok((says, taken))
    }

    /// Returns the number of instructions.
    fn render_to(
        &self,
        environment: &'static Environment<'static>,
        context: impl Into<minijinja::Value>,
        output: &mut Bounded,
    ) -> Result<u64, TemplateError> {
        use minijinja::ErrorKind;
        let template = self.compile(environment)?;
        match template.render_captured_to(context, output) {
            Ok(captured) => Ok(captured.state().fuel_levels().map_or(0, |(taken, _)| taken)),
            Err(error) => Err(match error.kind() {
                ErrorKind::WriteFailure => TemplateError::OutputTooLong,
                ErrorKind::UndefinedError => TemplateError::Undefined {
                    reason: reason(&error),
                },
                _ => TemplateError::Failed {
                    reason: reason(&error),
                },
            }),
        }
    }
}

/// What the engine says, which may quote the template or the payload.
fn reason(error: &minijinja::Error) -> String {
    Text::new(&error.to_string()).as_str().to_owned()
}

/// The environment of a dialect. It never changes, so that all templates share it.
fn environment(dialect: Dialect) -> &'static Environment<'static> {
    static PLAIN: OnceLock<Environment<'static>> = OnceLock::new();
    static HOME_ASSISTANT: OnceLock<Environment<'static>> = OnceLock::new();
    static TRIAL: OnceLock<Environment<'static>> = OnceLock::new();
    static MENTION: OnceLock<Environment<'static>> = OnceLock::new();
    match dialect {
        Dialect::Plain => PLAIN.get_or_init(|| {
            let mut environment = limited(FUEL);
            environment.set_undefined_behavior(UndefinedBehavior::Strict);
            environment
        }),
        Dialect::HomeAssistant => HOME_ASSISTANT.get_or_init(|| home_assistant(FUEL)),
        Dialect::Trial => TRIAL.get_or_init(|| home_assistant(home_assistant::TRIAL_FUEL)),
        Dialect::Mention => MENTION.get_or_init(|| home_assistant(MENTION_FUEL)),
    }
}

/// An environment whose templates run at most `fuel` instructions.
fn limited(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(fuel));
    environment
}

fn home_assistant(fuel: u64) -> Environment<'static> {
    let mut environment = limited(fuel);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    home_assistant::extend(&mut environment);
    environment
}

/// Takes at most [`OUTPUT_MAX`] bytes.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_loop_ends_with_an_error() {
        let template = Template::new(
            "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
        );
        let error = template.and_then(|it| it.render(&json!({})));
        assert!(
            matches!(error, Err(TemplateError::Failed { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn a_long_result_is_refused() {
        let template = Template::new("{% for i in range(100) %}{{ text }}{% endfor %}");
        let result = template.and_then(|it| it.render(&json!({ "text": "x".repeat(1000) })));
        assert_eq!(result, Err(TemplateError::OutputTooLong));
    }

    #[test]
    fn a_fault_does_not_repeat_the_whole_payload() {
        let long = "\u{1b}[31m".repeat(10_000);
        for source in [
            "{{ value | from_json }}",
            "{{ value | float }}",
            "{{ value | int(base=10) }}",
        ] {
            let template = Template::home_assistant(source);
            let error = template.and_then(|it| it.render(&json!({ "value": long })));
            let error = error.expect_err(source).to_string();
            assert!(error.len() < 1_200 && Text::is_visible(&error), "{error}");
        }
    }

    #[test]
    fn an_undefined_variable_is_an_error() {
        let result = Template::new("{{ missing }}").and_then(|it| it.render(&json!({})));
        assert!(
            matches!(result, Err(TemplateError::Undefined { .. })),
            "{result:?}"
        );
    }

    #[test]
    fn no_other_template_can_be_included() {
        let template =
            Template::new("{% include 'payload' %}").and_then(|it| it.render(&json!({})));
        assert!(matches!(
            template,
            Err(TemplateError::Invalid { .. } | TemplateError::Failed { .. })
        ));
    }

    #[test]
    fn a_text_cannot_be_multiplied_without_limit() {
        for source in [
            "{{ 'x' * 1000000000 }}",
            "{% set ns = namespace(t='xxxxxxxx') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
            "{{ '%1000000000d' | format(1) }}",
            "{{ 'x' | indent(1000000000, true) }}",
        ] {
            let result = Template::new(source).and_then(|it| it.render(&json!({})));
            assert!(result.is_err(), "{source}");
        }
    }
}
