//! The rules of `topics` for the messages that are published: schema, `QoS` and retain.
//!
//! A message must obey every entry that matches its topic, permits publishing, and is for its caller.

use tidegate_json::Parts;
use tidegate_streams::mqtt::topic::TopicPatterns;
use tidegate_streams::{Identity, shown};

use crate::arguments::qos_words;
use crate::catalog::{Catalog, permits};
use crate::options::{Permissions, Topic};
use crate::payload;
use crate::refusal::{Refusal, against_rules};

/// The entries with rules.
#[derive(Debug)]
pub(crate) struct Rules {
    entries: Vec<Topic>,
    /// The plain patterns, with the indexes of their entries.
    patterns: TopicPatterns,
    /// Indexes of the entries whose pattern contains the caller.
    templates: Vec<usize>,
}

impl Rules {
    /// `None` if no entry has rules.
    pub(crate) fn new(catalog: &Catalog) -> Option<Self> {
        let mut rules = Self {
            entries: Vec::new(),
            patterns: TopicPatterns::default(),
            templates: Vec::new(),
        };
        for entry in catalog.with(Permissions::PUBLISH) {
            if !entry.topic.restricts() {
                continue;
            }
            let index = rules.entries.len();
            match entry.topic.pattern.pattern().filter() {
                Some(filter) => rules.patterns.insert_entry(filter, index),
                None => rules.templates.push(index),
            }
            rules.entries.push(entry.topic.clone());
        }
        (!rules.entries.is_empty()).then_some(rules)
    }

    /// The entries whose rules a message must obey.
    pub(crate) fn of(&self, caller: Option<&Identity>, topic: &str) -> Applicable<'_> {
        let mut indexes = self.patterns.matching(topic);
        let templates = self.templates.iter().copied();
        indexes.extend(templates.filter(|index| {
            let entry = self.entries.get(*index);
            let template = entry.and_then(|entry| entry.pattern.pattern().template());
            template.is_some_and(|template| template.allows_topic(caller, topic))
        }));
        indexes.sort_unstable();
        let entries = indexes.into_iter().filter_map(|it| self.entries.get(it));
        let own = entries.filter(|entry| permits(entry.guarded.as_ref(), caller));
        Applicable(own.collect())
    }
}

/// The rules for a message.
#[derive(Debug, Default)]
pub(crate) struct Applicable<'a>(Vec<&'a Topic>);

impl Applicable<'_> {
    /// The `QoS` of the message: what the call asks for, or the default within the limits.
    pub(crate) fn qos(&self, asked: Option<u8>, default: u8, topic: &str) -> Result<u8, Refusal> {
        let lowest = self.0.iter().map(|entry| entry.qos.lowest()).max();
        let lowest = lowest.unwrap_or(0);
        let highest = self.0.iter().map(|entry| entry.qos.highest()).min();
        let highest = highest.unwrap_or(2).max(lowest);
        match asked {
            None => Ok(default.clamp(lowest, highest)),
            Some(qos) if (lowest..=highest).contains(&qos) => Ok(qos),
            Some(qos) => {
                let allowed = qos_words(lowest, highest);
                let sentence = format!("'qos' is {qos}; use {allowed} for '{}'.", shown(topic));
                Err(against_rules(topic, "qos", sentence))
            }
        }
    }

    /// Whether the message may be retained.
    pub(crate) fn check_retain(&self, retain: bool, topic: &str) -> Result<(), Refusal> {
        if retain && self.0.iter().any(|entry| !entry.retain) {
            let sentence = format!(
                "'retain' is true, but messages to '{}' must not be retained; set it to false or omit it.",
                shown(topic)
            );
            return Err(against_rules(topic, "retain", sentence));
        }
        Ok(())
    }

    /// Whether a person has to approve the message.
    pub(crate) fn need_approval(&self) -> bool {
        self.0.iter().any(|entry| entry.approval.is_some())
    }

    /// Whether the payload matches the schemas.
    pub(crate) fn check_payload(&self, payload: &Parts, topic: &str) -> Result<(), Refusal> {
        let schemas = self
            .0
            .iter()
            .filter_map(|it| Some((*it, it.schema.as_ref()?)));
        let mut schemas = schemas.peekable();
        if schemas.peek().is_none() {
            return Ok(());
        }
        let payload::Read { value, note } =
            payload::read(payload).map_err(|sentence| against_rules(topic, "schema", sentence))?;
        for (entry, schema) in schemas {
            if let Err(violations) = schema.check(&value) {
                return Err(refused(topic, entry, &violations, note.as_deref()));
            }
        }
        Ok(())
    }
}

fn refused(topic: &str, entry: &Topic, violations: &str, note: Option<&str>) -> Refusal {
    let shown_topic = shown(topic);
    let note = note.map_or_else(String::new, |note| format!(" {note}"));
    let example = match &entry.example {
        Some(serde_json::Value::String(text)) => format!(" Example: {}", shown(text)),
        Some(example) => format!(" Example: {}", shown(&example.to_string())),
        None => String::new(),
    };
    let sentence = format!(
        "The payload does not match the schema of '{shown_topic}': {violations}.{note} Correct it and \
         publish again; nothing was published.{example}"
    );
    against_rules(topic, "schema", sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn rules(json: &str) -> Rules {
        let options: Options = serde_json::from_str(json).expect("options");
        Rules::new(&Catalog::new(&options)).expect("rules")
    }

    #[test]
    fn a_message_must_obey_every_entry_that_matches() {
        let rules = rules(
            r#"{"topics":[
                {"pattern":"a/#","permissions":["publish"],"qos":{"minimum":1}},
                {"pattern":"a/{b}","permissions":["publish"],"retain":false,"schema":{"type":"number"}},
                {"pattern":"a/b","permissions":["publish"],"qos":{"maximum":1}},
                {"pattern":"a/b","permissions":["subscribe"],"schema":{"type":"string"}},
                {"pattern":"a/b","permissions":["publish"],"guarded":{"staff":[]},"schema":false},
                {"pattern":"${guarded['staff'].identity}/b","permissions":["publish"],"retain":false}
            ]}"#,
        );
        let of = |topic| rules.of(None, topic);
        assert_eq!(of("a/b").qos(None, 0, "a/b"), Ok(1));
        assert!(of("a/b").qos(Some(2), 0, "a/b").is_err());
        assert_eq!(of("a/b/c").qos(Some(2), 0, "a/b/c"), Ok(2));
        assert!(of("a/b").check_retain(true, "a/b").is_err());
        assert_eq!(of("a/b/c").check_retain(true, "a/b/c"), Ok(()));
        let payload = |text: &'static str| Parts::from(bytes::Bytes::from_static(text.as_bytes()));
        assert_eq!(of("a/b").check_payload(&payload("5"), "a/b"), Ok(()));
        assert!(of("a/b").check_payload(&payload("on"), "a/b").is_err());
        assert_eq!(of("x").check_payload(&payload("on"), "x"), Ok(()));
        let alice = Identity {
            subject: "alice".into(),
            guard: "staff".into(),
            ..Identity::default()
        };
        let own = rules.of(Some(&alice), "alice/b");
        assert!(own.check_retain(true, "alice/b").is_err());
        let refused = rules.of(Some(&alice), "a/b");
        assert!(refused.check_payload(&payload("5"), "a/b").is_err());
    }
}
