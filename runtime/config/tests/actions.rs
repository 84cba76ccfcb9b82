//! Routes that do something themselves (`with`): what a kind declares, and the faults with their locations.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_config::{
    Config, Descriptor, Faults, MemberType, Protocol, Registry, load, reference, schema,
};
use tidegate_options::{
    Action, ActionFault, ActionRoute, Condition, Options, RouteFault, RouteRule,
};

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Plain {
    /// A number.
    number: u8,
}

impl Options for Plain {}

/// When it rings.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Bell {
    /// Which bell.
    #[schemars(extend("examples" = ["front"]))]
    bell: String,
}

impl Condition for Bell {
    fn check(_: &[RouteRule<Self>]) -> Vec<RouteFault> {
        Vec::new()
    }
}

/// What it says then.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Announce {
    /// The words.
    #[schemars(extend("examples" = ["hello"]))]
    say: String,
}

impl Action for Announce {
    type Condition = Bell;

    fn check(routes: &[ActionRoute<Bell, Self>]) -> Vec<ActionFault> {
        let routes = routes.iter().enumerate();
        let same =
            routes.filter(|(_, route)| route.when.iter().any(|it| it.bell == route.with.say));
        same.map(|(route, _)| ActionFault {
            route,
            path: vec!["with".to_owned(), "say".to_owned()],
            message: "it only says its name".to_owned(),
            help: "say more".to_owned(),
        })
        .collect()
    }
}

fn registry() -> Registry<()> {
    Registry::new(vec![
        Descriptor::of::<Plain>("crier", "proxy", "Says something.")
            .exits(&[("out", Protocol::Mcp)])
            .actions::<Announce>()
            .guard("square")
            .made_by(()),
        Descriptor::of::<Plain>("entry", "server", "Clients connect here.")
            .exit(Protocol::Mcp)
            .made_by(()),
        Descriptor::of::<Plain>("lane", "proxy", "Leads somewhere.")
            .accepts(&[Protocol::Mcp])
            .exit(Protocol::Mcp)
            .routes::<Bell>()
            .made_by(()),
        Descriptor::of::<Plain>("end", "end", "The end.")
            .accepts(&[Protocol::Mcp])
            .made_by(()),
    ])
    .with_guard(MemberType::of::<Plain>("door", "A door."))
}

fn loaded(routes: &str) -> Result<Config, Faults> {
    let text = format!(
        "name: a
bindings:
  crier0:
    type: crier
    kind: proxy
    exits: {{ out: end0 }}
{routes}
  end0: {{ type: end, kind: end }}
"
    );
    load("a.yaml", &text, &registry(), &|_| None)
}

#[track_caller]
fn fault(routes: &str, expected: &str) {
    let faults = loaded(routes).expect_err("a faulty config").to_string();
    let (location, message) = expected.split_once(": ").expect("a location");
    let found = |line: &str| line.starts_with(location) && line.contains(message);
    assert!(faults.lines().any(found), "{faults}");
}

#[test]
fn routes_are_decoded_with_their_actions() {
    let routes =
        "    routes:\n      - { when: [{ bell: front }, { bell: back }], with: { say: hi } }";
    let config = loaded(routes).expect("valid");
    let actions = config.bindings[0]
        .actions::<Bell, Announce>()
        .expect("as declared");
    assert_eq!(actions.len(), 1);
    assert_eq!(actions[0].when[1].bell, "back");
    assert_eq!(actions[0].with.say, "hi");
    assert_eq!(config.bindings[0].targets().collect::<Vec<_>>(), [1]);
}

#[test]
fn faults_of_actions_have_their_location() {
    fault("", "a.yaml:4:5: missing key 'routes'");
    fault(
        "    routes:\n      - { when: [{ bell: a }] }",
        "a.yaml:8:9: missing key 'with'",
    );
    fault(
        "    routes:\n      - when: [{ bell: a }]\n        with: { sya: b }",
        "a.yaml:9:17: unknown key 'sya'; did you mean 'say'?",
    );
    fault(
        "    routes:\n      - when: [{ bell: a }]\n        with: { say: a }",
        "a.yaml:9:22: it only says its name; say more",
    );
    fault(
        "    routes:\n      - when: [{ bell: a }]\n        with: { say: b }\n        exit: end0",
        "a.yaml:10:9: a route of crier · proxy has no 'exit'; use 'when' and 'with'",
    );
    fault(
        "    routes:\n      - when: [{ bel: a }]\n        with: { say: b }",
        "a.yaml:8:18: unknown key 'bel'; did you mean 'bell'?",
    );
}

#[test]
fn other_routes_have_no_action_and_need_an_exit() {
    let of = |route: &str| {
        let text = format!(
            "name: a
bindings:
  crier0: {{ type: crier, kind: proxy, exits: {{ out: lane0 }}, routes: [{{ when: [{{ bell: a }}], with: {{ say: b }} }}] }}
  lane0: {{ type: lane, kind: proxy, routes: [{route}] }}
  end0: {{ type: end, kind: end }}
"
        );
        let faults = load("a.yaml", &text, &registry(), &|_| None).expect_err("a faulty config");
        faults.to_string()
    };
    let with = of("{ when: [], exit: end0, with: { say: b } }");
    assert!(
        with.contains("a route of lane · proxy has no 'with'; use 'when', 'guarded' and 'exit'"),
        "{with}"
    );
    let without = of("{ when: [] }");
    assert!(without.contains("missing key 'exit'"), "{without}");
}

#[test]
fn schema_and_reference_show_the_actions() {
    let schema = schema(&registry());
    let path = "/properties/bindings/additionalProperties/oneOf/0/properties/routes/items/required";
    assert_eq!(
        schema.pointer(path),
        Some(&serde_json::json!(["when", "with"]))
    );
    let page = reference(&registry());
    for part in [
        "  exits:\n    out: lane0\n  routes:\n    - when: [{ bell: front }]\n      with: { say: hello }",
        "What a route does (`with`):",
        "| `say` | string | required | The words. |",
        "It opens mcp streams to its exit `out`.",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn identities_of_a_kind_have_a_guard_that_no_config_declares() {
    let lane = |guard: &str| {
        format!(
            "lane0: {{ type: lane, kind: proxy, routes: [{{ when: [{{ bell: a }}], guarded: {{ {guard}: [x] }}, exit: end0 }}] }}"
        )
    };
    let crier = "crier0: { type: crier, kind: proxy, exits: { out: lane0 }, routes: [{ when: [{ bell: a }], with: { say: b } }] }";
    let text = |more: &str, crier: &str, guard: &str| {
        format!(
            "name: a\n{more}bindings:\n  {crier}\n  {}\n  end0: {{ type: end, kind: end }}\n",
            lane(guard)
        )
    };
    let read =
        |text: &str| load("a.yaml", text, &registry(), &|_| None).map_err(|it| it.to_string());
    assert!(read(&text("", crier, "square")).is_ok());
    let other = read(&text("", crier, "squire")).expect_err("unknown");
    assert!(other.contains("unknown guard 'squire'"), "{other}");
    let entry = "crier0: { type: entry, kind: server, exit: lane0 }";
    let without = read(&text("", entry, "square")).expect_err("nobody gives it");
    assert!(without.contains("unknown guard 'square'"), "{without}");
    let declared = read(&text(
        "guards: { square: { type: door } }\n",
        crier,
        "square",
    ));
    let declared = declared.expect_err("it would stand for two");
    assert!(
        declared.contains("a.yaml:2:11: guards.square: the guard 'square' is that of machines"),
        "{declared}"
    );
}
