//! Parses one binding of the config into a [`Draft`] whose exits are not yet resolved.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::{Mapping, Value};
use tidegate_options::{ActionRoute, GuardReference, Guarded, RouteRule};

use crate::check::{Draft, DraftExit, DraftRoute};
use crate::decode::decode_valid_part;
use crate::expression::Expressions;
use crate::fault::{Findings, suggestion};
use crate::load::path;
use crate::registry::{Actions, Exits, Kinds, References, Routing, Shape};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBinding {
    r#type: String,
    kind: String,
    options: Option<Value>,
    routes: Option<Vec<RawRoute>>,
    exit: Option<String>,
    exits: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    #[serde(default)]
    when: Vec<Value>,
    guarded: Option<Guarded>,
    exit: Option<String>,
    with: Option<Value>,
}

/// Parses a binding. A fault in one key does not hide faults in other keys.
pub(crate) fn draft<'r>(
    name: &str,
    value: &Value,
    kinds: &'r Kinds,
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Draft<'r> {
    let at = path(&["bindings", name]);
    let raw = decode_valid_part::<RawBinding>(value.clone(), &at, expressions, findings);
    let Some(raw) = raw else {
        return Draft::unusable(name);
    };
    let Some(shape) = kinds.find(&raw.r#type, &raw.kind) else {
        unknown_kind(name, &raw, kinds, findings);
        return Draft::unusable(name);
    };
    let options = raw.options.filter(|options| !options.is_null());
    let options = options.unwrap_or_else(|| Value::Mapping(Mapping::new()));
    let at_options = path(&["bindings", name, "options"]);
    let References {
        mut guards,
        own_files,
    } = (shape.check)(options.clone(), &at_options, expressions, findings);
    // A key with an invalid value is present, so it is not reported as missing.
    let given = |key: &str| value.get(key).is_some();
    presence(name, shape, &given, findings);
    let exits = match shape.exits {
        Exits::None => Vec::new(),
        Exits::One(_) | Exits::Any(_) => {
            let protocols = shape.exits.iter().map(|(_, protocol)| protocol);
            let exit = raw.exit.map(|binding| DraftExit {
                name: Exits::ONLY,
                protocols: protocols.collect(),
                at: vec![Exits::ONLY],
                binding,
            });
            exit.into_iter().collect()
        }
        Exits::Named(_) => named(name, shape, raw.exits.unwrap_or_default(), findings),
    };
    let raw_routes = raw.routes.unwrap_or_default();
    let (mut routes, mut actions) = (Vec::new(), Vec::new());
    if let Some(routing) = shape.routing {
        let complete = keys_of_routes(name, shape, routing, &raw_routes, findings);
        if complete {
            guards.extend(check_routes(
                name,
                routing,
                &raw_routes,
                expressions,
                findings,
            ));
        }
        match routing.actions {
            Some(action) => {
                actions = check_actions(name, action, raw_routes, expressions, findings);
            }
            None => routes = leading(raw_routes),
        }
    }
    Draft {
        name: name.to_owned(),
        shape: Some(shape),
        exits,
        routes,
        actions,
        options,
        guards,
        own_files,
        expressions: expressions.below(&at),
    }
}

fn unknown_kind(name: &str, raw: &RawBinding, kinds: &Kinds, findings: &mut Findings<'_>) {
    let of_type = kinds.kinds_of(&raw.r#type);
    let (key, word, known) = if of_type.is_empty() {
        ("type", &raw.r#type, kinds.types())
    } else {
        ("kind", &raw.kind, of_type)
    };
    findings.value_with(
        &path(&["bindings", name, key]),
        format!("unknown binding {key} '{word}'"),
        suggestion(word, &known),
    );
}

/// Records a fault for each of `exit`, `exits` and `routes` that this kind does not have, and for a
/// missing one.
fn presence(name: &str, shape: &Shape, given: &dyn Fn(&str) -> bool, findings: &mut Findings<'_>) {
    let title = shape.title();
    let refused: &[&str] = match (shape.exits, shape.routing) {
        (Exits::None, _) => &["exit", "exits", "routes"],
        (Exits::One(_) | Exits::Any(_), None) => &["exits", "routes"],
        (Exits::One(_) | Exits::Any(_), Some(_)) => &["exits"],
        (Exits::Named(_), None) => &["exit", "routes"],
        (Exits::Named(_), Some(_)) => &["exit"],
    };
    for key in refused.iter().filter(|key| given(key)) {
        let help = match shape.exits {
            Exits::None => format!("remove it: {title} opens no streams"),
            Exits::One(_) | Exits::Any(_) if *key == "routes" => {
                "use a single 'exit'; to route to several bindings, put an mcp · proxy in front"
                    .to_owned()
            }
            Exits::One(_) | Exits::Any(_) => "use a single 'exit'".to_owned(),
            Exits::Named(_) => format!("use 'exits': {}", names(shape)),
        };
        let at = path(&["bindings", name, key]);
        findings.key(&at, format!("{title} has no '{key}'"), Some(help));
    }
    let at = path(&["bindings", name]);
    let missing = |key: &str| format!("missing key '{key}'");
    match shape.exits {
        Exits::One(_) | Exits::Any(_) if shape.routing.is_some() => {
            match (given("exit"), given("routes")) {
                (false, false) => findings.value_with(
                    &at,
                    missing("exit"),
                    "set 'exit' to the binding that accepts the streams, or add 'routes'",
                ),
                (true, true) => findings.key(
                    &path(&["bindings", name, "exit"]),
                    "'exit' and 'routes' are mutually exclusive",
                    Some("remove one of them".to_owned()),
                ),
                _ => {}
            }
        }
        Exits::One(_) | Exits::Any(_) if !given("exit") => findings.value_with(
            &at,
            missing("exit"),
            "set 'exit' to the binding that accepts the streams",
        ),
        Exits::Named(_) if !given("exits") => findings.value_with(
            &at,
            missing("exits"),
            format!(
                "set 'exits' to the bindings that accept the streams: {}",
                names(shape)
            ),
        ),
        _ => {}
    }
    let acts = shape.routing.is_some_and(|it| it.actions.is_some());
    if acts && !given("routes") {
        let help = "add 'routes', each with 'when' and 'with'";
        findings.value_with(&at, missing("routes"), help);
    }
}

/// Records a fault for each key of a route that this kind does not have, and for a missing one. Returns
/// whether none is missing.
fn keys_of_routes(
    name: &str,
    shape: &Shape,
    routing: Routing,
    routes: &[RawRoute],
    findings: &mut Findings<'_>,
) -> bool {
    let title = shape.title();
    let mut complete = true;
    for (index, route) in routes.iter().enumerate() {
        let index = index.to_string();
        let at = |key: &str| path(&["bindings", name, "routes", &index, key]);
        let given = [
            ("exit", route.exit.is_some()),
            ("guarded", route.guarded.is_some()),
            ("with", route.with.is_some()),
        ];
        let (refused, required, help): (&[&str], _, _) = match routing.actions {
            Some(_) => (&["exit", "guarded"], "with", "use 'when' and 'with'"),
            None => (&["with"], "exit", "use 'when', 'guarded' and 'exit'"),
        };
        for (key, is_given) in given {
            if is_given && refused.contains(&key) {
                let message = format!("a route of {title} has no '{key}'");
                findings.key(&at(key), message, Some(help.to_owned()));
            } else if !is_given && key == required {
                let at = path(&["bindings", name, "routes", &index]);
                findings.value(&at, format!("missing key '{key}'"));
                complete = false;
            }
        }
    }
    complete
}

/// The routes that lead to an exit. The fault of one without is recorded.
fn leading(routes: Vec<RawRoute>) -> Vec<DraftRoute> {
    let routes = routes.into_iter().filter_map(|route| {
        Some(DraftRoute {
            when: route.when,
            guarded: route.guarded,
            exit: route.exit?,
        })
    });
    routes.collect()
}

/// Checks and returns the routes that do something themselves. The fault of one that does nothing is
/// recorded.
fn check_actions(
    name: &str,
    actions: Actions,
    routes: Vec<RawRoute>,
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Vec<ActionRoute<Value, Value>> {
    let count = routes.len();
    let routes = routes.into_iter().filter_map(|route| {
        Some(ActionRoute {
            when: route.when,
            with: route.with?,
        })
    });
    let routes: Vec<ActionRoute<Value, Value>> = routes.collect();
    if routes.len() == count {
        let at = path(&["bindings", name, "routes"]);
        (actions.check)(&routes, &at, expressions, findings);
    }
    routes
}

/// The named exits and their protocols, for messages.
fn names(shape: &Shape) -> String {
    let exits = shape.exits.iter();
    let exits: Vec<String> = exits
        .map(|(name, protocol)| format!("{name} ({} streams)", protocol.word()))
        .collect();
    exits.join(", ")
}

fn named(
    name: &str,
    shape: &Shape,
    mut given: BTreeMap<String, String>,
    findings: &mut Findings<'_>,
) -> Vec<DraftExit> {
    let at = path(&["bindings", name, "exits"]);
    let mut exits = Vec::new();
    let mut missing = Vec::new();
    for (exit, protocol) in shape.exits.iter() {
        match given.remove(exit) {
            Some(binding) => exits.push(DraftExit {
                name: exit,
                protocols: vec![protocol],
                at: vec!["exits", exit],
                binding,
            }),
            None => missing.push(exit),
        }
    }
    if let Some(attachment) = &shape.attachment
        && let Some(binding) = given.remove(attachment.key)
    {
        exits.push(DraftExit {
            name: attachment.key,
            protocols: vec![attachment.protocol],
            at: vec!["exits", attachment.key],
            binding,
        });
    }
    let known: Vec<&str> = shape.exits.iter().map(|(exit, _)| exit).collect();
    for key in given.keys() {
        let at = path(&["bindings", name, "exits", key]);
        findings.key(
            &at,
            format!("unknown exit '{key}'"),
            Some(suggestion(key, &known)),
        );
    }
    // Without any exit, the missing key 'exits' is already reported.
    if !exits.is_empty() || !given.is_empty() {
        for exit in missing {
            let help = format!("required exits: {}", names(shape));
            findings.value_with(&at, format!("missing exit '{exit}'"), help);
        }
    }
    exits
}

fn check_routes(
    name: &str,
    routing: Routing,
    routes: &[RawRoute],
    expressions: &Expressions,
    findings: &mut Findings<'_>,
) -> Vec<GuardReference> {
    let mut guards = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let guarded = route.guarded.iter();
        let index_step = index.to_string();
        guards.extend(
            guarded.flat_map(|guarded| guarded.references(&["routes", &index_step, "guarded"])),
        );
        if route.when.len() > routing.max {
            findings.value_with(
                &path(&["bindings", name, "routes", &index.to_string(), "when"]),
                format!(
                    "too many conditions in one route; the maximum is {}",
                    routing.max
                ),
                "use one route for each condition",
            );
        }
    }
    let first = routes.first().map(|route| &route.exit);
    for (index, route) in routes.iter().enumerate() {
        if routing.same_exit && route.exit.is_some() && Some(&route.exit) != first {
            findings.value_with(
                &path(&["bindings", name, "routes", &index.to_string(), "exit"]),
                "the routes of this binding must have the same exit",
                "use one binding for each exit",
            );
        }
    }
    let rules = routes.iter().map(|route| RouteRule {
        when: route.when.clone(),
        guarded: route.guarded.clone(),
    });
    let rules: Vec<RouteRule<Value>> = rules.collect();
    let at = path(&["bindings", name, "routes"]);
    guards.extend((routing.check)(&rules, &at, expressions, findings));
    guards
}
