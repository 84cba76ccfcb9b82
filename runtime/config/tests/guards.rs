//! The section `guards`: its faults with their locations, its schema and its reference.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_config::{Config, Descriptor, Faults, MemberType, Protocol, Registry, example, load};
use tidegate_config::{reference, schema};
use tidegate_options::{OptionWarning, Options};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Password {
    /// The password of everybody.
    #[schemars(extend("examples" = ["sesame"]))]
    password: String,
    /// How often it may be wrong.
    #[serde(default)]
    attempts: u32,
}

impl Options for Password {
    fn warnings(&self) -> Vec<OptionWarning> {
        let short = self.password.len() < 4;
        short
            .then(|| OptionWarning {
                key: "password",
                message: "short".to_owned(),
                help: "use a longer one".to_owned(),
            })
            .into_iter()
            .collect()
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Plain {}

impl Options for Plain {}

fn registry() -> Registry<()> {
    let door = Descriptor::of::<Plain>("door", "server", "A door.").exit(Protocol::Mcp);
    let room = Descriptor::of::<Plain>("room", "proxy", "A room.").accepts(&[Protocol::Mcp]);
    let kinds = vec![door.made_by(()), room.made_by(())];
    let password = MemberType::of::<Password>("password", "Knows a password.");
    Registry::new(kinds).with_guard(password)
}

fn loaded(guards: &str) -> Result<Config, Faults> {
    let text = format!(
        "name: a
{guards}
bindings:
  door0: {{ type: door, kind: server, exit: room0 }}
  room0: {{ type: room, kind: proxy }}
"
    );
    let environment = |name: &str| (name == "SESAME").then(|| "open".to_owned());
    load("folder/a.yaml", &text, &registry(), &environment)
}

#[test]
fn guards_are_read_in_order_with_their_options() {
    let config = loaded(
        "guards:
  staff: { type: password, options: { password: \"${{env.SESAME}}\" } }
  guests: { type: password, options: { password: please, attempts: 3 } }",
    )
    .expect("valid");
    assert_eq!(config.folder, std::path::Path::new("folder"));
    let read = config.guards.iter().map(|guard| {
        let options: Password = guard.options().expect("options");
        (
            guard.name.clone(),
            guard.r#type.clone(),
            options.password,
            options.attempts,
        )
    });
    let read: Vec<_> = read.collect();
    let of = |name: &str, password: &str, attempts| {
        (
            name.to_owned(),
            "password".to_owned(),
            password.to_owned(),
            attempts,
        )
    };
    assert_eq!(read, [of("staff", "open", 0), of("guests", "please", 3)]);
    assert!(loaded("").expect("valid").guards.is_empty());
}

#[test]
fn every_fault_is_reported_at_its_place() {
    let faults = loaded(
        "guards:
  staff: { type: pasword, options: {} }
  9th: { type: password, options: { password: long enough } }
  guests: { type: password, options: { passwort: x } }
  none: { options: {} }
  more: { type: password, kind: server }",
    );
    let faults = faults.expect_err("faults").to_string();
    let lines: Vec<&str> = faults.lines().collect();
    assert_eq!(
        lines,
        [
            "folder/a.yaml:3:18: guards.staff.type: unknown guard type 'pasword'; did you mean 'password'? Valid: password",
            "folder/a.yaml:4:3: guards.9th: invalid guard name '9th'; use letters, digits, '_' and '-', starting with a letter",
            "folder/a.yaml:5:38: guards.guests.options: missing key 'password'",
            "folder/a.yaml:5:40: guards.guests.options.passwort: unknown key 'passwort'; did you mean 'password'? Valid: password, attempts",
            "folder/a.yaml:6:9: guards.none: missing key 'type'",
            "folder/a.yaml:7:9: guards.more.options: missing key 'password'",
            "folder/a.yaml:7:27: guards.more.kind: unknown key 'kind'; valid: type, options",
        ]
    );
}

#[test]
fn a_warning_names_its_option() {
    let config = loaded("guards: { staff: { type: password, options: { password: x } } }");
    let warnings = config.expect("valid").warnings;
    assert_eq!(
        warnings[0].with_help(),
        "folder/a.yaml:2:57: guards.staff.options.password: short; use a longer one"
    );
}

#[test]
fn schema_reference_and_example_have_each_type() {
    let registry = registry();
    let schema = schema(&registry);
    let types = &schema["properties"]["guards"]["additionalProperties"]["oneOf"];
    assert_eq!(types[0]["properties"]["type"]["const"], "password");
    let page = reference(&registry);
    assert!(
        page.contains("### password\n\nKnows a password.\n"),
        "{page}"
    );
    assert!(
        page.contains("| `password` | string | required | The password of everybody. |"),
        "{page}"
    );
    let example = example(&registry);
    assert!(
        example.contains("  password0:\n    type: password\n"),
        "{example}"
    );
    let config = load("example.yaml", &example, &registry, &|_| None).expect("valid");
    assert_eq!(config.guards.len(), 1);
}
