//! What `with` must fulfil, all routes of a binding together.

use std::collections::BTreeSet;

use tidegate_options::{Action, ActionFault, ActionRoute};

use super::messages::{all_progress, check_protocol};
use super::{ERROR, Edge, RESULT, With, plan, raw};
use crate::options::Condition;
use crate::progress::{self, ProgressOptions};
use crate::template::{Template, first};

/// Variables of every request.
pub(super) const REQUEST: [&str; 4] = ["payload", "topic", "correlation", "properties"];

/// Records a fault: the path below the route, what is wrong, and how to fix it.
pub(super) type Fault<'a> = dyn FnMut(&[&str], String, &str) + 'a;

impl Action for With {
    type Condition = Condition;

    fn check(routes: &[ActionRoute<Condition, Self>]) -> Vec<ActionFault> {
        let mut faults = Vec::new();
        for (route, it) in routes.iter().enumerate() {
            let mut fault = |path: &[&str], message: String, help: &str| {
                faults.push(ActionFault {
                    route,
                    path: path.iter().map(|step| (*step).to_owned()).collect(),
                    message,
                    help: help.to_owned(),
                });
            };
            raw::check(&it.with, &mut fault);
            if it.with.raw.is_none() {
                check_tools(&it.with, &mut fault);
            }
            check_idempotent(&it.with, &mut fault);
            plan::check(&it.with, &mut fault);
            check_condition(&it.with, &mut fault);
            check_protocol(&it.with, &mut fault);
            check_variables(it, &mut fault);
            check_topics(it, routes, &mut fault);
        }
        faults
    }
}

fn check_tools(with: &With, fault: &mut Fault<'_>) {
    if let Some(tool) = &with.tool {
        check_tool(with, &tool.0, &["with", "tool"], fault);
    }
    for (name, step) in &with.plan {
        check_tool(with, &step.tool.0, &["with", "plan", name, "tool"], fault);
    }
    if with.tool.is_some() && !with.plan.is_empty() {
        let message = "'tool' and 'plan' are mutually exclusive".to_owned();
        fault(&["with", "plan"], message, "remove one of them");
    }
    if with.tool.is_none() && with.arguments.is_some() {
        let help = "add 'tool', or write 'arguments' in the steps of 'plan'";
        fault(
            &["with", "arguments"],
            "'arguments' without 'tool'".to_owned(),
            help,
        );
    }
    if with.tool.is_none() && with.progress.is_some() {
        let help = "add 'tool', or write 'progress' in the steps of 'plan'";
        fault(
            &["with", "progress"],
            "'progress' without 'tool'".to_owned(),
            help,
        );
    }
    let publishes = with.answer.topic.is_some() && with.answer.payload.is_some();
    if with.tool.is_none() && with.plan.is_empty() && !publishes {
        let message = "the route calls no tool and has no message to publish".to_owned();
        let help = "add 'tool' or 'plan', or 'answer' with 'topic' and 'payload'";
        fault(&["with"], message, help);
    }
}

fn check_tool(with: &With, tool: &Template, path: &[&str], fault: &mut Fault<'_>) {
    if with.allow.is_empty() && !tool.is_literal() {
        let message = "requests choose the tool, but no tool is allowed".to_owned();
        fault(
            path,
            message,
            "add 'allow' with the tools that may be called",
        );
    }
    let allowed = |name: &str| with.allow.iter().any(|glob| glob.matches(name));
    if tool.is_literal() && !with.allow.is_empty() && !allowed(tool.source()) {
        let message = format!("'allow' does not contain '{}'", tool.source());
        fault(path, message, "add it to 'allow', or remove 'allow'");
    }
}

fn check_idempotent(with: &With, fault: &mut Fault<'_>) {
    if with.idempotent && with.tool.is_none() {
        fault(
            &["with", "idempotent"],
            "'idempotent' without 'tool'".to_owned(),
            "set it for each step of the plan, or remove it",
        );
    }
}

fn check_condition(with: &With, fault: &mut Fault<'_>) {
    let keys = [
        ("until", with.until.is_some()),
        ("minInterval", with.min_interval.is_some()),
        ("edge", with.edge == Edge::Rising),
    ];
    let unused = keys
        .iter()
        .filter(|(_, given)| *given && with.r#if.is_none());
    for (key, _) in unused {
        fault(
            &["with", key],
            format!("'{key}' without 'if'"),
            "add 'if', or remove it",
        );
    }
    if with.until.is_some() && with.r#if.is_some() && with.edge == Edge::Every {
        let message = "'until' without 'edge: rising'".to_owned();
        fault(
            &["with", "until"],
            message,
            "add 'edge: rising', or remove it",
        );
    }
}

/// The names of levels that all conditions of a route have.
fn named_levels(route: &ActionRoute<Condition, With>) -> BTreeSet<&str> {
    let mut all = route.when.iter().map(|it| it.topic.names().collect());
    let first: BTreeSet<&str> = all.next().unwrap_or_default();
    all.fold(first, |named, other: BTreeSet<&str>| &named & &other)
}

impl With {
    /// The variables of all its templates, with their members.
    pub(crate) fn variables(&self) -> BTreeSet<String> {
        let templates = templates(self).into_iter();
        templates.flat_map(|(_, variables, _)| variables).collect()
    }
}

/// The templates of a route: where they are, their variables, and which variables they have beside those
/// of the request.
fn templates(with: &With) -> Vec<(Vec<&str>, BTreeSet<String>, Vec<&str>)> {
    let mut found = Vec::new();
    let texts = [
        ("tool", &with.tool),
        ("if", &with.r#if),
        ("until", &with.until),
        ("correlation", &with.correlation),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            found.push((vec!["with", key], text.0.variables(), Vec::new()));
        }
    }
    if let Some(identity) = &with.identity {
        let variables = identity.subject().variables();
        found.push((vec!["with", "identity"], variables, Vec::new()));
    }
    if let Some(arguments) = &with.arguments {
        found.push((vec!["with", "arguments"], arguments.variables(), Vec::new()));
    }
    let steps: Vec<&str> = with.plan.keys().map(String::as_str).collect();
    for (name, step) in &with.plan {
        let others: Vec<&str> = steps.iter().copied().filter(|it| it != name).collect();
        for (key, variables) in plan::templates(step) {
            found.push((vec!["with", "plan", name, key], variables, others.clone()));
        }
    }
    for (mut path, progress) in all_progress(with) {
        if let Some(payload) = progress.payload() {
            path.push("payload");
            found.push((path, payload.variables(), vec![progress::VARIABLE]));
        }
    }
    let results = if with.tool.is_some() {
        vec![RESULT]
    } else {
        steps
    };
    if let Some(payload) = &with.answer.payload {
        let path = vec!["with", "answer", "payload"];
        found.push((path, payload.variables(), results.clone()));
    }
    if let Some(payload) = &with.failure.payload {
        let more = results.into_iter().chain([ERROR]).collect();
        found.push((
            vec!["with", "failure", "payload"],
            payload.variables(),
            more,
        ));
    }
    found
}

fn check_variables(route: &ActionRoute<Condition, With>, fault: &mut Fault<'_>) {
    let levels = named_levels(route);
    for (path, variables, more) in templates(&route.with) {
        let known: Vec<&str> = REQUEST.into_iter().chain(more).collect();
        for variable in variables {
            let name = first(&variable);
            if !known.contains(&name) {
                let help = nearest(name, &known, "the variables are");
                fault(&path, format!("unknown variable '{name}'"), &help);
            } else if let Some(level) = variable.strip_prefix("topic.").map(first)
                && !levels.contains(level)
            {
                fault(
                    &path,
                    format!("no level is named '{level}'"),
                    &nearest_level(level, &levels),
                );
            }
        }
    }
}

fn check_topics(
    route: &ActionRoute<Condition, With>,
    routes: &[ActionRoute<Condition, With>],
    fault: &mut Fault<'_>,
) {
    let levels = named_levels(route);
    let messages = [
        ("answer", &route.with.answer),
        ("failure", &route.with.failure),
    ];
    let messages = messages
        .into_iter()
        .filter_map(|(key, message)| Some((vec!["with", key, "topic"], message.topic.as_ref()?)));
    let progress = all_progress(&route.with).into_iter();
    let progress = progress.map(|(mut path, options)| {
        if matches!(options, ProgressOptions::Full(_)) {
            path.push("topic");
        }
        (path, options.topic())
    });
    for (path, topic) in messages.chain(progress) {
        for name in topic.names().filter(|name| !levels.contains(name)) {
            fault(
                &path,
                format!("no level is named '{name}'"),
                &nearest_level(name, &levels),
            );
        }
        let conditions = routes.iter().flat_map(|route| &route.when);
        let mut filters = conditions.map(|it| it.topic.filter());
        let own = topic.filter();
        if let Some(request) = filters.find(|it| own.as_ref().is_some_and(|own| it.overlaps(own))) {
            let message = format!(
                "'{}' may be a topic of requests ('{request}')",
                topic.text()
            );
            let help = "use a topic that no 'when' matches: answers would be taken for requests";
            fault(&path, message, help);
        }
    }
}

fn nearest_level(name: &str, levels: &BTreeSet<&str>) -> String {
    let levels: Vec<&str> = levels.iter().copied().collect();
    let all = "the named levels of every topic in 'when' are";
    nearest(name, &levels, all)
}

/// The nearest of some names, or all of them.
fn nearest(name: &str, known: &[&str], all: &str) -> String {
    /// Similarity from which a name is likely meant.
    const LIKELY: f64 = 0.7;
    let scored = known.iter().map(|it| (strsim::jaro_winkler(name, it), *it));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0));
    match best {
        Some((score, it)) if score > LIKELY => format!("did you mean '{it}'?"),
        Some(_) => format!("{all}: {}", known.join(", ")),
        None => "no level of the topics in 'when' has a name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(topic: &str, with: serde_json::Value) -> Vec<(String, String, String)> {
        let when = json!([{ "topic": topic }]);
        let when: Vec<Condition> = serde_json::from_value(when).expect("conditions");
        let with: With = serde_json::from_value(with).expect("an action");
        let faults = With::check(&[ActionRoute { when, with }]).into_iter();
        faults
            .map(|it| (it.path.join("."), it.message, it.help))
            .collect()
    }

    #[track_caller]
    fn check(with: serde_json::Value, at: &str, message: &str, help: &str) {
        let faults = faults("devices/{device}/call", with);
        let found = faults.iter().find(|it| it.0 == at && it.1 == message);
        let found = found.unwrap_or_else(|| panic!("{faults:?}"));
        assert!(found.2.contains(help), "{found:?}");
    }

    #[test]
    fn a_valid_action_has_no_faults() {
        let with = json!({
            "tool": "{{ payload.tool }}", "allow": ["a_*"], "arguments": { "x": "{{ topic.device }}" },
            "identity": { "subject": "{{ topic.device }}", "roles": ["robot"] },
            "answer": { "topic": "answers/{device}", "payload": "{{ result.structured }}" },
            "failure": { "payload": { "why": "{{ error.message }}" } },
        });
        assert_eq!(faults("devices/{device}/call", with), Vec::new());
    }

    #[test]
    fn a_chosen_tool_must_be_allowed() {
        let chosen = json!({ "tool": "{{ payload.tool }}" });
        check(
            chosen,
            "with.tool",
            "requests choose the tool, but no tool is allowed",
            "add 'allow'",
        );
        let other = json!({ "tool": "a", "allow": ["b*"] });
        check(other, "with.tool", "'allow' does not contain 'a'", "add it");
    }

    #[test]
    fn unknown_variables_are_faults() {
        let with = json!({ "tool": "a", "arguments": { "x": "{{ paylod.x }}" } });
        check(
            with,
            "with.arguments",
            "unknown variable 'paylod'",
            "did you mean 'payload'?",
        );
        let with = json!({ "tool": "a", "arguments": { "x": "{{ topic.devise }}" } });
        check(
            with,
            "with.arguments",
            "no level is named 'devise'",
            "did you mean 'device'?",
        );
        let with = json!({ "tool": "a", "answer": { "topic": "a/{robot}" } });
        check(
            with,
            "with.answer.topic",
            "no level is named 'robot'",
            "device",
        );
        let with = json!({ "tool": "a", "answer": { "payload": "{{ error.message }}" } });
        check(
            with,
            "with.answer.payload",
            "unknown variable 'error'",
            "the variables are",
        );
    }

    #[test]
    fn an_answer_that_would_be_a_request_is_a_fault() {
        let with = json!({ "tool": "a", "answer": { "topic": "devices/{device}/call" } });
        let message = "'devices/{device}/call' may be a topic of requests ('devices/+/call')";
        check(
            with,
            "with.answer.topic",
            message,
            "use a topic that no 'when' matches",
        );
    }

    #[test]
    fn a_plan_has_steps_without_cycles() {
        let plan = json!({ "plan": {
            "recipe": { "tool": "a", "arguments": { "drink": "{{ payload.drink }}" } },
            "allergens": { "tool": "b", "arguments": { "name": "{{ recipe.structured.name }}" }, "when": "{{ stock is defined }}" },
            "stock": { "tool": "c", "optional": true, "idempotent": true, "retry": 2, "timeout": 300 },
        }, "answer": { "payload": { "recipe": "{{ recipe.text }}" } } });
        assert_eq!(faults("devices/{device}/call", plan), Vec::new());
        let cycle = json!({ "plan": {
            "a": { "tool": "a", "arguments": { "x": "{{ b.text }}" } },
            "b": { "tool": "b", "when": "{{ c is defined }}" },
            "c": { "tool": "{{ a.text }}" },
        }, "allow": ["*"] });
        let message = "the steps refer to each other in a cycle: a, b, c";
        check(
            cycle,
            "with.plan.a",
            message,
            "remove one of the references",
        );
        let itself =
            json!({ "plan": { "a": { "tool": "a", "arguments": { "x": "{{ a.text }}" } } } });
        check(
            itself,
            "with.plan.a.arguments",
            "unknown variable 'a'",
            "'payload'",
        );
    }

    #[test]
    fn faults_of_a_plan_are_at_the_step() {
        let step = |step: serde_json::Value| json!({ "plan": { "one": step } });
        let unknown = step(json!({ "tool": "a", "when": "{{ tow is defined }}" }));
        check(
            unknown,
            "with.plan.one.when",
            "unknown variable 'tow'",
            "the variables are",
        );
        let retry = step(json!({ "tool": "a", "retry": 1 }));
        check(
            retry,
            "with.plan.one.retry",
            "'retry' of a tool that may do harm twice",
            "idempotent: true",
        );
        let chosen = step(json!({ "tool": "{{ payload.tool }}" }));
        let message = "requests choose the tool, but no tool is allowed";
        check(chosen, "with.plan.one.tool", message, "add 'allow'");
        for name in ["payload", "error", "result", "range", "a b", "1a"] {
            let with = json!({ "plan": { name: { "tool": "a" } } });
            let message = format!("invalid name of a step: '{name}'");
            check(
                with,
                &format!("with.plan.{name}"),
                &message,
                "use letters, digits and '_'",
            );
        }
        let both = json!({ "tool": "a", "plan": { "one": { "tool": "a" } } });
        check(
            both,
            "with.plan",
            "'tool' and 'plan' are mutually exclusive",
            "remove one",
        );
        let none = json!({ "allow": ["a"] });
        let message = "the route calls no tool and has no message to publish";
        check(none, "with", message, "add 'tool' or 'plan'");
    }

    #[test]
    fn keys_of_conditions_go_together() {
        let with = |more: serde_json::Value| {
            let mut with = json!({ "answer": { "topic": "alerts", "payload": { "low": true } } });
            with.as_object_mut()
                .expect("an object")
                .extend(more.as_object().expect("an object").clone());
            with
        };
        let valid = json!({ "if": "{{ payload.level < 10 }}", "edge": "rising", "until": "{{ payload.level > 15 }}", "minInterval": 1000 });
        assert_eq!(faults("devices/{device}/call", with(valid)), Vec::new());
        check(
            with(json!({ "edge": "rising" })),
            "with.edge",
            "'edge' without 'if'",
            "add 'if'",
        );
        check(
            with(json!({ "minInterval": 1 })),
            "with.minInterval",
            "'minInterval' without 'if'",
            "add 'if'",
        );
        let until = json!({ "if": "{{ payload }}", "until": "{{ payload }}" });
        check(
            with(until),
            "with.until",
            "'until' without 'edge: rising'",
            "add 'edge: rising'",
        );
    }
}
