//! An option that stands for values of others: what it sets, and where its faults are.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::io::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_config::{
    Config, Descriptor, Fault, MissingVariables, Preset, Protocol, Registry, expanded, load, schema,
};
use tidegate_options::Options;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Client {
    username: Option<String>,
    interval: u8,
    limits: Limits,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    qos: u8,
    levels: u8,
}

impl Options for Nothing {}
impl Options for Client {}

fn registry() -> Registry<()> {
    Registry::new(vec![
        Descriptor::of::<Nothing>("entry", "server", "").exit(Protocol::Mqtt),
        Descriptor::of::<Client>("mqtt", "client", "")
            .accepts(&[Protocol::Mqtt])
            .preset(Preset {
                key: "profile",
                about: "Whose limits apply.",
                values: &[
                    ("cloud", "{ interval: 60, limits: { qos: 1, levels: 8 } }"),
                    ("wrong", "{ interval: 1000 }"),
                ],
            }),
    ])
}

fn text(options: &str) -> String {
    format!(
        "name: test\nbindings:\n  entry0: {{ type: entry, kind: server, exit: mqtt0 }}\n  mqtt0:\n    type: mqtt\n    \
         kind: client\n    options:\n{options}"
    )
}

fn environment(name: &str) -> Option<String> {
    (name == "PROFILE").then(|| "cloud".to_owned())
}

fn read(options: &str) -> Client {
    let loaded = load("test.yaml", &text(options), &registry(), &environment);
    let config: Config = loaded.unwrap_or_else(|faults| panic!("{faults}"));
    let client = config.bindings.iter().find(|it| it.name == "mqtt0");
    let options = client.expect("the client").options();
    options.expect("valid options")
}

fn faults(options: &str) -> Vec<String> {
    let loaded = load("test.yaml", &text(options), &registry(), &environment);
    let faults = loaded.expect_err("faults");
    faults.iter().map(Fault::with_help).collect()
}

#[test]
fn a_preset_sets_what_the_config_does_not() {
    let limits = |qos, levels| Limits { qos, levels };
    let client = read("      profile: cloud\n");
    assert_eq!((client.interval, client.limits), (60, limits(1, 8)));
    let client = read("      { profile: cloud, interval: 30, limits: { levels: 9 } }\n");
    assert_eq!((client.interval, client.limits), (30, limits(1, 9)));
    let client = read("      profile: \"${{env.PROFILE}}\"\n");
    assert_eq!((client.interval, client.limits), (60, limits(1, 8)));
}

#[test]
fn faults_are_where_the_preset_is_written() {
    for (options, expected) in [
        (
            "      profile: cluod\n",
            "test.yaml:8:16: bindings.mqtt0.options.profile: unknown profile; use cloud, wrong",
        ),
        (
            "      profile: 7\n",
            "test.yaml:8:16: bindings.mqtt0.options.profile: unknown profile; use cloud, wrong",
        ),
    ] {
        assert_eq!(faults(options), [expected], "{options}");
    }
    assert_eq!(
        faults("      username: me\n      profile: wrong\n"),
        [
            "test.yaml:9:16: bindings.mqtt0.options.profile: must be an integer from 0 to 255, not integer 1000"
        ]
    );
}

#[test]
fn a_preset_is_written_out_as_what_it_sets() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let config = text("      { profile: cloud, limits: { levels: 9 } }\n");
    file.write_all(config.as_bytes()).expect("written");
    let missing = MissingVariables::Refused;
    let written = expanded(file.path(), &registry(), &environment, missing).expect("valid");
    let again: serde_yaml::Value = serde_yaml::from_str(&written).expect("YAML");
    let options = &again["bindings"]["mqtt0"]["options"];
    let expected = "{ limits: { levels: 9, qos: 1 }, interval: 60 }";
    let expected: serde_yaml::Value = serde_yaml::from_str(expected).expect("YAML");
    assert_eq!(*options, expected);
}

#[test]
fn the_schema_has_its_names() {
    let schema = schema(&registry()).to_string();
    assert!(
        schema
            .contains(r#""profile":{"description":"Whose limits apply.","enum":["cloud","wrong"]"#),
        "{schema}"
    );
}
