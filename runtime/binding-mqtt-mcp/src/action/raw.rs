//! What a route with `raw` must fulfil.

use strsim::jaro_winkler;
use tidegate_jsonrpc::Method;

use super::With;
use super::check::Fault;
use crate::raw::rules::{is_of_a_method, methods};
use crate::template::first;

pub(super) fn check(with: &With, fault: &mut Fault<'_>) {
    if with.raw.is_none() {
        if !with.tools.is_empty() {
            let help = "use 'allow' for the tools of this route, or add 'raw: json-rpc'";
            fault(&["with", "tools"], "'tools' without 'raw'".to_owned(), help);
        }
        return;
    }
    check_keys(with, fault);
    check_methods(with, fault);
    let identity = with.identity.as_ref();
    let variables = identity.map(|it| it.subject().variables());
    let mut variables = variables.into_iter().flatten();
    if variables.any(|it| first(&it) == "payload") {
        let message = "the payload of a raw route cannot say who asks".to_owned();
        let help = "use a level of the topic, such as '{{ topic.client }}', which the broker can bind to the client";
        fault(&["with", "identity"], message, help);
    }
}

/// Keys that a raw route cannot have: JSON-RPC says all that they would say.
fn check_keys(with: &With, fault: &mut Fault<'_>) {
    let keys: [(&[&str], bool); 10] = [
        (&["with", "tool"], with.tool.is_some()),
        (&["with", "plan"], !with.plan.is_empty()),
        (&["with", "arguments"], with.arguments.is_some()),
        (&["with", "if"], with.r#if.is_some()),
        (&["with", "correlation"], with.correlation.is_some()),
        (
            &["with", "answer", "payload"],
            with.answer.payload.is_some(),
        ),
        (&["with", "answer", "retain"], with.answer.retain.is_some()),
        (&["with", "failure", "topic"], with.failure.topic.is_some()),
        (
            &["with", "failure", "payload"],
            with.failure.payload.is_some(),
        ),
        (
            &["with", "failure", "retain"],
            with.failure.retain.is_some(),
        ),
    ];
    for (path, _) in keys.iter().filter(|(_, given)| *given) {
        let key = path.get(1..).unwrap_or_default().join(".");
        let message = format!("'{key}' in a route with 'raw'");
        fault(
            path,
            message,
            "remove it: the messages are those of JSON-RPC",
        );
    }
}

fn check_methods(with: &With, fault: &mut Fault<'_>) {
    if with.allow.is_empty() {
        let message = "a route with 'raw' allows no method".to_owned();
        let help =
            "add 'allow' with the methods that may be called, such as tools/list and tools/call";
        fault(&["with", "allow"], message, help);
    }
    for glob in with.allow.iter().filter(|it| !is_of_a_method(it)) {
        let text = String::from(glob.clone());
        let names: Vec<&str> = methods().map(Method::name).collect();
        let scored = names.iter().map(|it| (jaro_winkler(&text, it), *it));
        let best = scored.max_by(|one, other| one.0.total_cmp(&other.0));
        let help = match best {
            Some((score, name)) if score > 0.7 => format!("did you mean '{name}'?"),
            _ => format!("the methods of 2026-07-28 are: {}", names.join(", ")),
        };
        let message = format!("'allow' contains '{text}', which is not a method");
        fault(&["with", "allow"], message, &help);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_options::{Action as _, ActionRoute};

    use super::*;
    use crate::options::Condition;

    fn faults(with: serde_json::Value) -> Vec<(String, String, String)> {
        let when = json!([{ "topic": "mcp/{device}/request" }]);
        let when: Vec<Condition> = serde_json::from_value(when).expect("conditions");
        let with: With = serde_json::from_value(with).expect("an action");
        let faults = With::check(&[ActionRoute { when, with }]).into_iter();
        faults
            .map(|it| (it.path.join("."), it.message, it.help))
            .collect()
    }

    #[test]
    fn a_raw_route_has_methods_and_nothing_of_templates() {
        let valid = json!({
            "raw": "json-rpc", "allow": ["tools/*", "resources/subscribe"], "tools": ["read_*"],
            "identity": "{{ topic.device }}", "timeout": 100, "answer": { "topic": "mcp/{device}/response" },
        });
        assert_eq!(faults(valid), Vec::new());
        for (with, at, message, help) in [
            (
                json!({ "raw": "json-rpc" }),
                "with.allow",
                "allows no method",
                "tools/call",
            ),
            (
                json!({ "raw": "json-rpc", "allow": ["tool/call"] }),
                "with.allow",
                "'tool/call'",
                "did you mean 'tools/call'?",
            ),
            (
                json!({ "raw": "json-rpc", "allow": ["x"] }),
                "with.allow",
                "not a method",
                "server/discover",
            ),
            (
                json!({ "raw": "json-rpc", "allow": ["*"], "tool": "a" }),
                "with.tool",
                "'tool' in a route with 'raw'",
                "remove it",
            ),
            (
                json!({ "raw": "json-rpc", "allow": ["*"], "answer": { "topic": "a", "payload": {} } }),
                "with.answer.payload",
                "'answer.payload'",
                "JSON-RPC",
            ),
            (
                json!({ "raw": "json-rpc", "allow": ["*"], "identity": "{{ payload.who }}" }),
                "with.identity",
                "cannot say who asks",
                "topic.client",
            ),
            (
                json!({ "tool": "a", "tools": ["b"] }),
                "with.tools",
                "'tools' without 'raw'",
                "'allow'",
            ),
        ] {
            let found = faults(with);
            let found = found
                .iter()
                .find(|it| it.0 == at)
                .unwrap_or_else(|| panic!("{at}: {found:?}"));
            assert!(
                found.1.contains(message) && found.2.contains(help),
                "{found:?}"
            );
        }
    }
}
