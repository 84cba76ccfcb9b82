//! An option that stands for a binding at an exit of its own: what it becomes, and where its faults are.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_config::{
    Attachment, Config, Descriptor, Fault, Faults, Protocol, Registry, load, schema,
};
use tidegate_options::{Bounded, Options, OwnFile};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Worker {
    speed: Option<u8>,
}

#[derive(Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    path: String,
    #[serde(default)]
    size: Option<Bounded<10, 20>>,
}

impl Options for Worker {}
impl Options for File {
    fn own_files(&self) -> Vec<OwnFile> {
        vec![OwnFile {
            key: "path",
            path: self.path.clone().into(),
        }]
    }
}

fn registry() -> Registry<()> {
    Registry::new(vec![
        Descriptor::of::<Worker>("worker", "proxy", "")
            .exits(&[("mqtt", Protocol::Mqtt)])
            .attachment(Attachment {
                key: "queue",
                about: "Where it keeps things.",
                example: ("path", "/var/lib/tidegate/attached"),
                r#type: "store",
                kind: "file",
                protocol: Protocol::Store,
            }),
        Descriptor::of::<Worker>("mqtt", "client", "").accepts(&[Protocol::Mqtt]),
        Descriptor::of::<File>("store", "file", "").accepts(&[Protocol::Store]),
    ])
}

fn read(worker: &str, more: &str) -> Result<Config, Faults> {
    let text = format!(
        "name: test\nbindings:\n  worker0:\n    type: worker\n    kind: proxy\n{worker}\n  mqtt0: {{ type: mqtt, kind: client }}\n{more}"
    );
    load("test.yaml", &text, &registry(), &|name| {
        (name == "FOLDER").then(|| "/var".to_owned())
    })
}

fn faults(worker: &str, more: &str) -> Vec<(String, Option<(usize, usize)>)> {
    let faults = read(worker, more).expect_err("refused");
    let place = |fault: &Fault| (fault.message.clone(), Some((fault.line, fault.column)));
    faults.iter().map(place).collect()
}

#[test]
fn it_becomes_a_binding_at_an_exit() {
    let worker = "    options: { queue: { path: \"${{env.FOLDER}}/x\", size: 12 } }\n    exits: { mqtt: mqtt0 }";
    let config = read(worker, "").expect("valid");
    let names: Vec<&str> = config.bindings.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["worker0", "worker0_queue", "mqtt0"]);
    let made = &config.bindings[1];
    assert_eq!(
        (made.r#type.as_str(), made.kind.as_str()),
        ("store", "file")
    );
    let options: File = made.options().expect("valid");
    assert_eq!(options.path, "/var/x");
    let exits: Vec<(&str, usize)> = config.bindings[0]
        .exits
        .iter()
        .map(|exit| (exit.name, exit.binding))
        .collect();
    assert_eq!(exits, [("mqtt", 2), ("queue", 1)]);
}

#[test]
fn it_need_not_be_there_and_can_be_written_out() {
    let config = read("    exits: { mqtt: mqtt0 }", "").expect("valid");
    assert_eq!(config.bindings.len(), 2);
    let store = "  store0: { type: store, kind: file, options: { path: x } }\n";
    let config = read("    exits: { mqtt: mqtt0, queue: store0 }", store).expect("valid");
    assert_eq!(config.bindings[0].exits.len(), 2);
}

#[test]
fn its_faults_are_where_it_is_written() {
    let worker = "    options: { queue: { path: x, size: 5 } }\n    exits: { mqtt: mqtt0 }";
    let found = faults(worker, "");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].1.map(|(line, _)| line), Some(6), "{found:?}");
    let worker = "    options: { queue: { paht: x } }\n    exits: { mqtt: mqtt0 }";
    assert!(!faults(worker, "").is_empty());
    let taken = "  worker0_queue: { type: mqtt, kind: client }\n";
    let worker = "    options: { queue: { path: x } }\n    exits: { mqtt: mqtt0 }";
    let found = faults(worker, taken);
    let why = "the name 'worker0_queue' is that of a binding that 'queue' of 'worker0' stands for";
    assert!(found.iter().any(|(message, _)| message == why), "{found:?}");
    let both = "    options: { queue: { path: x } }\n    exits: { mqtt: mqtt0, queue: mqtt0 }";
    let why = "exit 'queue' and option 'queue' are mutually exclusive";
    let found = faults(both, "");
    assert!(found.iter().any(|(message, _)| message == why), "{found:?}");
}

#[test]
fn two_bindings_have_no_file_in_common() {
    let worker = |path: &str| {
        format!("    options: {{ queue: {{ path: {path} }} }}\n    exits: {{ mqtt: mqtt0 }}")
    };
    let other = |path: &str| {
        format!(
            "  worker1: {{ type: worker, kind: proxy, options: {{ queue: {{ path: {path} }} }}, exits: {{ mqtt: mqtt0 }} }}\n"
        )
    };
    for same in ["/var/x", "/var//x", "/var/./x", "\"${{env.FOLDER}}/x\""] {
        let found = faults(&worker("/var/x"), &other(same));
        assert_eq!(found.len(), 1, "{found:?}");
        let why = "is also the file of bindings.worker0.options.queue.path";
        assert!(found[0].0.ends_with(why), "{found:?}");
        assert_eq!(found[0].1.map(|(line, _)| line), Some(9), "{found:?}");
    }
    for another in ["/var/y", "x", "/var/x/x"] {
        assert!(
            read(&worker("/var/x"), &other(another)).is_ok(),
            "{another}"
        );
    }
}

#[test]
fn two_bindings_have_no_attached_binding_in_common() {
    let worker = "    exits: { mqtt: mqtt0, queue: store0 }";
    let more = |exit: &str| {
        format!(
            "  worker1: {{ type: worker, kind: proxy, exits: {{ mqtt: mqtt0, queue: {exit} }} }}\n  store0: {{ type: store, kind: file, options: {{ path: x }} }}\n"
        )
    };
    let found = faults(worker, &more("store0"));
    let why = "'store0' is also the exit 'queue' of 'worker0'".to_owned();
    assert_eq!(found, [(why, Some((8, 70)))]);
    let store = "  store1: { type: store, kind: file, options: { path: y } }\n";
    assert!(read(worker, &(more("store1") + store)).is_ok());
}

#[test]
fn the_schema_has_it() {
    let schema = schema(&registry());
    let kinds = &schema["properties"]["bindings"]["additionalProperties"]["oneOf"];
    let exits = &kinds[0]["properties"]["exits"];
    assert_eq!(exits["required"], serde_json::json!(["mqtt"]));
    assert!(exits["properties"]["queue"].is_object());
    let worker = &schema["$defs"]["Worker"]["properties"]["queue"];
    assert_eq!(worker["description"], "Where it keeps things.");
}
