//! Each fault of a config, with the exact place and sentence; several at once.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use tidegate_config::{Config, Descriptor, Faults, Onward, Protocol, Registry, load, schema};

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
}

fn even<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number % 2 == 0 {
        Ok(number)
    } else {
        Err(serde::de::Error::custom("must be even"))
    }
}

fn registry() -> Registry {
    Registry::new(vec![
        Descriptor::of::<Door>("door", "server", "A door.").produces(Protocol::Http, Onward::Exit),
        Descriptor::of::<Gate>("gate", "proxy", "A gate.")
            .accepts(&[Protocol::Http, Protocol::Mcp])
            .produces(Protocol::Mcp, Onward::ExitOrRoutes),
        Descriptor::of::<Gate>("gate", "end", "The end.").accepts(&[Protocol::Mcp]),
    ])
}

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("1883".to_owned()),
        "SECRET" => Some("0123".to_owned()),
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

const GOOD: &str = "name: good
bindings:
  door0: { type: door, kind: server, options: { listen: a }, exit: gate0 }
  gate0:
    type: gate
    kind: proxy
    routes:
      - { when: [{ toolkit: plant }], exit: end0 }
      - { when: [{ toolkit: depot-2 }], exit: end0 }
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
        config.bindings[1].routes[1].toolkit.as_deref(),
        Some("depot-2")
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
fn all_faults_are_told_at_once_in_the_order_of_the_text() {
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
      - { when: [{ toolkit: Plant }], exit: end0 }
  end0: { type: gate, kind: ende }
";
    assert_eq!(
        faults(text),
        [
            "a.yaml:1:7: name: must be a string, not a list",
            "a.yaml:7:7: bindings.door0.options.lisen: there is no key 'lisen' here; \
             did you mean 'listen'? Known are: listen, maxConnections",
            "a.yaml:7:7: bindings.door0.options: the key 'listen' is missing",
            "a.yaml:8:23: bindings.door0.options.maxConnections: must be a whole number from 0 to 65535, not string \"many\"",
            "a.yaml:9:11: bindings.door0.exit: there is no binding 'gate9'; \
             did you mean 'gate0'? Known are: door0, gate0, end0",
            "a.yaml:13:29: bindings.gate0.options.readTimeout: must be even",
            "a.yaml:13:46: bindings.gate0.options.patterns.1: must be a string, not integer 5",
            "a.yaml:13:56: bindings.gate0.options.port: must be a whole number from 0 to 65535, not integer 70000",
            "a.yaml:15:29: bindings.gate0.routes.0.when.0.toolkit: 'Plant' is no name of a toolkit; \
             it is a-z, 0-9 and '-', a letter first: plant-1",
            "a.yaml:16:29: bindings.end0.kind: there is no kind 'ende' of bindings; \
             did you mean 'end'? Known are: proxy, end",
        ]
    );
}

#[test]
fn each_fault_has_its_sentence() {
    let in_good = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        faults(&GOOD.replacen(from, to, 1)).join("\n")
    };
    for (from, to, expected) in [
        ("name: good\n", "", "the key 'name' is missing"),
        (
            "type: door",
            "type: dor",
            "a.yaml:3:18: bindings.door0.type: there is no type 'dor' of bindings; did you mean 'door'?",
        ),
        (
            "exit: gate0 }",
            "exit: end0 }",
            "'end0' is gate · end and takes no http streams, which door · server opens; it can be: gate0",
        ),
        (
            ", exit: gate0 }",
            " }",
            "the key 'exit' is missing: it names the binding that takes the streams",
        ),
        (
            "kind: end,",
            "kind: end, exit: door0,",
            "this binding opens no streams, so it has no exit",
        ),
        (
            "exit: gate0 }",
            "exit: gate0, routes: [] }",
            "this binding has a single exit and no routes",
        ),
        (
            "    routes:\n",
            "    exit: end0\n    routes:\n",
            "give either 'exit' or 'routes', not both",
        ),
        (
            "depot-2",
            "plant",
            "the toolkit 'plant' has a route already",
        ),
        (
            "when: [{ toolkit: depot-2 }], ",
            "",
            "this route takes everything, so it must be the only one",
        ),
        (
            "env.PORT",
            "env.NOWHERE",
            "the environment variable NOWHERE is not set",
        ),
        ("env.PORT", "user.name", "an expression is ${{env.NAME}}"),
        ("env.PORT}}", "env.PORT", "must end with }}"),
        (
            "env.PORT",
            "env.HOST",
            "must be a whole number from 0 to 65535, not string \"example\"",
        ),
        ("  end0:", "  9end:", "a binding's name is letters"),
        (
            "name: good",
            "name: good\nworkers: 0",
            "workers: must be a whole number from 1 to 65535, not integer 0",
        ),
        (
            "name: good",
            "name: good\nworker: 2",
            "there is no key 'worker' here; did you mean 'workers'?",
        ),
        ("name: good", "name: good\n\tx", "this is no YAML"),
    ] {
        let told = in_good(from, to);
        assert!(told.contains(expected), "{from:?} -> {to:?}: {told}");
    }
}

#[test]
fn exits_in_a_circle_are_told_once() {
    let text = "name: x
bindings:
  door0: { type: door, kind: server, options: { listen: a }, exit: one }
  one: { type: gate, kind: proxy, exit: two }
  two: { type: gate, kind: proxy, exit: one }
";
    assert_eq!(
        faults(text),
        ["a.yaml:4:3: bindings.one: the exits lead in a circle back to this binding"]
    );
}

#[test]
fn a_config_into_which_nothing_enters_is_a_fault_and_an_unreached_binding_a_warning() {
    let text = "name: x\nbindings:\n  end0: { type: gate, kind: end }\n";
    assert!(
        faults(text)[0].contains("nothing enters here"),
        "{:?}",
        faults(text)
    );
    let text = format!("{GOOD}  lost: {{ type: gate, kind: end }}\n");
    let warnings = loaded(&text).expect("no fault").warnings;
    assert_eq!(
        warnings,
        ["no binding has 'lost' as its exit; it does nothing"]
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
fn the_schema_knows_every_kind_and_option() {
    let schema = schema(&registry());
    let kinds = schema.pointer("/properties/bindings/additionalProperties/oneOf");
    let kinds = kinds
        .and_then(serde_json::Value::as_array)
        .expect("an array");
    assert_eq!(kinds.len(), 3);
    assert_eq!(
        kinds[0]["required"],
        serde_json::json!(["type", "kind", "exit"])
    );
    assert!(schema.to_string().contains("Where to listen."));
}
