//! The rules of the config for commands of devices that announce themselves.
//!
//! A device chooses its names itself, so that the rules are chosen by patterns. All rules that match a command apply
//! to it together: who may use it, limits and interlocks only become narrower by a further rule, and a person approves
//! a command if one of them says so.

use std::collections::BTreeMap;
use std::rc::Rc;

use tidegate_device::{Command, Confirm, Device, Expected};
use tidegate_engine::Duration;
use tidegate_options::{Bounded, Glob, Guarded};
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::shown;

use crate::address::{self, LOCATION};
use crate::lowering::{declared as declared_arguments, expected, interlock, steps};
use crate::model::{Interlock, Rule};
use crate::options::{DeclaredCommandOptions, DeclaredConfirmOptions};

/// The rules, in the order of the config.
#[derive(Debug)]
pub(crate) struct DeclaredRules {
    rules: Vec<DeclaredRule>,
    /// That of the commands which no rule is for.
    plain: Rc<Rule>,
}

/// One rule: which commands it is for, and what it demands.
#[derive(Debug)]
struct DeclaredRule {
    topic: Option<TopicFilter>,
    device: Option<Glob>,
    kind: Option<Glob>,
    command: Option<Glob>,
    guarded: Option<Rc<Guarded>>,
    interval: Option<Duration>,
    step: BTreeMap<String, f64>,
    interlocks: Vec<Rc<Interlock>>,
    approval: bool,
    confirm: Option<Confirmation>,
}

/// The state that confirms a command; what is `None` is as the device declares it.
#[derive(Debug)]
struct Confirmation {
    property: Option<String>,
    expected: Option<Expected>,
    within: Option<std::time::Duration>,
}

impl DeclaredRules {
    /// Lowers the rules. The error is a sentence that says which one is wrong.
    pub(crate) fn new(options: &[DeclaredCommandOptions]) -> Result<Self, String> {
        let rules = options.iter().enumerate().map(|(index, options)| {
            DeclaredRule::new(options).map_err(|why| format!("declared.commands[{index}]: {why}"))
        });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            plain: Rc::new(Rule::of_arguments()),
        })
    }

    /// The topic filters of interlocks.
    pub(crate) fn filters(&self) -> impl Iterator<Item = String> {
        let interlocks = self.rules.iter().flat_map(|rule| &rule.interlocks);
        interlocks.map(|it| address::filter(&it.topic))
    }

    /// The rule of a command of a device. Changes the state that confirms the command, where the config says so; the
    /// error says that this is not possible.
    pub(crate) fn apply(
        &self,
        device: &Device,
        command: &mut Command,
    ) -> (Rc<Rule>, Result<(), String>) {
        let mut own = self.rules.iter().filter(|it| it.is_for(device, command));
        let Some(first) = own.next() else {
            return (Rc::clone(&self.plain), Ok(()));
        };
        let mut rule = Rule::of_arguments();
        let mut confirm = None;
        for own in std::iter::once(first).chain(own) {
            rule.guarded.extend(own.guarded.clone());
            rule.interval = rule.interval.max(own.interval);
            for (name, most) in &own.step {
                let least = rule.step.entry(name.clone()).or_insert(*most);
                *least = least.min(*most);
            }
            rule.interlocks.extend(own.interlocks.iter().cloned());
            rule.approval |= own.approval;
            confirm = confirm.or(own.confirm.as_ref());
        }
        let confirmed = confirm.map_or(Ok(()), |it| it.apply(device, command));
        (Rc::new(rule), confirmed)
    }
}

impl DeclaredRule {
    fn new(options: &DeclaredCommandOptions) -> Result<Self, String> {
        let topic = match &options.topic {
            None => None,
            Some(pattern) => Some(
                pattern
                    .filter()
                    .cloned()
                    .ok_or_else(|| format!("'{}' depends on the caller", shown(pattern.text())))?,
            ),
        };
        if let Some(interlock) = options
            .interlocks
            .iter()
            .find(|it| it.topic.split('/').any(|level| level == LOCATION))
        {
            return Err(format!(
                "interlock on '{}': {LOCATION} is what the device says of itself; use {{device}} or a whole topic",
                shown(&interlock.topic)
            ));
        }
        let interlocks = options.interlocks.iter().map(interlock);
        Ok(Self {
            topic,
            device: options.device.clone(),
            kind: options.r#type.clone(),
            command: options.command.clone(),
            guarded: options.guarded.clone().map(Rc::new),
            interval: options
                .limits
                .interval
                .map(|it| Duration::from_millis(it.get())),
            step: steps(&options.limits)?,
            interlocks: interlocks.collect::<Result<_, _>>()?,
            approval: options.approval.is_some(),
            confirm: options
                .confirm
                .as_ref()
                .map(Confirmation::new)
                .transpose()?,
        })
    }

    fn is_for(&self, device: &Device, command: &Command) -> bool {
        let matches =
            |glob: &Option<Glob>, name: &str| glob.as_ref().is_none_or(|it| it.matches(name));
        self.topic
            .as_ref()
            .is_none_or(|it| it.matches(&command.topic))
            && matches(&self.device, &device.id)
            && matches(&self.kind, &device.kind)
            && matches(&self.command, &command.name)
    }
}

impl Confirmation {
    fn new(options: &DeclaredConfirmOptions) -> Result<Self, String> {
        let within = options.within.map(Bounded::get);
        Ok(Self {
            property: options.property.clone(),
            expected: expected(options.r#match.as_ref())?,
            within: within.map(std::time::Duration::from_millis),
        })
    }

    fn apply(&self, device: &Device, command: &mut Command) -> Result<(), String> {
        let declared = command.confirm.as_ref();
        let property = self.property.as_ref().or(declared.map(|it| &it.property));
        let expected = self.expected.as_ref().or(declared.map(|it| &it.expected));
        let (Some(property), Some(expected)) = (property, expected) else {
            return Err(
                "the device declares no state that confirms it; add 'property' and 'match'"
                    .to_owned(),
            );
        };
        if !device.properties.iter().any(|it| it.name == *property) {
            let property = shown(property);
            return Err(format!("the device has no property '{property}'"));
        }
        if let Expected::Argument(name) = expected
            && declared_arguments(&command.arguments).is_none_or(|it| !it.contains_key(name))
        {
            return Err(format!("it has no argument '{}'", shown(name)));
        }
        let within = self.within.or(declared.map(|it| it.within));
        let accepted_by = declared.and_then(|it| it.accepted_by.clone());
        command.confirm = Some(Confirm {
            property: property.clone(),
            expected: expected.clone(),
            within: within.unwrap_or(std::time::Duration::from_secs(5)),
            accepted_by,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_device::{Format, Labels, Payload, Property, Source};

    use super::*;

    fn rules(options: Value) -> DeclaredRules {
        let options: Vec<DeclaredCommandOptions> =
            serde_json::from_value(options).expect("valid options");
        DeclaredRules::new(&options).expect("valid rules")
    }

    /// A pump with a number `level`, and a command `level_set` that it does not confirm.
    fn pump() -> (Device, Command) {
        let property = Property {
            name: "level".to_owned(),
            description: None,
            topic: "pump/level".to_owned(),
            format: Format::Number,
            value: None,
            unit: None,
            minimum: None,
            maximum: None,
            stale_after: None,
            request: None,
        };
        let command = Command {
            name: "level_set".to_owned(),
            description: None,
            arguments: json!({ "type": "object", "properties": { "value": {} } }).into(),
            topic: "pump/set".to_owned(),
            payload: Payload::Argument("value".to_owned()),
            qos: 0,
            retain: false,
            expiry: None,
            confirm: None,
        };
        let device = Device {
            id: "pump-1".to_owned(),
            name: None,
            description: None,
            kind: "number".to_owned(),
            location: None,
            labels: Labels::default(),
            source: Source::HomeAssistant,
            properties: vec![property],
            availability: None,
            commands: Vec::new(),
        };
        (device, command)
    }

    #[test]
    fn all_rules_that_match_apply_together() {
        let rules = rules(json!([
            { "limits": { "interval": 2_000, "step": { "value": 5 } } },
            { "device": "pump-*", "limits": { "interval": 1_000, "step": { "value": 3, "x": 9 } } },
            { "type": "number", "guarded": { "staff": ["a"] }, "approval": "required" },
            { "topic": "pump/#", "guarded": { "staff": ["b"] } },
            { "command": "*_set", "interlocks": [{ "topic": "a", "equals": 1, "reason": "r" }] },
            { "device": "lamp-*", "limits": { "interval": 60_000 } },
            { "type": "switch", "limits": { "interval": 60_000 } },
            { "command": "set", "limits": { "interval": 60_000 } },
            { "topic": "lamp/#", "limits": { "interval": 60_000 } },
        ]));
        let (device, mut command) = pump();
        let (rule, confirmed) = rules.apply(&device, &mut command);
        assert_eq!(confirmed, Ok(()));
        assert_eq!(rule.interval, Some(Duration::from_millis(2_000)));
        let steps = rule.step.clone().into_iter().collect::<Vec<_>>();
        assert_eq!(steps, [("value".to_owned(), 3.0), ("x".to_owned(), 9.0)]);
        assert_eq!((rule.guarded.len(), rule.interlocks.len()), (2, 1));
        assert!(rule.approval, "a further rule does not take it back");
        assert_eq!(rules.filters().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_confirms_a_command_is_changed_if_it_fits_the_device() {
        for (confirm, expected) in [
            (
                json!({ "property": "level", "match": { "argument": "value" }, "within": 7 }),
                Ok(7),
            ),
            (
                json!({ "property": "level", "match": { "equals": 1 } }),
                Ok(5_000),
            ),
            (json!({ "within": 7 }), Err("declares no state")),
            (
                json!({ "property": "state", "match": { "equals": 1 } }),
                Err("no property 'state'"),
            ),
            (
                json!({ "property": "level", "match": { "argument": "x" } }),
                Err("no argument 'x'"),
            ),
        ] {
            let rules = rules(json!([{ "confirm": confirm }, { "confirm": { "within": 1 } }]));
            let (device, mut command) = pump();
            let (_, confirmed) = rules.apply(&device, &mut command);
            let within = command.confirm.map(|it| it.within.as_millis());
            match expected {
                Ok(millis) => assert_eq!((confirmed, within), (Ok(()), Some(millis)), "{confirm}"),
                Err(why) => {
                    assert!(confirmed.is_err_and(|it| it.contains(why)), "{confirm}");
                    assert_eq!(within, None, "{confirm}");
                }
            }
        }
    }
}
