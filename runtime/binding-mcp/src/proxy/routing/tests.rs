//! Routes and callers: what is permitted, absent, and worth asking for.

use tidegate_engine::testing::Rig;

use super::*;

/// Routes as in a config: conditions, who is permitted, and the number of the exit.
fn routing(routes: &[(&str, Option<&str>, usize)]) -> (Routing, Vec<BindingId>) {
    let mut rig = Rig::new();
    let exits: Vec<BindingId> = (0..3).map(|_| rig.edge(1)).collect();
    let route = |(when, guarded, exit): &(&str, Option<&str>, usize)| Route {
        rule: RouteRule {
            when: serde_json::from_str(when).expect("conditions"),
            guarded: guarded.map(|json| serde_json::from_str(json).expect("guarded")),
        },
        exit: exits[*exit],
    };
    (Routing::new(routes.iter().map(route).collect()), exits)
}

fn staff(roles: &[&str]) -> Identity {
    Identity {
        subject: "alice".into(),
        guard: "staff".into(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        ..Identity::default()
    }
}

fn permitted(upstream: usize, route: usize) -> Decision<'static> {
    Decision::Permitted { upstream, route }
}

const OPERATORS: Option<&str> = Some(r#"{"staff":["operator"]}"#);

#[test]
fn the_first_route_that_matches_and_permits_is_taken() {
    let (routing, _) = routing(&[
        (r#"[{"toolkit":"plant","tool":"set_*"}]"#, OPERATORS, 0),
        (
            r#"[{"toolkit":"plant","tool":"get_*","resource":"mqtt://a/*"}]"#,
            None,
            0,
        ),
        (r#"[{"toolkit":"depot"}]"#, Some(r#"{"staff":[]}"#), 1),
    ]);
    let (operator, viewer) = (staff(&["operator"]), staff(&[]));
    let tool = |caller: Option<&Identity>, key: &str| match routing.decide(caller, Kind::Tool, key)
    {
        Decision::Permitted { upstream, route } => Some((upstream, route)),
        _ => None,
    };
    assert_eq!(tool(Some(&operator), "plant__set_x"), Some((0, 0)));
    assert_eq!(tool(Some(&viewer), "plant__set_x"), None);
    assert_eq!(tool(Some(&viewer), "plant__get_x"), Some((0, 1)));
    assert_eq!(tool(None, "plant__get_x"), Some((0, 1)));
    assert_eq!(tool(Some(&viewer), "depot__any"), Some((1, 2)));
    assert_eq!(tool(None, "depot__any"), None);
    assert_eq!(tool(Some(&operator), "plant__other"), None);
    let refused = routing.decide(Some(&viewer), Kind::Tool, "plant__set_x");
    assert_eq!(refused, Decision::Unknown { refusing: Some(0) });
    let unknown = routing.decide(Some(&viewer), Kind::Tool, "plant__other");
    assert_eq!(unknown, Decision::Unknown { refusing: None });
    let resource = |key| routing.decide(None, Kind::Resource, key);
    assert_eq!(resource("plant+mqtt://a/b"), permitted(0, 1));
    assert_eq!(
        resource("plant+mqtt://b"),
        Decision::Unknown { refusing: None }
    );
    assert!(matches!(
        routing.decide(None, Kind::Prompt, "plant__get_x"),
        Decision::Unknown { refusing: None }
    ));
    assert_eq!(routing.toolkits(Some(&viewer)), ["plant", "depot"]);
    assert_eq!(routing.toolkits(None), ["plant"]);
}

#[test]
fn lists_ask_only_the_toolkits_that_have_something_for_the_caller() {
    let (routing, _) = routing(&[
        (r#"[{"toolkit":"plant","tool":"set_*"}]"#, OPERATORS, 0),
        (r#"[{"toolkit":"depot","resource":"*"}]"#, None, 1),
    ]);
    let (operator, viewer) = (staff(&["operator"]), staff(&[]));
    let reachable = |caller, list| routing.reachable(Some(caller), list).to_vec();
    assert_eq!(reachable(&operator, Some(Kind::Tool)), [0]);
    assert_eq!(reachable(&operator, None), [0, 1]);
    assert_eq!(reachable(&viewer, Some(Kind::Tool)), [0; 0]);
    assert_eq!(reachable(&viewer, Some(Kind::Resource)), [1]);
    assert!(routing.offers(Some(&operator), 0, Kind::Tool, "set_a"));
    assert!(!routing.offers(Some(&operator), 0, Kind::Tool, "get_a"));
    assert!(!routing.offers(Some(&viewer), 0, Kind::Tool, "set_a"));
    assert!(routing.depends_on_caller() && !routing.is_open());
}

#[test]
fn who_may_use_an_earlier_route_gets_nothing_from_a_later_one_of_the_same_toolkit() {
    let (routing, exits) = routing(&[("[]", OPERATORS, 0), ("[]", None, 1)]);
    let (operator, viewer) = (staff(&["operator"]), staff(&[]));
    assert_eq!(routing.transparent(Some(&operator)), Some((exits[0], 0)));
    assert_eq!(routing.transparent(Some(&viewer)), Some((exits[1], 1)));
    assert_eq!(routing.transparent(None), Some((exits[1], 1)));
    assert_eq!(routing.reachable(Some(&operator), None).to_vec(), [0]);
}

#[test]
fn the_fewest_scopes_that_would_permit_an_operation_are_named_to_those_who_can_ask() {
    let (routing, _) = routing(&[
        (
            r#"[{"toolkit":"plant"}]"#,
            Some(r#"{"staff":["a","b"]}"#),
            0,
        ),
        (
            r#"[{"toolkit":"plant","tool":"set_*"}]"#,
            Some(r#"{"staff":["c"]}"#),
            0,
        ),
        (r#"[{"toolkit":"plant"}]"#, Some(r#"{"others":["d"]}"#), 0),
        // As few as the route before, which comes first.
        (
            r#"[{"toolkit":"plant","tool":"set_*"}]"#,
            Some(r#"{"staff":["e"]}"#),
            0,
        ),
    ]);
    let stepping = Identity {
        step_up: true,
        ..staff(&["a"])
    };
    let scopes = |caller: &Identity, key| match routing.decide(Some(caller), Kind::Tool, key) {
        Decision::StepUp { scopes, route } => Some((scopes.join(" "), route)),
        _ => None,
    };
    assert_eq!(scopes(&stepping, "plant__set_x"), Some(("c".into(), 1)));
    assert_eq!(scopes(&stepping, "plant__get_x"), Some(("a b".into(), 0)));
    assert_eq!(scopes(&stepping, "depot__x"), None);
    assert_eq!(scopes(&staff(&["a"]), "plant__set_x"), None);
}

#[test]
fn operations_are_counted_by_the_name_of_their_toolkit() {
    let (routing, _) = routing(&[
        (r#"[{"toolkit":"plant"}]"#, None, 0),
        (r#"[{"toolkit":"depot"}]"#, None, 1),
        (r#"[{"toolkit":"plant"}]"#, OPERATORS, 2),
        ("[]", OPERATORS, 2),
    ]);
    assert_eq!(routing.len(), 4);
    // Two exits of one name are one series, and tools without a prefix have no toolkit.
    let counts = routing.by_name(&[1, 2, 4, 8]);
    assert_eq!(counts, BTreeMap::from([("depot", 2), ("plant", 5)]));
}
