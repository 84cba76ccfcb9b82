//! What the options of messages must fulfil: their form, and where progress is published.

use tidegate_options::{ActionFault, ActionRoute};

use super::check::Fault;
use super::{Protocol, With};
use crate::options::{Condition, Options};
use crate::progress::ProgressOptions;

/// What a command of Azure `IoT` Operations states itself, the config cannot.
pub(super) fn check_protocol(with: &With, fault: &mut Fault<'_>) {
    if with.protocol != Protocol::Aio {
        return;
    }
    let invoker = "remove it: invokers name the topic for the answer";
    let command = "remove it: each message is a command, which its Correlation Data identifies";
    let keys: [(&[&str], bool, &str); 5] = [
        (&["raw"], with.raw.is_some(), "remove one of them"),
        (&["answer", "topic"], with.answer.topic.is_some(), invoker),
        (&["failure", "topic"], with.failure.topic.is_some(), invoker),
        (&["if"], with.r#if.is_some(), command),
        (&["correlation"], with.correlation.is_some(), command),
    ];
    for (key, _, help) in keys.into_iter().filter(|(_, given, _)| *given) {
        let message = format!("'{}' with 'protocol: aio'", key.join("."));
        fault(&[&["with"], key].concat(), message, help);
    }
}

/// Routes whose requests are executed only if the topic for their answer is known, and which know none: the
/// requests may name no topic either (`replyTopics`).
pub(crate) fn unanswerable(
    options: &Options,
    routes: &[ActionRoute<Condition, With>],
) -> Vec<ActionFault> {
    if !options.reply_topics.is_empty() {
        return Vec::new();
    }
    let invokers = "add 'replyTopics' with the topics that invokers name for answers";
    let devices =
        "add 'replyTopics' with the topics that devices name for responses, or 'answer.topic'";
    let faults = routes.iter().enumerate().filter_map(|(route, it)| {
        let (key, help) = match &it.with {
            with if with.protocol == Protocol::Aio => ("protocol", invokers),
            with if with.raw.is_some() && with.answer.topic.is_none() => ("raw", devices),
            _ => return None,
        };
        Some(ActionFault {
            route,
            path: vec!["with".to_owned(), key.to_owned()],
            message: "no request can be answered, so none is executed: 'replyTopics' is empty"
                .to_owned(),
            help: help.to_owned(),
        })
    });
    faults.collect()
}

/// Where the progress of tools is published: the path below the route, and the options.
pub(super) fn all_progress(with: &With) -> Vec<(Vec<&str>, &ProgressOptions)> {
    let own = with
        .progress
        .iter()
        .map(|it| (vec!["with", "progress"], it));
    let steps = with.plan.iter().filter_map(|(name, step)| {
        let progress = step.progress.as_ref()?;
        Some((vec!["with", "plan", name, "progress"], progress))
    });
    own.chain(steps).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidegate_options::Action as _;

    use super::*;

    /// The paths and messages of the faults of an action.
    fn faults(with: &Value) -> Vec<(String, String)> {
        let when = json!([{ "topic": "devices/{device}/call" }]);
        let route = ActionRoute {
            when: serde_json::from_value(when).expect("conditions"),
            with: serde_json::from_value(with.clone()).expect("an action"),
        };
        let faults = With::check(&[route]).into_iter();
        faults.map(|it| (it.path.join("."), it.message)).collect()
    }

    #[track_caller]
    fn check(with: &Value, at: &str, message: &str) {
        assert_eq!(faults(with), [(at.to_owned(), message.to_owned())]);
    }

    #[test]
    fn progress_is_published_to_a_topic_that_exists() {
        let with = |progress: Value| json!({ "tool": "a", "progress": progress });
        assert_eq!(faults(&with("progress/{device}".into())), []);
        let full =
            json!({ "topic": "progress/{device}", "payload": { "n": "{{ progress.progress }}" } });
        assert_eq!(faults(&with(full)), []);
        let unknown = with("progress/{robot}".into());
        check(&unknown, "with.progress", "no level is named 'robot'");
        let request = with(json!({ "topic": "devices/x/call" }));
        let message = "'devices/x/call' may be a topic of requests ('devices/+/call')";
        check(&request, "with.progress.topic", message);
        let payload = json!({ "topic": "p", "payload": { "n": "{{ result.text }}" } });
        let payload = with(payload);
        check(
            &payload,
            "with.progress.payload",
            "unknown variable 'result'",
        );
        let step = json!({ "plan": { "one": { "tool": "a", "progress": "p/{robot}" } } });
        check(&step, "with.plan.one.progress", "no level is named 'robot'");
        let plan = json!({ "plan": { "one": { "tool": "a" } }, "progress": "p" });
        check(&plan, "with.progress", "'progress' without 'tool'");
        let name = json!({ "plan": { "progress": { "tool": "a" } } });
        check(
            &name,
            "with.plan.progress",
            "invalid name of a step: 'progress'",
        );
    }

    #[test]
    fn what_can_be_answered_nowhere_is_a_fault() {
        let routes = [
            json!({ "tool": "a" }),
            json!({ "protocol": "aio", "tool": "a" }),
            json!({ "raw": "json-rpc", "allow": ["*"] }),
            json!({ "raw": "json-rpc", "allow": ["*"], "answer": { "topic": "a" } }),
        ];
        let route = |with: &Value| ActionRoute {
            when: serde_json::from_value(json!([{ "topic": "r" }])).expect("conditions"),
            with: serde_json::from_value(with.clone()).expect("an action"),
        };
        let routes: Vec<ActionRoute<Condition, With>> = routes.iter().map(route).collect();
        let options = |options: Value| serde_json::from_value(options).expect("options");
        let faults = unanswerable(&options(json!({})), &routes);
        let places: Vec<(usize, &str)> = faults.iter().map(|it| (it.route, &*it.path[1])).collect();
        assert_eq!(places, [(1, "protocol"), (2, "raw")]);
        let with_topics = options(json!({ "replyTopics": ["a/#"] }));
        assert_eq!(unanswerable(&with_topics, &routes), []);
    }

    #[test]
    fn a_command_states_itself_what_a_config_cannot() {
        let with = |key: &str, value: Value| {
            let mut with = json!({ "tool": "a", "protocol": "aio" });
            with[key] = value;
            with
        };
        assert_eq!(faults(&with("answer", json!({ "payload": {} }))), []);
        for (key, value, at) in [
            ("answer", json!({ "topic": "a" }), "answer.topic"),
            ("failure", json!({ "topic": "a" }), "failure.topic"),
            ("if", "{{ payload.x }}".into(), "if"),
            ("correlation", "{{ payload.x }}".into(), "correlation"),
        ] {
            let message = format!("'{at}' with 'protocol: aio'");
            check(&with(key, value), &format!("with.{at}"), &message);
        }
    }
}
