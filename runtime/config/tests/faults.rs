//! Each fault of a config, with its exact location and message; several at once.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use tidegate_config::{
    Config, Descriptor, Fault, Faults, MemberType, Protocol, Registry, load, schema,
};
use tidegate_options::{
    Condition, GuardReference, Guarded, OptionConflict, OptionWarning, Options, RouteFault,
    RouteRule,
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "only read from the text")]
struct Door {
    /// Where to listen.
    listen: String,
    #[serde(default)]
    max_connections: Option<u16>,
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Gate {
    #[serde(deserialize_with = "even")]
    read_timeout: u64,
    patterns: Vec<String>,
    port: u16,
    password: Option<String>,
    guarded: Option<Guarded>,
}

fn even<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number % 2 == 0 {
        Ok(number)
    } else {
        Err(serde::de::Error::custom("must be even"))
    }
}

impl Options for Door {}

impl Options for Gate {
    fn conflicts(&self) -> Vec<OptionConflict> {
        let conflict = OptionConflict {
            key: "port",
            message: "'port' is 7, which no password protects".to_owned(),
            help: "set 'password'".to_owned(),
        };
        let is_open = self.port == 7 && self.password.is_none();
        std::iter::repeat_n(conflict, usize::from(is_open)).collect()
    }

    fn guards(&self) -> Vec<GuardReference> {
        let guarded = self.guarded.iter();
        guarded
            .flat_map(|guarded| guarded.references(&["guarded"]))
            .collect()
    }

    fn warnings(&self) -> Vec<OptionWarning> {
        let warning = OptionWarning {
            key: "readTimeout",
            message: "'readTimeout' is 2".to_owned(),
            help: "use 4".to_owned(),
        };
        std::iter::repeat_n(warning, usize::from(self.read_timeout == 2)).collect()
    }
}

/// Which of the gate's routes: the kind says how many conditions a route has, and which go together.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Lane {
    lane: u8,
}

impl Condition for Lane {
    const MAX: usize = 1;

    fn guards(&self) -> Vec<GuardReference> {
        let reference = GuardReference {
            guard: "of-lane-99".to_owned(),
            path: vec!["lane".to_owned()],
        };
        let guarded = self.lane == 99;
        guarded.then_some(reference).into_iter().collect()
    }

    fn check(routes: &[RouteRule<Self>]) -> Vec<RouteFault> {
        let twice = |(route, rule): (usize, &RouteRule<Self>)| {
            routes
                .iter()
                .take(route)
                .any(|earlier| earlier == rule)
                .then(|| RouteFault {
                    route,
                    message: "this lane has a route".to_owned(),
                    help: "use another lane".to_owned(),
                })
        };
        routes.iter().enumerate().filter_map(twice).collect()
    }
}

/// What would make the binding: the config only carries it.
#[derive(Debug, PartialEq)]
struct Factory(&'static str);

fn registry() -> Registry<Factory> {
    Registry::new(vec![
        Descriptor::of::<Door>("door", "server", "A door.")
            .exit(Protocol::Http)
            .made_by(Factory("door")),
        Descriptor::of::<Gate>("gate", "proxy", "A gate.")
            .accepts(&[Protocol::Http, Protocol::Mcp])
            .exit(Protocol::Mcp)
            .routes::<Lane>()
            .made_by(Factory("gate")),
        Descriptor::of::<Gate>("gate", "end", "The end.")
            .accepts(&[Protocol::Mcp])
            .made_by(Factory("end")),
        Descriptor::of::<Gate>("fork", "server", "Two ways.")
            .exits(&[("in", Protocol::Http), ("out", Protocol::Mcp)])
            .made_by(Factory("fork")),
    ])
    .with_guard(MemberType::of::<Door>("door", "A door."))
}

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("1883".to_owned()),
        "SECRET" => Some("0123".to_owned()),
        "LANE" => Some("2".to_owned()),
        "HOST" => Some("example".to_owned()),
        _ => None,
    }
}

fn loaded(text: &str) -> Result<Config, Faults> {
    load("a.yaml", text, &registry(), &environment)
}

fn faults(text: &str) -> Vec<String> {
    let faults = loaded(text).expect_err("a faulty config");
    faults.to_string().lines().map(str::to_owned).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let warnings = loaded(text).expect("no fault").warnings;
    warnings.iter().map(Fault::with_help).collect()
}

const GOOD: &str = "name: good
bindings:
  door0: { type: door, kind: server, options: { listen: a }, exit: gate0 }
  gate0:
    type: gate
    kind: proxy
    routes:
      - { when: [{ lane: 1 }], exit: end0 }
      - { when: [{ lane: \"${{env.LANE}}\" }], exit: end0 }
  end0: { type: gate, kind: end, options: { port: \"${{env.PORT}}\", password: \"${{env.SECRET}}\" } }
";

#[test]
fn a_good_config_is_read() {
    let config = loaded(GOOD).expect("good");
    assert_eq!(
        (config.name.as_str(), config.shutdown_timeout),
        ("good", 10_000)
    );
    let names = |order: Vec<usize>| -> Vec<String> {
        order
            .into_iter()
            .map(|index| config.bindings[index].name.clone())
            .collect()
    };
    assert_eq!(names(config.exits_first()), ["end0", "gate0", "door0"]);
    assert_eq!(
        config.bindings[1].when::<Lane>(1).expect("checked"),
        [Lane { lane: 2 }]
    );
    let end: Gate = config.bindings[2].options().expect("checked");
    // A variable stands for a number where one is wanted, and stays text where text is.
    assert_eq!((end.port, end.password.as_deref()), (1883, Some("0123")));
    assert!(config.warnings.is_empty());
}

#[test]
fn a_byte_order_mark_is_no_fault() {
    assert!(loaded(&format!("\u{feff}{GOOD}")).is_ok());
}

#[test]
fn all_faults_are_reported_in_source_order() {
    let text = "name: [1]
bindings:
  door0:
    type: door
    kind: server
    options:
      lisen: here
      maxConnections: many
    exit: gate9
  gate0:
    type: gate
    kind: proxy
    options: { readTimeout: 3, patterns: [a, 5], port: 70000 }
    routes:
      - { when: [{ lane: many }], exit: end0 }
  end0: { type: gate, kind: ende }
";
    assert_eq!(
        faults(text),
        [
            "a.yaml:1:7: name: must be a string, not a list",
            "a.yaml:7:7: bindings.door0.options.lisen: unknown key 'lisen'; \
             did you mean 'listen'? Valid: listen, maxConnections",
            "a.yaml:7:7: bindings.door0.options: missing key 'listen'",
            "a.yaml:8:23: bindings.door0.options.maxConnections: must be an integer from 0 to 65535, not string \"many\"",
            "a.yaml:9:11: bindings.door0.exit: unknown binding 'gate9'; \
             did you mean 'gate0'? Valid: door0, gate0, end0",
            "a.yaml:13:29: bindings.gate0.options.readTimeout: must be even",
            "a.yaml:13:46: bindings.gate0.options.patterns.1: must be a string, not integer 5",
            "a.yaml:13:56: bindings.gate0.options.port: must be an integer from 0 to 65535, not integer 70000",
            "a.yaml:15:26: bindings.gate0.routes.0.when.0.lane: must be an integer from 0 to 255, not string \"many\"",
            "a.yaml:16:29: bindings.end0.kind: unknown binding kind 'ende'; \
             did you mean 'end'? Valid: proxy, end",
        ]
    );
}

#[test]
fn an_option_can_choose_the_protocol_of_the_exit() {
    let kinds = || {
        let hatch = Descriptor::of::<Door>("hatch", "server", "A door to either.")
            .exit_of_any(&[Protocol::Http, Protocol::Mcp])
            .exit_chosen_by(
                "listen",
                &[("web", Protocol::Http), ("tools", Protocol::Mcp)],
            )
            .made_by(Factory("hatch"));
        let end = Descriptor::of::<Gate>("gate", "end", "The end.")
            .accepts(&[Protocol::Mcp])
            .made_by(Factory("end"));
        Registry::new(vec![hatch, end])
    };
    let load = |listen: &str| {
        let text = format!(
            "name: a\nbindings:\n  hatch0: {{ type: hatch, kind: server, exit: end0, options: {{ listen: {listen} }} }}\n  \
             end0: {{ type: gate, kind: end }}\n"
        );
        load("a.yaml", &text, &kinds(), &environment)
    };
    for listen in ["any", "tools"] {
        load(listen).expect(listen);
    }
    let faults = load("web").expect_err("another protocol").to_string();
    let expected = "bindings.hatch0.exit: exit 'end0' (gate · end) does not accept http streams";
    assert!(faults.contains(expected), "{faults}");
}

#[test]
fn each_fault_has_a_message_and_a_fix() {
    let in_good = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        faults(&GOOD.replacen(from, to, 1)).join("\n")
    };
    for (from, to, expected) in [
        ("name: good\n", "", "missing key 'name'"),
        (
            "type: door",
            "type: dor",
            "a.yaml:3:18: bindings.door0.type: unknown binding type 'dor'; did you mean 'door'? Valid: door, fork, gate",
        ),
        (
            "exit: gate0 }",
            "exit: end0 }",
            "exit 'end0' (gate · end) does not accept http streams; valid exits: gate0",
        ),
        (
            ", exit: gate0 }",
            " }",
            "missing key 'exit'; set 'exit' to the binding that accepts the streams",
        ),
        (
            "kind: end,",
            "kind: end, exit: door0,",
            "gate · end has no 'exit'; remove it: gate · end opens no streams",
        ),
        (
            "exit: gate0 }",
            "exit: gate0, routes: [] }",
            "door · server has no 'routes'; use a single 'exit'",
        ),
        (
            "    routes:\n",
            "    exit: end0\n    routes:\n",
            "'exit' and 'routes' are mutually exclusive; remove one of them",
        ),
        (
            "\"${{env.LANE}}\"",
            "1",
            "a.yaml:9:9: bindings.gate0.routes.1: this lane has a route; use another lane",
        ),
        (
            "[{ lane: 1 }]",
            "[{ lane: 1 }, { lane: 3 }]",
            "routes.0.when: too many conditions in one route; the maximum is 1; use one route for each condition",
        ),
        (
            "lane: 1",
            "land: 1",
            "routes.0.when.0.land: unknown key 'land'; did you mean 'lane'?",
        ),
        (
            "env.PORT",
            "env.NOWHERE",
            "environment variable NOWHERE is not set",
        ),
        (
            "env.PORT",
            "user.name",
            "unknown expression 'user.name'; write ${{env.NAME}} for an environment variable",
        ),
        (
            "env.PORT}}",
            "env.PORT",
            "unterminated expression: missing '}}'",
        ),
        (
            "env.PORT",
            "env.HOST",
            "must be an integer from 0 to 65535; the value of ${{env.HOST}} is not",
        ),
        (
            "  end0:",
            "  9end:",
            "invalid binding name '9end'; use letters",
        ),
        (
            "name: good",
            "name: good\nworkers: 0",
            "workers: must be an integer from 1 to 65535, not integer 0",
        ),
        (
            "name: good",
            "name: good\nworker: 2",
            "unknown key 'worker'; did you mean 'workers'?",
        ),
        ("name: good", "name: good\n\tx", "invalid YAML"),
    ] {
        let reported = in_good(from, to);
        assert!(
            reported.contains(expected),
            "{from:?} -> {to:?}: {reported}"
        );
    }
}

#[test]
fn a_fault_of_a_binding_does_not_hide_faults_of_its_options() {
    let text = "name: x
bindings:
  door0:
    type: door
    kind: server
    exitt: gate0
    exit: [gate0]
    options: { lissen: a, maxConnections: many }
  gate0: { type: gate, kind: proxy, exit: end0, options: { port: x }, routes: y }
  end0: { type: gate, kind: end }
";
    let reported = faults(text);
    for expected in [
        "a.yaml:6:5: bindings.door0.exitt: unknown key 'exitt'; did you mean 'exit'?",
        "a.yaml:7:11: bindings.door0.exit: must be a string, not a list",
        "bindings.door0.options.lissen: unknown key 'lissen'; did you mean 'listen'?",
        "bindings.door0.options: missing key 'listen'",
        "bindings.door0.options.maxConnections: must be",
        "bindings.gate0.options.port: must be",
        "bindings.gate0.routes: must be",
        "bindings.gate0.exit: 'exit' and 'routes' are mutually exclusive",
    ] {
        let found = reported
            .iter()
            .filter(|line| line.contains(expected))
            .count();
        assert_eq!(found, 1, "{expected}: {reported:#?}");
    }
    assert_eq!(reported.len(), 8, "{reported:#?}");
}

#[test]
fn several_exits_have_names() {
    let with = |exits: &str| {
        format!(
            "name: x\nbindings:\n  fork0: {{ type: fork, kind: server{exits} }}\n  \
             gate0: {{ type: gate, kind: proxy, exit: end0 }}\n  end0: {{ type: gate, kind: end }}\n"
        )
    };
    let config = loaded(&with(", exits: { in: gate0, out: end0 }")).expect("good");
    let exits: Vec<_> = config.bindings[0].exits.iter().collect();
    assert_eq!(
        exits.iter().map(|exit| exit.name).collect::<Vec<_>>(),
        ["in", "out"]
    );
    assert_eq!(
        exits.iter().map(|exit| exit.binding).collect::<Vec<_>>(),
        [1, 2]
    );
    let entry = registry()
        .find("fork", "server")
        .map(|kind| kind.factory().0);
    assert_eq!(entry, Some("fork"));
    for (exits, expected) in [
        (
            "",
            "missing key 'exits'; set 'exits' to the bindings that accept the streams: in (http streams), out (mcp streams)",
        ),
        (
            ", exit: gate0",
            "fork · server has no 'exit'; use 'exits': in (http streams), out",
        ),
        (
            ", exits: { in: gate0 }",
            "bindings.fork0.exits: missing exit 'out'; required exits:",
        ),
        (
            ", exits: { in: end0, out: end0 }",
            "a.yaml:3:51: bindings.fork0.exits.in: exit 'end0' (gate · end) does not accept http streams; valid exits: gate0",
        ),
        (
            ", exits: { in: gate0, out: end0, outt: end0 }",
            "bindings.fork0.exits.outt: unknown exit 'outt'; did you mean 'out'?",
        ),
        (
            ", exits: { in: gate0, out: end1 }",
            "bindings.fork0.exits.out: unknown binding 'end1'; did you mean 'end0'?",
        ),
    ] {
        let reported = faults(&with(exits)).join("\n");
        assert!(reported.contains(expected), "{exits}: {reported}");
    }
}

#[test]
fn a_missing_key_is_located_at_its_parent() {
    let text = "name: x
bindings:
  door0: { type: door, kind: server, options: { maxConnections: 1 }, exit: gate0 }
  gate0: { type: gate, kind: proxy }
  gate1: { type: gate, kind: proxy, routes: [{ when: [] }, { exit: end0 }] }
  end0: { type: gate, kind: end }
";
    let reported = faults(text);
    for (line, expected) in reported.iter().zip([
        "a.yaml:3:47: bindings.door0.options: missing key 'listen'",
        "a.yaml:4:10: bindings.gate0: missing key 'exit'",
        "a.yaml:5:46: bindings.gate1.routes.0: missing key 'exit'",
    ]) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert_eq!(reported.len(), 3, "{reported:#?}");
}

#[test]
fn an_option_warning_has_the_location_of_the_option() {
    let text = GOOD.replace("options: { port:", "options: { readTimeout: 2, port:");
    assert_eq!(
        warnings(&text),
        ["a.yaml:10:58: bindings.end0.options.readTimeout: 'readTimeout' is 2; use 4"]
    );
}

#[test]
fn options_that_conflict_are_a_fault_at_the_option() {
    let options = r#"port: "${{env.PORT}}", password: "${{env.SECRET}}""#;
    let text = |other: &str| GOOD.replace(options, other);
    assert!(loaded(&text("port: 7, password: secret")).is_ok());
    assert_eq!(
        faults(&text("port: 7")),
        [
            "a.yaml:10:51: bindings.end0.options.port: 'port' is 7, which no password protects; set 'password'"
        ]
    );
}

#[test]
fn a_cycle_of_exits_is_reported_once() {
    let text = "name: x
bindings:
  door0: { type: door, kind: server, options: { listen: a }, exit: one }
  one: { type: gate, kind: proxy, exit: two }
  two: { type: gate, kind: proxy, exit: one }
";
    assert_eq!(
        faults(text),
        [
            "a.yaml:4:3: bindings.one: exits form a cycle; every chain of exits must end at a binding without an exit"
        ]
    );
}

#[test]
fn a_missing_entry_is_a_fault_and_an_unused_binding_a_warning() {
    let text = "name: x\nbindings:\n  end0: { type: gate, kind: end }\n";
    assert!(
        faults(text)[0].contains("no entry binding; add one of: door · server, fork · server"),
        "{:?}",
        faults(text)
    );
    let text = format!("{GOOD}  lost: {{ type: gate, kind: end }}\n");
    assert_eq!(
        warnings(&text),
        [
            "a.yaml:11:9: bindings.lost: binding 'lost' is not used: no exit names it; \
          name it as an exit, or remove it"
        ]
    );
}

#[test]
fn hostile_text_is_an_error() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\n";
    for text in [
        "[".repeat(10_000),
        "? ".repeat(5_000),
        bomb.repeat(2),
        String::new(),
        "5".into(),
    ] {
        assert!(loaded(&text).is_err());
    }
}

#[test]
fn the_schema_contains_every_kind_and_option() {
    let schema = schema(&registry());
    let kinds = schema.pointer("/properties/bindings/additionalProperties/oneOf");
    let kinds = kinds
        .and_then(serde_json::Value::as_array)
        .expect("an array");
    assert_eq!(kinds.len(), 4);
    assert_eq!(
        kinds[0]["required"],
        serde_json::json!(["type", "kind", "exit"])
    );
    assert!(schema.to_string().contains("Where to listen."));
    let routes = &kinds[1]["properties"]["routes"]["items"]["properties"];
    assert_eq!(routes["when"]["maxItems"], 1);
    assert_eq!(routes["when"]["items"]["$ref"], "#/$defs/Lane");
    assert!(schema["$defs"]["Lane"].to_string().contains("lane"));
    assert_eq!(
        kinds[3]["properties"]["exits"]["required"],
        serde_json::json!(["in", "out"])
    );
}

const GUARDED: &str = "name: a
guards: { staff: { type: door, options: &o { listen: x } }, partners: { type: door, options: *o }, of-lane-99: { type: door, options: *o } }
bindings:
  door0: { type: door, kind: server, options: { listen: x }, exit: gate0 }
  gate0:
    type: gate
    kind: proxy
    options: { guarded: { staff: [] } }
    routes:
      - { when: [{ lane: 99 }], guarded: { staff: [operator], partners: [] }, exit: end0 }
  end0: { type: gate, kind: end }
";

#[test]
fn a_route_says_who_may_use_it_and_the_guards_that_are_named_are_known_with_their_paths() {
    let config = loaded(GUARDED).expect("valid");
    let gate = &config.bindings[1];
    let guards: Vec<String> = gate
        .guards
        .iter()
        .map(|reference| format!("{} at {}", reference.guard, reference.path.join(".")))
        .collect();
    assert_eq!(
        guards,
        [
            "staff at options.guarded.staff",
            "partners at routes.0.guarded.partners",
            "staff at routes.0.guarded.staff",
            "of-lane-99 at routes.0.when.0.lane",
        ]
    );
    let guarded = gate.routes[0].guarded.as_ref().expect("guarded");
    assert!(!guarded.permits(None));
}

#[test]
fn a_faulty_guarded_is_reported_at_its_line() {
    let text = GUARDED.replace("{ staff: [operator], partners: [] }", "{}");
    let faults = loaded(&text)
        .expect_err("nobody would be permitted")
        .to_string();
    assert!(
        faults.contains("a.yaml:10:42: bindings.gate0.routes.0.guarded: 'guarded' names no guard"),
        "{faults}"
    );
}

#[test]
fn a_guard_that_is_not_declared_is_reported_where_it_is_named() {
    let text = GUARDED.replace(" partners: { type", " partner: { type");
    let faults = loaded(&text).expect_err("an unknown guard").to_string();
    assert_eq!(
        faults,
        "a.yaml:10:63: bindings.gate0.routes.0.guarded.partners: unknown guard 'partners'; did you mean \
         'partner'? Valid: staff, partner, of-lane-99"
    );
    let (before, after) = GUARDED.split_once("guards:").expect("guards");
    let (_, bindings) = after.split_once('\n').expect("bindings");
    let faults = loaded(&format!("{before}{bindings}")).expect_err("unknown guards");
    let help = "declare it in the section 'guards' at the top level";
    assert_eq!(faults.iter().count(), 4);
    assert!(
        faults
            .iter()
            .all(|fault| fault.help.as_deref() == Some(help))
    );
}
