//! Explains which routes call a tool, and who asks then, with the code that decides it.

use std::collections::BTreeSet;

use tidegate_jsonrpc::Method;
use tidegate_options::{ActionRoute, Glob};
use tidegate_streams::Identity;

use crate::action::{IdentityOptions, RESULT, With};
use crate::options::{Condition, Options};
use crate::request::{GUARD, is_subject};
use crate::route::{Route, Routes};

/// A route that calls a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What names or allows the tool, such as `routes.0.plan.recipe` or `routes.1.allow (lookup_*)`.
    pub rule: String,
    /// The topics of its requests, as in the config.
    pub topics: Vec<String>,
    /// Who asks, if that is not the caller who was asked for.
    pub other: Option<Asks>,
}

/// Whom a route calls its tools for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// The calls are anonymous.
    Anonymous,
    /// An identity of the guard `mqtt`.
    Identity {
        /// Its subject, if all requests have the same.
        subject: Option<String>,
        /// Its roles.
        roles: Vec<String>,
    },
}

/// The routes of an `mqtt_mcp · proxy`.
#[derive(Debug)]
pub struct Explainer(Routes);

impl Explainer {
    /// Explains these routes.
    pub fn new(options: &Options, routes: Vec<ActionRoute<Condition, With>>) -> Self {
        Self(Routes::new(routes, options))
    }

    /// Whether requests have an identity on some route.
    pub fn identifies(&self) -> bool {
        self.0.iter().any(|route| route.identity.is_some())
    }

    /// The routes that call a tool, and whether they do so for a caller.
    pub fn tool(&self, caller: Option<&Identity>, name: &str) -> Vec<Explanation> {
        let routes = self.0.iter().enumerate();
        let found = routes.filter_map(|(index, route)| {
            Some(Explanation {
                rule: format!("routes.{index}.{}", rule(route, name)?),
                topics: route.topics(),
                other: (!is_asked_by(route, caller)).then(|| asks(route)),
            })
        });
        found.collect()
    }
}

/// What of a route names or allows a tool.
fn rule(route: &Route, name: &str) -> Option<String> {
    if let Some(rules) = &route.raw {
        let is_allowed = rules.allow(Method::ToolsCall) && rules.allow_tool(name);
        let tools = rules.tools_matching(name).map(|it| with_glob("tools", it));
        return is_allowed.then(|| tools.unwrap_or_else(|| "allow".to_owned()));
    }
    if !route.allows(name) {
        return None;
    }
    // A tool that the config names is a better reason than one that requests may choose.
    let mut steps = route.steps.iter();
    let named = steps.find(|step| step.tool.is_literal() && step.tool.source() == name);
    if let Some(step) = named {
        return Some(match &*step.name {
            RESULT => "tool".to_owned(),
            step => format!("plan.{step}"),
        });
    }
    let is_chosen = route.steps.iter().any(|step| !step.tool.is_literal());
    let glob = route.allow_matching(name).filter(|_| is_chosen);
    glob.map(|it| with_glob("allow", it))
}

fn with_glob(key: &str, glob: &Glob) -> String {
    format!("{key} ({})", String::from(glob.clone()))
}

/// Whether a request of the route can be one of this caller.
fn is_asked_by(route: &Route, caller: Option<&Identity>) -> bool {
    match (&route.identity, caller) {
        (None, caller) => caller.is_none(),
        (Some(_), None) => false,
        (Some(given), Some(caller)) => {
            let asked: BTreeSet<&str> = caller.roles.iter().map(|it| &**it).collect();
            let roles = given.roles().iter().map(String::as_str);
            *caller.guard == *GUARD
                && is_subject(&caller.subject)
                && subject(given).is_none_or(|it| it == &*caller.subject)
                && asked == roles.collect()
                && caller.attributes.is_empty()
        }
    }
}

/// The subject of all requests, if it is always the same.
fn subject(identity: &IdentityOptions) -> Option<&str> {
    let template = identity.subject();
    template.is_literal().then(|| template.source())
}

fn asks(route: &Route) -> Asks {
    match &route.identity {
        None => Asks::Anonymous,
        Some(identity) => Asks::Identity {
            subject: subject(identity).map(str::to_owned),
            roles: identity.roles().to_vec(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn explainer(routes: &[(&str, Value)]) -> Explainer {
        let routes = routes.iter().map(|(topic, with)| ActionRoute {
            when: serde_json::from_value(json!([{ "topic": topic }])).expect("conditions"),
            with: serde_json::from_value(with.clone()).expect("an action"),
        });
        Explainer::new(&Options::default(), routes.collect())
    }

    fn robot(subject: &str, roles: &[&str]) -> Identity {
        Identity {
            subject: subject.into(),
            guard: GUARD.into(),
            roles: roles.iter().map(|it| (*it).into()).collect(),
            ..Identity::default()
        }
    }

    /// The rules that name or allow a tool, for whomever.
    fn rules(explainer: &Explainer, tool: &str) -> Vec<String> {
        let found = explainer.tool(None, tool).into_iter();
        found.map(|it| it.rule).collect()
    }

    #[test]
    fn a_tool_is_called_if_a_route_names_or_allows_it() {
        let explainer = explainer(&[
            ("a/{device}", json!({ "tool": "look" })),
            (
                "b",
                json!({ "tool": "{{ payload.tool }}", "allow": ["lo*"] }),
            ),
            (
                "c",
                json!({ "plan": { "one": { "tool": "open" }, "two": { "tool": "{{ payload.tool }}" } }, "allow": ["open", "list"] }),
            ),
            (
                "d",
                json!({ "raw": "json-rpc", "allow": ["tools/*"], "tools": ["look", "list"] }),
            ),
            ("e", json!({ "raw": "json-rpc", "allow": ["tools/call"] })),
            ("f", json!({ "raw": "json-rpc", "allow": ["tools/list"] })),
            ("g", json!({ "answer": { "topic": "h", "payload": {} } })),
        ]);
        let look = [
            "routes.0.tool",
            "routes.1.allow (lo*)",
            "routes.3.tools (look)",
            "routes.4.allow",
        ];
        assert_eq!(rules(&explainer, "look"), look);
        assert_eq!(
            rules(&explainer, "open"),
            ["routes.2.plan.one", "routes.4.allow"]
        );
        let list = [
            "routes.2.allow (list)",
            "routes.3.tools (list)",
            "routes.4.allow",
        ];
        assert_eq!(rules(&explainer, "list"), list);
        let first = explainer.tool(None, "look").into_iter().next();
        assert_eq!(
            first.map(|it| it.topics),
            Some(vec!["a/{device}".to_owned()])
        );
    }

    #[test]
    fn an_allow_list_beside_named_tools_allows_no_others() {
        let explainer = explainer(&[("a", json!({ "tool": "look", "allow": ["lo*"] }))]);
        assert_eq!(rules(&explainer, "look"), ["routes.0.tool"]);
        assert_eq!(rules(&explainer, "lock"), [""; 0]);
    }

    #[test]
    fn a_caller_is_one_whom_the_route_can_identify() {
        let identity = json!({ "subject": "{{ topic.device }}", "roles": ["barista", "night"] });
        let explainer = explainer(&[
            (
                "a/{device}",
                json!({ "tool": "look", "identity": identity }),
            ),
            ("b", json!({ "tool": "look", "identity": "planner" })),
            ("c", json!({ "tool": "look" })),
        ]);
        let asked = |caller: Option<&Identity>| -> Vec<bool> {
            let found = explainer.tool(caller, "look").into_iter();
            found.map(|it| it.other.is_none()).collect()
        };
        assert!(explainer.identifies());
        assert_eq!(asked(None), [false, false, true]);
        assert_eq!(
            asked(Some(&robot("r1", &["night", "barista"]))),
            [true, false, false]
        );
        assert_eq!(
            asked(Some(&robot("r1", &["barista"]))),
            [false, false, false]
        );
        assert_eq!(asked(Some(&robot("planner", &[]))), [false, true, false]);
        assert_eq!(
            asked(Some(&robot("a/b", &["night", "barista"]))),
            [false, false, false]
        );
        let foreign = Identity {
            guard: "staff".into(),
            ..robot("planner", &[])
        };
        assert_eq!(asked(Some(&foreign)), [false, false, false]);
        let others: Vec<_> = explainer
            .tool(Some(&foreign), "look")
            .into_iter()
            .map(|it| it.other)
            .collect();
        let identity = |subject: Option<&str>, roles: &[&str]| {
            Some(Asks::Identity {
                subject: subject.map(str::to_owned),
                roles: roles.iter().map(|it| (*it).to_owned()).collect(),
            })
        };
        let expected = [
            identity(None, &["barista", "night"]),
            identity(Some("planner"), &[]),
            Some(Asks::Anonymous),
        ];
        assert_eq!(others, expected);
    }
}
