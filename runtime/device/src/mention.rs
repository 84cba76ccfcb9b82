//! Which values a message says something about: devices send JSON in which only what has changed is present.
//!
//! To find that out, the templates that read the message are rendered. The payload is parsed once for all of them, and
//! together they run a bounded number of instructions.

use minijinja::value::Serde;

use crate::device::{AvailabilityTopic, Property};
use crate::reading::{context, is_json};
use crate::template::{MENTION_FUEL, Template, TemplateError};

/// Most templates of which it is remembered whether they say something: thousands of devices may share one topic, and a
/// template.
const REMEMBERED: usize = 8;
/// Most instructions and bytes of the source of all templates of a message.
const BUDGET: u64 = 20_000;

/// A message, as far as it is known what it says something about.
///
/// Only a template of Home Assistant's dialect tells that a message says nothing. Without one, and where finding it
/// out takes too many instructions, a message counts as one that says something.
#[derive(Debug)]
pub struct Mentions<'a> {
    payload: &'a [u8],
    /// The variables of templates, and whether the payload is JSON; absent until the first template needs them.
    parsed: Option<Parsed>,
    /// Instructions that are left.
    budget: u64,
    remembered: Vec<(Template, bool)>,
}

#[derive(Debug)]
struct Parsed {
    /// `None`: the payload is not text, so that no template reads it.
    context: Option<minijinja::Value>,
    is_json: bool,
}

impl<'a> Mentions<'a> {
    /// Of a message with this payload.
    pub const fn of(payload: &'a [u8]) -> Self {
        Self {
            payload,
            parsed: None,
            budget: BUDGET,
            remembered: Vec::new(),
        }
    }

    /// Whether the message says something about a property.
    pub fn property(&mut self, property: &Property) -> bool {
        self.template(property.value.as_ref())
    }

    /// Whether the message says that a device is online, or offline.
    pub fn availability(&mut self, topic: &AvailabilityTopic) -> bool {
        self.template(topic.value.as_ref())
    }

    fn template(&mut self, template: Option<&Template>) -> bool {
        let Some(template) = template.filter(|it| it.is_home_assistant()) else {
            return true;
        };
        let mut remembered = self.remembered.iter();
        if let Some((_, says)) = remembered.find(|(it, _)| it == template) {
            return *says;
        }
        let length = u64::try_from(template.source().len()).unwrap_or(u64::MAX);
        let Some(left) = self.budget.checked_sub(length) else {
            self.budget = 0;
            return true;
        };
        let payload = self.payload;
        let parsed = self.parsed.get_or_insert_with(|| Parsed::of(payload));
        let Some(context) = &parsed.context else {
            return true;
        };
        let (says, taken) = match template.says_something(context) {
            Ok(known) => known,
            // How many instructions were run is not known then.
            Err(TemplateError::Undefined { .. }) => (!parsed.is_json, MENTION_FUEL),
            Err(_) => (true, MENTION_FUEL),
        };
        self.budget = left.saturating_sub(taken);
        if self.remembered.len() < REMEMBERED {
            self.remembered.push((template.clone(), says));
        }
        says
    }
}

impl Parsed {
    fn of(payload: &[u8]) -> Self {
        match std::str::from_utf8(payload) {
            Ok(text) => {
                let context = context(text);
                Self {
                    is_json: is_json(&context),
                    context: Some(Serde(context).into()),
                }
            }
            Err(_) => Self {
                context: None,
                is_json: false,
            },
        }
    }
}

impl Property {
    /// Whether a message on its topic may say nothing about it.
    pub fn may_be_absent(&self) -> bool {
        self.value.as_ref().is_some_and(Template::is_home_assistant)
    }
}

impl AvailabilityTopic {
    /// Whether a message on it may say nothing about whether the device is online.
    pub fn may_be_absent(&self) -> bool {
        self.value.as_ref().is_some_and(Template::is_home_assistant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Format;
    use crate::reading::Reading;

    fn property(template: Option<Template>) -> Property {
        Property {
            name: "it".to_owned(),
            description: None,
            topic: "it".to_owned(),
            format: Format::Text,
            value: template,
            unit: None,
            minimum: None,
            maximum: None,
            stale_after: None,
            request: None,
        }
    }

    fn of_home_assistant(source: &str) -> Property {
        property(Template::home_assistant(source).ok())
    }

    const PAYLOADS: [&[u8]; 8] = [
        br#"{"power":1}"#,
        br#"{"power":null}"#,
        br#"{"energy":{"power":1}}"#,
        br#"{"energy":{}}"#,
        b"{}",
        b"power",
        b"",
        b"\xff",
    ];

    #[test]
    fn it_agrees_with_what_is_read() {
        for source in [
            "{{ value_json.power }}",
            " {{ value_json.energy.power }} ",
            "{{ value_json.power | float }}",
            "{% if value_json.power == 1 %}on{% endif %}",
            "{{ value }}",
            "{{ value_json.power | default(0) }}",
        ] {
            let property = of_home_assistant(source);
            assert!(property.may_be_absent());
            for payload in PAYLOADS {
                let absent = property.read(payload) == Ok(Reading::Absent);
                let mentioned = Mentions::of(payload).property(&property);
                assert_eq!(mentioned, !absent, "{source} {payload:?}");
            }
        }
    }

    #[test]
    fn without_a_template_of_home_assistant_a_message_says_something() {
        for template in [None, Template::new("{{ value_json.power }}").ok()] {
            let property = property(template);
            assert!(!property.may_be_absent());
            for payload in PAYLOADS {
                assert!(Mentions::of(payload).property(&property));
            }
        }
    }

    #[test]
    fn the_templates_of_a_message_run_a_bounded_number_of_instructions() {
        let absent = of_home_assistant("{{ value_json.power }}");
        let long = of_home_assistant("{% for i in range(99999) %}{% endfor %}");
        let undefined = of_home_assistant("{{ value_json.energy.power }}");
        assert!(Mentions::of(b"{}").property(&long), "it takes too many");
        for costly in [long, undefined] {
            let source = costly.value.as_ref().map(Template::source);
            let mut mentions = Mentions::of(b"{}");
            for number in 0..BUDGET / MENTION_FUEL {
                // Each template is another one.
                let source = format!("{}{{# {number} #}}", source.unwrap_or_default());
                mentions.property(&of_home_assistant(&source));
            }
            assert!(mentions.property(&absent), "nothing is left");
        }
    }

    #[test]
    fn hundreds_of_usual_templates_are_within_the_bound() {
        let mut mentions = Mentions::of(b"{\"temperature\":21}");
        for number in 0..300 {
            let usual = of_home_assistant(&format!("{{{{ value_json.humidity_{number} }}}}"));
            assert!(!mentions.property(&usual), "{number}");
        }
    }

    #[test]
    fn thousands_of_devices_share_a_template() {
        let mut mentions = Mentions::of(b"{\"state\":\"online\"}");
        let shared = of_home_assistant("{{ value_json.state }}");
        let absent = of_home_assistant("{{ value_json.power }}");
        for _ in 0..10_000 {
            assert!(mentions.property(&shared) && !mentions.property(&absent));
        }
    }
}
