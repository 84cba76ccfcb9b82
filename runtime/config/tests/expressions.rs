//! Expressions: values from environment variables and files.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_config::{
    Descriptor, Fault, LoadError, MissingVariables, Protocol, Registry, load, read, validate,
};

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    port: u16,
    password: Option<String>,
    servers: Vec<String>,
}

impl tidegate_options::Options for Options {}

fn registry() -> Registry<()> {
    Registry::new(vec![
        Descriptor::of::<Options>("entry", "server", "").exit(Protocol::Bytes),
        Descriptor::of::<Options>("end", "client", "").accepts(&[Protocol::Bytes]),
    ])
}

fn config(options: &str) -> String {
    format!(
        "name: x
bindings:
  entry0: {{ type: entry, kind: server, exit: end0 }}
  end0: {{ type: end, kind: client, options: {{ {options} }} }}
"
    )
}

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("1883".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn faults(text: &str) -> String {
    let loaded = load("a.yaml", text, &registry(), &environment);
    loaded.expect_err("a faulty config").to_string()
}

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("config-{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(path.join("secrets")).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_is_read_relative_to_the_config_without_its_trailing_newline() {
    let folder = Folder::new("secrets");
    for (content, expected) in [
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        ("s3cret", "s3cret"),
        ("two\nlines\n\n", "two\nlines\n"),
        ("", ""),
    ] {
        folder.write("secrets/password", content);
        let text = config(r#"password: "${{file.secrets/password}}""#);
        let file = folder.write("a.yaml", text);
        let config = read(&file, &registry(), &environment).expect("valid");
        let options: Options = config.bindings[1].options().expect("checked");
        assert_eq!(options.password.as_deref(), Some(expected), "{content:?}");
    }
}

#[test]
fn a_file_is_read_by_its_absolute_path_and_may_hold_a_number() {
    let folder = Folder::new("absolute");
    let port = folder.write("port", "8883\n");
    let text = config(&format!(r#"port: "${{{{file.{}}}}}""#, port.display()));
    let config = load("elsewhere.yaml", &text, &registry(), &environment).expect("valid");
    let options: Options = config.bindings[1].options().expect("checked");
    assert_eq!(options.port, 8883);
}

#[test]
fn an_unusable_file_is_reported_with_its_path_and_the_reason() {
    let folder = Folder::new("unusable");
    folder.write("large", vec![b'a'; 64 * 1024 + 1]);
    folder.write("binary", [0xff, 0xfe]);
    for (path, why) in [
        ("missing", "No such file"),
        ("secrets", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("large", "larger than 65536 bytes"),
        ("binary", "not valid UTF-8"),
    ] {
        let text = config(&format!(r#"password: "${{{{file.{path}}}}}""#));
        let file = folder.write("a.yaml", text);
        let error = read(&file, &registry(), &environment).expect_err(path);
        let reported = error.to_string();
        let full = folder.0.join(path).display().to_string();
        assert!(
            reported.contains(&format!("cannot read file '{full}': {why}")),
            "{reported}"
        );
        assert!(
            reported.contains("a.yaml:4:57: bindings.end0.options.password"),
            "{reported}"
        );
        assert!(
            reported.contains("relative to the config's folder"),
            "{reported}"
        );
    }
}

#[test]
fn the_value_of_an_expression_never_appears_in_a_message() {
    let reported = faults(&config(
        r#"port: "${{env.SECRET}}", servers: "${{env.SECRET}}""#,
    ));
    assert!(!reported.contains("hunter2"), "{reported}");
    for expected in [
        "port: must be an integer from 0 to 65535; the value of ${{env.SECRET}} is not",
        "servers: must be a list; the value of ${{env.SECRET}} is not",
    ] {
        assert!(reported.contains(expected), "{reported}");
    }
}

#[test]
fn an_unquoted_expression_within_braces_is_reported() {
    let block = |lines: &str| config("").replace("options: {  }", lines);
    for (text, expression) in [
        (config("port: ${{env.PORT}}"), "${{env.PORT}}"),
        (
            config("port: ${{ env.PORT }}, servers: []"),
            "${{ env.PORT }}",
        ),
        (config("servers: [ ${{env.SECRET}} ]"), "${{env.SECRET}}"),
        (
            block("options: { port:\n    ${{env.PORT}} }"),
            "${{env.PORT}}",
        ),
        (
            config(r#"password: "${{env.SECRET}}", port: ${{env.PORT}}"#),
            "${{env.PORT}}",
        ),
    ] {
        let reported = faults(&text);
        let help = format!("; quote the expression: \"{expression}\"");
        assert!(
            reported.contains("invalid YAML") && reported.ends_with(&help),
            "{text}\n{reported}"
        );
    }
    // Other faults of the syntax have no such hint.
    let reported = faults(&config(r#"password: "${{env.SECRET}}", port: 1]"#));
    assert!(!reported.contains("quote"), "{reported}");
}

#[test]
fn a_value_with_a_missing_variable_is_not_checked() {
    let folder = Folder::new("missing");
    let text = config(r#"port: "${{env.A}}", password: "${{env.B}}", servers: 3"#);
    let text = text.replace("name: x", "name: \"${{env.C}}\"\nworkers: \"${{env.D}}\"");
    let text = text.replace("exit: end0", "exit: \"${{env.E}}\"");
    let file = folder.write("a.yaml", &text);
    let validated = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        validate(&file, &registry(), &environment, MissingVariables::Allowed)
    };
    let Err(LoadError::Faults(faults)) = validated(&text) else {
        panic!("what is known is checked");
    };
    let reported = faults.to_string();
    assert!(
        reported.contains("servers: must be a list, not integer 3"),
        "{reported}"
    );
    assert_eq!(faults.iter().count(), 1, "{reported}");

    let valid = validated(&text.replace("servers: 3", "servers: []")).expect("no fault is left");
    assert_eq!(valid.bindings, 2);
    let warnings: Vec<String> = valid.warnings.iter().map(Fault::with_help).collect();
    let unset = |name: &str| {
        let reported = format!("environment variable {name} is not set; set it before the gateway");
        warnings
            .iter()
            .filter(|warning| warning.contains(&reported))
            .count()
    };
    assert_eq!(
        ["A", "B", "C", "D", "E"].map(unset),
        [1; 5],
        "{warnings:#?}"
    );
    assert_eq!(warnings.len(), 5, "{warnings:#?}");
}
