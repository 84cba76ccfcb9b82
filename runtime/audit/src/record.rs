//! The content of a line: one event, or the joined events of one call.

use std::sync::Arc;

use tidegate_streams::{Audit, Identity, Value};

use crate::entry::{Entry, FIELD, Payload, size};
use crate::hash::Hash;
use crate::json::Members;
use crate::redact::JsonPath;

/// The `event` of the line of a call.
const CALL: &str = "call";
/// A decision against the caller; it prevails over permissions.
const REFUSED: &str = "refused";
/// The last word of the id of a part with the payload of an answer.
const ANSWERED: &str = ".answered";
/// The member with the duration of a call.
const DURATION: &str = "durationMicros";
/// Most roles of an identity that a line names.
const ROLES_MAX: usize = 64;

/// Which part of a payload a line has, beside its size and hash.
#[derive(Debug, Clone, Default)]
pub(crate) struct PayloadRule {
    /// Most bytes of text; 0: none.
    pub(crate) text_max: usize,
    /// Values to remove from a payload of JSON.
    pub(crate) redact: Vec<JsonPath>,
}

/// The content of a line.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// In microseconds since the Unix epoch.
    pub(crate) at: u64,
    worker: u16,
    binding: Box<str>,
    trace: u64,
    id: &'static str,
    identity: Option<Arc<Identity>>,
    fields: Vec<(&'static str, Value)>,
    /// What the line says of the payload, which is not kept.
    payload: Option<Members>,
    /// The same of the answer to it.
    answer_payload: Option<Members>,
    /// The end of the call is recorded.
    pub(crate) ended: bool,
    /// A part stated what became of the call at its exit.
    pub(crate) has_outcome: bool,
}

impl Record {
    pub(crate) fn of(entry: Entry, rule: &PayloadRule) -> Self {
        let mut record = Self {
            at: entry.at,
            worker: entry.worker,
            binding: entry.binding.clone(),
            trace: entry.trace,
            id: entry.id,
            identity: None,
            fields: Vec::new(),
            payload: None,
            answer_payload: None,
            ended: false,
            has_outcome: false,
        };
        record.join(entry, rule);
        record
    }

    /// Adds an event of the same call. What the end of the call says about itself has precedence, then
    /// what the part says that knows what became of it at its exit. Several rules that decided are all
    /// named.
    pub(crate) fn join(&mut self, entry: Entry, rule: &PayloadRule) {
        let ends = entry.audit == Audit::Call;
        let states_outcome = entry.fields.iter().any(|(name, _)| *name == "outcome");
        let decision = decision(entry.id).filter(|_| !ends);
        let payload = entry.payload.as_ref();
        let payload = payload.map(|payload| measured(payload, is_several(&entry.fields), rule));
        let decision = decision.map(|word| ("decision", Value::Text(word.into())));
        for (name, value) in entry.fields.into_iter().chain(decision) {
            let name = match name {
                // The line has the identity with its guard and roles, and one unit of time. A failed
                // authentication has no identity, and names the guard that refused.
                "identity" | "duration" => continue,
                "guard" if entry.audit != Audit::Line => continue,
                "outcome" if ends => "answer",
                "target" => self.target(),
                name => name,
            };
            if let Some(known) = self.fields.iter_mut().find(|(known, _)| *known == name) {
                match name {
                    "rule" => known.1 = both(&known.1, &value),
                    "decision" if is_text(&known.1, REFUSED) => {}
                    "decision" => known.1 = value,
                    _ if ends || states_outcome => known.1 = value,
                    _ => {}
                }
            } else {
                self.has_outcome |= name == "outcome" && entry.audit == Audit::Part;
                self.fields.push((name, value));
            }
        }
        if ends {
            self.at = entry.at;
            self.binding = entry.binding;
            self.id = CALL;
            self.ended = true;
            // What a decision was about is what the method is about.
            self.fields.retain(|(name, _)| *name != "subject");
        }
        self.identity = self.identity.take().or(entry.identity);
        let place = if entry.id.ends_with(ANSWERED) {
            &mut self.answer_payload
        } else {
            &mut self.payload
        };
        *place = place.take().or(payload);
    }

    /// The name of the member for what a method is about. `method` is the field before `target`.
    fn target(&self) -> &'static str {
        match self.field("method") {
            Some("tools/call") => "tool",
            Some("resources/read") => "resource",
            Some("prompts/get") => "prompt",
            _ => "target",
        }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| *known == name)?;
        match &found.1 {
            Value::Text(text) => Some(text),
            Value::Word(word) => Some(word),
            _ => None,
        }
    }

    /// Whether the client has left, or stopped waiting, before the exit said what became of the call.
    pub(crate) fn answer_may_follow(&self) -> bool {
        let gone = matches!(self.field("answer"), Some("cancelled" | "timed_out"));
        self.ended && !self.has_outcome && gone
    }

    /// What became of a call: `done`, `not_sent`, `unconfirmed`, `error` or `cancelled`.
    fn outcome(&self) -> Option<&str> {
        Some(
            match self.field("outcome").or_else(|| self.field("answer"))? {
                "ok" | "input_required" => "done",
                "tool_error" | "timed_out" => "error",
                other => other,
            },
        )
    }

    /// The `event` of the line.
    pub(crate) const fn event(&self) -> &'static str {
        self.id
    }

    /// Bytes that it holds, as an estimate.
    pub(crate) fn size(&self) -> usize {
        let fields = self.fields.iter().map(|(_, value)| FIELD + size(value));
        let payloads = self.payload.iter().chain(&self.answer_payload);
        fields.sum::<usize>() + payloads.map(Members::len).sum::<usize>()
    }

    /// The members of the line behind `event`.
    pub(crate) fn members(&self) -> String {
        let mut members = Members::default();
        if self.trace != 0 {
            members.text("trace", &format!("{:016x}", self.trace));
        }
        if !self.binding.is_empty() {
            members.number("worker", self.worker.into());
            members.text("binding", &self.binding);
        }
        if let Some(identity) = &self.identity {
            members.object("identity", &described(identity));
        }
        for (name, value) in &self.fields {
            if *name != "outcome" {
                members.value(name, value);
            }
        }
        // A field with its default is not listed by its event.
        if self.ended && !self.fields.iter().any(|(name, _)| *name == DURATION) {
            members.number(DURATION, 0);
        }
        if let Some(outcome) = self.outcome() {
            members.text("outcome", outcome);
        }
        if let Some(payload) = &self.payload {
            members.object("payload", payload);
        }
        if let Some(payload) = &self.answer_payload {
            members.object("answerPayload", payload);
        }
        members.into_text()
    }
}

/// The decision that the id of an event states: `binding.mcp_mqtt.access.refused`.
fn decision(id: &str) -> Option<&'static str> {
    match id.rsplit('.').next() {
        Some("permitted") => Some("allowed"),
        Some("refused") => Some(REFUSED),
        _ => None,
    }
}

fn is_text(value: &Value, expected: &str) -> bool {
    matches!(value, Value::Text(text) if *text == *expected)
}

/// Rules and another one as one text.
fn both(known: &Value, other: &Value) -> Value {
    match (known, other) {
        (Value::Text(known), Value::Text(other)) if known.split(", ").all(|it| it != &**other) => {
            Value::Text(format!("{known}, {other}").into())
        }
        (known, _) => known.clone(),
    }
}

fn described(identity: &Identity) -> Members {
    let mut members = Members::default();
    members.text("subject", &identity.subject);
    members.text_if_any("guard", &identity.guard);
    let roles = identity.roles.iter().take(ROLES_MAX);
    members.texts("roles", roles.map(|role| &**role));
    members
}

/// Whether an event is about more than one message.
fn is_several(fields: &[(&'static str, Value)]) -> bool {
    let messages = fields.iter().find(|(name, _)| *name == "messages");
    messages.is_some_and(|(_, count)| !matches!(count, Value::Integer(0 | 1)))
}

/// What a line says of a payload. Of several messages, it is that of their payloads one behind the
/// other, whose text would not show where each ends.
fn measured(payload: &Payload, several: bool, rule: &PayloadRule) -> Members {
    let mut members = Members::default();
    let payload = match payload {
        Payload::Whole(payload) => payload,
        Payload::Omitted(bytes) => {
            members.number("bytes", *bytes);
            members.text("omitted", "queue full");
            return members;
        }
    };
    members.number("bytes", payload.len() as u64);
    members.text("sha256", &Hash::of(payload).to_string());
    if rule.text_max == 0 {
        return members;
    }
    if several {
        members.text("omitted", "several messages");
        return members;
    }
    match crate::redact::text(payload, &rule.redact, rule.text_max) {
        Ok(text) => members.whole_text("text", &text),
        Err(reason) => members.text("omitted", reason),
    };
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    pub(crate) fn entry(audit: Audit, fields: Vec<(&'static str, Value)>) -> Entry {
        Entry {
            at: 1_000_000,
            worker: 0,
            binding: "mcp0".into(),
            trace: 0xabc,
            id: "binding.test",
            audit,
            identity: None,
            fields,
            payload: None,
        }
    }

    fn json(record: &Record) -> serde_json::Value {
        serde_json::from_str(&format!("{{{}}}", record.members())).expect("JSON")
    }

    #[test]
    fn the_parts_of_a_call_are_one_record() {
        let mut part = entry(
            Audit::Part,
            vec![
                ("operation", text("publish")),
                ("topic", text("a/b")),
                ("outcome", text("unconfirmed")),
                ("durationMicros", Value::Integer(7)),
            ],
        );
        part.payload = Some(Payload::Whole(b"on".to_vec()));
        let mut record = Record::of(part, &PayloadRule::default());
        assert!(record.has_outcome && !record.ended);
        let mut end = entry(
            Audit::Call,
            vec![
                ("method", text("tools/call")),
                ("target", text("publish")),
                ("identity", text("alice")),
                ("outcome", text("tool_error")),
                ("duration", Value::Integer(1)),
                ("durationMicros", Value::Integer(9)),
            ],
        );
        end.identity = Some(Arc::new(Identity {
            subject: "alice".into(),
            guard: "keys".into(),
            roles: vec!["operator".into()],
            ..Identity::default()
        }));
        record.join(end, &PayloadRule::default());
        assert_eq!(record.event(), "call");
        assert_eq!(
            json(&record),
            serde_json::json!({
                "trace": "0000000000000abc", "worker": 0, "binding": "mcp0",
                "identity": { "subject": "alice", "guard": "keys", "roles": ["operator"] },
                "operation": "publish", "topic": "a/b", "durationMicros": 9,
                "method": "tools/call", "tool": "publish", "answer": "tool_error",
                "outcome": "unconfirmed",
                "payload": {
                    "bytes": 2,
                    "sha256": Hash::of(b"on").to_string(),
                },
            })
        );
    }

    #[test]
    fn a_refusal_prevails_and_all_rules_are_named() {
        let decided = |id, rule| Entry {
            id,
            ..entry(
                Audit::Part,
                vec![("guard", text("keys")), ("rule", text(rule))],
            )
        };
        let mut record = Record::of(
            decided("binding.mcp.operation.permitted", "routes.0"),
            &PayloadRule::default(),
        );
        record.join(
            decided("binding.mcp_mqtt.access.refused", "publish"),
            &PayloadRule::default(),
        );
        record.join(
            decided("binding.mqtt.access.permitted", "routes.2"),
            &PayloadRule::default(),
        );
        record.join(
            decided("binding.mcp_mqtt.access.refused", "publish"),
            &PayloadRule::default(),
        );
        let json = json(&record);
        assert_eq!(json["decision"], "refused");
        assert_eq!(json["rule"], "routes.0, publish, routes.2");
        assert!(json.get("guard").is_none(), "the identity has it");
    }

    #[test]
    fn an_event_of_its_own_keeps_its_id_and_fields() {
        let record = Record::of(
            entry(Audit::Line, vec![("reason", text("no"))]),
            &PayloadRule::default(),
        );
        assert_eq!(record.event(), "binding.test");
        let json = json(&record);
        assert_eq!(json["reason"], "no");
        assert!(json.get("outcome").is_none() && json.get("payload").is_none());
    }

    #[test]
    fn a_call_without_parts_has_the_outcome_of_its_answer() {
        for (answer, outcome) in [
            ("ok", "done"),
            ("input_required", "done"),
            ("tool_error", "error"),
            ("timed_out", "error"),
            ("cancelled", "cancelled"),
        ] {
            let record = Record::of(
                entry(Audit::Call, vec![("outcome", text(answer))]),
                &PayloadRule::default(),
            );
            let json = json(&record);
            assert_eq!(
                (&json["answer"], &json["outcome"]),
                (&answer.into(), &outcome.into())
            );
            let gone = matches!(answer, "timed_out" | "cancelled");
            assert_eq!(record.answer_may_follow(), gone, "{answer}");
        }
    }

    #[test]
    fn the_payload_is_recorded_only_by_option() {
        let mut part = entry(Audit::Part, vec![]);
        part.payload = Some(Payload::Whole(br#"{"pin":1234,"on":true}"#.to_vec()));
        let rule = PayloadRule {
            text_max: 100,
            redact: vec!["$.pin".parse().expect("a path")],
        };
        let record = Record::of(part, &rule);
        let json = json(&record);
        assert_eq!(json["payload"]["text"], r#"{"on":true,"pin":"[redacted]"}"#);
        assert_eq!(json["payload"]["bytes"], 22);
    }

    #[test]
    fn several_messages_have_one_hash_and_no_text() {
        let mut part = entry(Audit::Part, vec![("messages", Value::Integer(2))]);
        part.payload = Some(Payload::Whole(b"onoff".to_vec()));
        let rule = PayloadRule {
            text_max: 100,
            redact: vec![],
        };
        let json = json(&Record::of(part, &rule));
        assert_eq!(json["messages"], 2);
        assert_eq!(
            json["payload"],
            serde_json::json!({
                "bytes": 5,
                "sha256": Hash::of(b"onoff").to_string(),
                "omitted": "several messages",
            })
        );
    }

    #[test]
    fn a_request_and_its_answer_have_a_hash_each() {
        let part = |id, payload: &[u8]| Entry {
            id,
            payload: Some(Payload::Whole(payload.to_vec())),
            ..entry(Audit::Part, vec![])
        };
        let rule = PayloadRule::default();
        let mut record = Record::of(part("binding.mcp_mqtt.query.answered", b"22.5"), &rule);
        record.join(part("binding.mcp_mqtt.call.completed", b"get"), &rule);
        let hashed = |payload: &[u8]| {
            let hash = Hash::of(payload).to_string();
            serde_json::json!({ "bytes": payload.len(), "sha256": hash })
        };
        let json = json(&record);
        assert_eq!(json["payload"], hashed(b"get"));
        assert_eq!(json["answerPayload"], hashed(b"22.5"));
    }

    #[test]
    fn a_payload_without_room_in_the_queue_has_its_size() {
        let mut part = entry(Audit::Part, vec![]);
        part.payload = Some(Payload::Omitted(7));
        let json = json(&Record::of(part, &PayloadRule::default()));
        assert_eq!(
            json["payload"],
            serde_json::json!({ "bytes": 7, "omitted": "queue full" })
        );
    }

    #[test]
    fn a_refusal_of_its_own_states_the_decision() {
        let refused = Entry {
            id: "binding.mcp.request.refused",
            ..entry(Audit::Line, vec![("rule", text("rate"))])
        };
        let json = json(&Record::of(refused, &PayloadRule::default()));
        assert_eq!(
            (&json["decision"], &json["rule"]),
            (&"refused".into(), &"rate".into())
        );
    }
}
