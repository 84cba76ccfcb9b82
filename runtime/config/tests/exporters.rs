//! The section `telemetry.exporters`: what is read, and each fault with its place.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_config::{
    Config, Descriptor, Fault, Faults, MemberType, Protocol, Registry, example, load, reference,
    schema,
};
use tidegate_options::{OptionWarning, Options};

#[derive(Debug, Deserialize, JsonSchema)]
struct Nothing {}

impl Options for Nothing {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tape {
    /// Where it is.
    #[schemars(example = &"/tape")]
    path: String,
    /// How fast it runs.
    #[serde(default)]
    speed: u8,
}

impl Options for Tape {
    fn warnings(&self) -> Vec<OptionWarning> {
        let warning = OptionWarning {
            key: "speed",
            message: "'speed' is 1".to_owned(),
            help: "use 2".to_owned(),
        };
        std::iter::repeat_n(warning, usize::from(self.speed == 1)).collect()
    }
}

fn registry() -> Registry<()> {
    let door = Descriptor::of::<Nothing>("door", "server", "A door.").exit(Protocol::Http);
    let end = Descriptor::of::<Nothing>("gate", "end", "The end.").accepts(&[Protocol::Http]);
    Registry::new(vec![door, end]).with_exporter(MemberType::of::<Tape>("tape", "Records."))
}

fn loaded(telemetry: &str) -> Result<Config, Faults> {
    let bindings = "  door0: { type: door, kind: server, exit: end0 }\n  \
                    end0: { type: gate, kind: end }\n";
    let config = format!("name: test\nbindings:\n{bindings}{telemetry}");
    load("test.yaml", &config, &registry(), &|name| {
        (name == "TAPE").then(|| "/from/env".to_owned())
    })
}

#[test]
fn exporters_are_read_by_their_type() {
    let config = loaded(
        "telemetry:
  exporters:
    tape0: { type: tape, options: { path: \"${{env.TAPE}}\", speed: 1 } }
",
    );
    let config = config.expect("valid");
    let [exporter] = &config.exporters[..] else {
        panic!("one exporter: {config:?}");
    };
    let named = (exporter.name.as_str(), exporter.r#type.as_str());
    assert_eq!(named, ("tape0", "tape"));
    let tape: Tape = exporter.options().expect("a tape");
    assert_eq!((tape.path.as_str(), tape.speed), ("/from/env", 1));
    let warnings: Vec<String> = config.warnings.iter().map(Fault::with_help).collect();
    assert!(warnings.concat().contains("'speed' is 1"), "{warnings:?}");
    assert!(
        !config.text.contains("/from/env"),
        "expressions stay in the text"
    );
}

#[test]
fn a_config_needs_no_exporters() {
    for none in ["", "telemetry: {}\n", "telemetry: { exporters: {} }\n"] {
        assert!(loaded(none).expect("valid").exporters.is_empty(), "{none}");
    }
}

#[test]
fn all_faults_are_reported_with_their_place() {
    let faults = loaded(
        "telemetry:
  exporter: {}
  exporters:
    1a: { type: tape, options: { path: /a } }
    tape1: { type: tap }
    tape2: { type: tape, options: { pathe: /a } }
    tape3: { typ: tape }
",
    );
    let faults = faults.expect_err("faults").to_string();
    for expected in [
        "test.yaml:6:3: telemetry.exporter: unknown key 'exporter'",
        "test.yaml:8:5: telemetry.exporters.1a: invalid exporter name '1a'",
        "test.yaml:9:20: telemetry.exporters.tape1.type: unknown exporter type 'tap'",
        "test.yaml:10:37: telemetry.exporters.tape2.options.pathe: unknown key 'pathe'",
        "test.yaml:11:14: telemetry.exporters.tape3.typ: unknown key 'typ'",
    ] {
        assert!(faults.contains(expected), "{expected}:\n{faults}");
    }
}

#[test]
fn schema_reference_and_example_have_the_type() {
    let registry = registry();
    let types = "/properties/telemetry/properties/exporters/additionalProperties/oneOf/0/title";
    assert_eq!(schema(&registry).pointer(types), Some(&"tape".into()));
    let page = reference(&registry);
    assert!(page.contains("### tape\n\nRecords.\n"), "{page}");
    assert!(
        page.contains("| `path` | string | required | Where it is. |"),
        "{page}"
    );
    let example = example(&registry);
    let config = load("example.yaml", &example, &registry, &|_| None);
    assert_eq!(config.expect("valid").exporters.len(), 1, "{example}");
}
