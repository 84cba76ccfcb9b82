//! `tidegate import`: what it prints and writes, and that a gateway starts with it.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, TIDEGATE, free_port};

/// The exit code, standard output and standard error of a command.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut process = Process::start(arguments, Stdio::piped(), Stdio::piped());
    let code = process.ended();
    let output = process.output().rest().join("\n");
    (code, output, process.errors().rest().join("\n"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

#[test]
fn a_gateway_starts_with_an_imported_config() {
    let folder = TempDir::new().expect("a folder");
    let (source, output) = (folder.path().join("c.json"), folder.path().join("c.yaml"));
    let socket = folder.path().join("mcp.sock");
    let config = format!(
        r#"{{
  "mqtt": {{ "port": "{}" }},
  "topics": [ {{ "pattern": "a/+", "permissions": [ "read", "write" ] }} ],
  "remote_server": {{ "api_key": "key-0000", "uds": "{}" }}
}}"#,
        free_port(),
        text(&socket)
    );
    std::fs::write(&source, config).expect("a file");
    let import = [
        "import",
        "mcpmqtt",
        text(&source),
        "--output",
        text(&output),
    ];
    let (code, printed, errors) = run(&import);
    assert_eq!((code, printed.as_str()), (Some(0), ""), "{errors}");
    let warning = r#"warning: "a/+": mcpMQTT also allowed to subscribe to "a/#""#;
    assert!(errors.contains(warning), "{errors}");
    let next = format!("Next: tidegate start --config {}", text(&output));
    assert!(errors.contains(&next), "{errors}");
    // It has a hash, and may have a password.
    let mode = std::fs::metadata(&output).expect("a file").permissions();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode);
    assert_eq!(mode & 0o777, 0o600);
    let (code, _, errors) = run(&import);
    assert_eq!(code, Some(1), "it exists");
    assert!(errors.contains("error: cannot write "), "{errors}");

    let (code, printed, _) = run(&["validate", "--config", text(&output)]);
    assert_eq!(code, Some(0), "{printed}");
    let start = ["start", "--config", text(&output)];
    let mut process = Process::start(&start, Stdio::piped(), Stdio::piped());
    let listening = process.output().with("listening");
    assert!(listening.contains(text(&socket)), "{listening}");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn the_config_is_printed_and_a_missing_file_has_the_defaults() {
    let (code, yaml, errors) = run(&["import", "mcpmqtt", "/nowhere/config.json"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        errors.contains("/nowhere/config.json does not exist"),
        "{errors}"
    );
    for part in ["stdio0", "pattern: \"test/+\"", "host: \"localhost\""] {
        assert!(yaml.contains(part), "{part} in {yaml}");
    }
}

#[test]
fn without_a_path_the_config_is_where_mcpmqtt_looks_for_it() {
    let home = TempDir::new().expect("a folder");
    let folder = home.path().join(".config/mcpmqtt");
    std::fs::create_dir_all(&folder).expect("a folder");
    let config = r#"{
  "mqtt": { "host": "plant.example" },
  "topics": [ { "pattern": "a/b", "permissions": [ "read" ] } ]
}"#;
    std::fs::write(folder.join("config.json"), config).expect("a file");
    let mut command = Command::new(TIDEGATE);
    command.args(["import", "mcpmqtt"]).env("HOME", home.path());
    let mut process = Process::spawn(command, Stdio::piped(), Stdio::piped());
    assert_eq!(process.ended(), Some(0), "{:?}", process.errors().rest());
    let yaml = process.output().rest().join("\n");
    assert!(yaml.contains("host: \"plant.example\""), "{yaml}");
}

#[test]
fn faults_have_a_place() {
    let folder = TempDir::new().expect("a folder");
    let source = folder.path().join("c.json");
    for (config, expected) in [
        (
            "{\n  \"mqtt\": { \"port\": }\n}",
            ":2:21: invalid JSON: expected value",
        ),
        (
            r#"{"mqtt": {"port": 0}}"#,
            ": mqtt.port: must be a port, 1 to 65535",
        ),
    ] {
        std::fs::write(&source, config).expect("a file");
        let (code, printed, errors) = run(&["import", "mcpmqtt", text(&source)]);
        assert_eq!((code, printed.as_str()), (Some(1), ""));
        assert_eq!(errors, format!("error: {}{expected}", text(&source)));
    }
}
