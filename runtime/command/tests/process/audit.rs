//! The audit log of a real gateway: what is recorded, what `audit verify` finds, and a full disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::Client;
use crate::keys;
use crate::process::{Config, Process, free_port};

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("audit-{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }

    /// A config with an audit log in this folder.
    fn config(&self, options: &str) -> Config {
        let path = self.file();
        Config::with_broker(&format!(
            "telemetry:
  exporters:
    audit0: {{ type: audit, options: {{ path: {}, {options} }} }}
",
            path.display()
        ))
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file()).expect("a file");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn started(config: &Config) -> (Process, Client) {
    let arguments = ["start", "--config", config.path()];
    let process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    let client = process.connect();
    process.output().with("connected");
    (process, client)
}

fn stopped(mut process: Process) {
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
}

/// Exit code and output of `tidegate audit verify`.
fn verify(arguments: &[&str]) -> (Option<i32>, String) {
    let (code, lines) = Process::run(&[&["audit", "verify"], arguments].concat());
    (code, lines.join("\n"))
}

#[test]
fn each_call_is_one_line_and_so_is_a_refused_one() {
    let folder = Folder::new("lines");
    let config = folder.config("payload: true, redact: [ $.pin ]");
    let (process, mut client) = started(&config);
    let payload = r#"{"on":true,"pin":1234}"#;
    client.publish_to("a/\u{202e}b", payload);
    client.publish_to("b", "on");
    client.tools();
    stopped(process);
    let lines = folder.lines();
    let events: Vec<&str> = lines
        .iter()
        .map(|line| line["event"].as_str().expect("text"))
        .collect();
    let expected = [
        "audit.opened",
        "gateway.started",
        "call",
        "call",
        "call",
        "audit.sealed",
    ];
    assert_eq!(events, expected);
    let select = |line: &Value, names: &[&str]| -> Value {
        names.iter().map(|name| line[*name].clone()).collect()
    };
    let names = [
        "method",
        "tool",
        "topic",
        "client",
        "clientVersion",
        "era",
        "answer",
        "outcome",
    ];
    assert_eq!(
        select(&lines[2], &names),
        json!([
            "tools/call",
            "publish",
            "a/\u{202e}b",
            "process",
            "7",
            "modern",
            "ok",
            "done"
        ])
    );
    assert_eq!(lines[2]["payload"]["bytes"], payload.len());
    assert_eq!(
        lines[2]["payload"]["text"],
        r#"{"on":true,"pin":"[redacted]"}"#
    );
    let address = lines[2]["address"].as_str().expect("an address");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert!(
        lines[2]["durationMicros"]
            .as_u64()
            .is_some_and(|micros| micros > 0)
    );
    let names = ["topic", "decision", "rule", "answer", "outcome", "payload"];
    assert_eq!(
        select(&lines[3], &names),
        json!(["b", "refused", "publish", "tool_error", "not_sent", null])
    );
    assert_eq!(
        select(&lines[4], &["method", "outcome"]),
        json!(["tools/list", "done"])
    );
    let text = fs::read_to_string(folder.file()).expect("a file");
    assert!(text.contains(r"a/\u202eb") && !text.contains('\u{202e}'));
}

/// `stdio · server` with the embedded broker, whose client has a key of the guard `staff`. Operators may
/// use the toolkit `plant`, and nobody but admins `vault`.
fn guarded(folder: &Folder) -> Config {
    let broker = free_port();
    Config::new(&format!(
        "name: audit
workers: 1
bindings:
  stdio0:
    type: stdio
    kind: server
    options: {{ authorization: {{ staff: {{ credentials: \"${{{{env.TIDEGATE_KEY}}}}\" }} }} }}
    exit: mcp_server0
  mcp_server0: {{ type: mcp, kind: server, exit: mcp_proxy0 }}
  mcp_proxy0:
    type: mcp
    kind: proxy
    routes:
      - when: [ {{ toolkit: plant }} ]
        guarded: {{ staff: [ operator ] }}
        exit: mcp_mqtt0
      - when: [ {{ toolkit: vault }} ]
        guarded: {{ staff: [ admin ] }}
        exit: mcp_mqtt0
  mcp_mqtt0:
    type: mcp_mqtt
    kind: proxy
    options:
      subscribe: []
      publish:
        - {{ pattern: a/#, guarded: {{ staff: [ operator ] }} }}
        - {{ pattern: b/#, guarded: {{ staff: [ admin ] }} }}
    exit: mqtt_client0
  mqtt_client0: {{ type: mqtt, kind: client, exit: tcp_client0 }}
  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {broker} }} }}
  broker0: {{ type: mqtt, kind: broker, options: {{ listen: 127.0.0.1:{broker} }} }}
telemetry:
  exporters:
    audit0: {{ type: audit, options: {{ path: {} }} }}
guards:
  staff:
    type: apikey
    options: {{ keys: [] }}
",
        folder.file().display()
    ))
}

#[test]
fn the_line_of_a_call_has_who_made_it_and_what_was_decided_by_which_rules() {
    let folder = Folder::new("decisions");
    let config = guarded(&folder);
    let key = keys::genkey(&config, &["--roles", "operator"]);
    let mut process = keys::start(&config, &key);
    let done = keys::publish(&mut process, "plant__publish", "a/b");
    assert_eq!(done["result"]["isError"], Value::Null, "{done}");
    let refused = keys::publish(&mut process, "plant__publish", "b/c");
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    let unknown = keys::publish(&mut process, "vault__publish", "a/b");
    assert_eq!(unknown["error"]["code"], -32_602, "{unknown}");
    drop(process.input.take());
    assert_eq!(process.ended(), Some(0));
    let lines = folder.lines();
    let calls = lines.iter().filter(|line| line["event"] == "call");
    let members = [
        "tool", "toolkit", "topic", "decision", "rule", "answer", "outcome",
    ];
    let said = calls.map(|line| {
        let identity = json!({ "subject": "alice", "guard": "staff", "roles": ["operator"] });
        assert_eq!(line["identity"], identity, "{line}");
        members.iter().map(|name| line[*name].clone()).collect()
    });
    let said: Vec<Value> = said.collect();
    let allowed = "routes.0, publish.0";
    assert_eq!(
        said,
        [
            json!([
                "plant__publish",
                "plant",
                "a/b",
                "allowed",
                allowed,
                "ok",
                "done"
            ]),
            json!([
                "plant__publish",
                "plant",
                "b/c",
                "refused",
                "routes.0, publish",
                "tool_error",
                "not_sent"
            ]),
            json!([
                "vault__publish",
                null,
                null,
                "refused",
                "routes.1",
                "error",
                "error"
            ]),
        ]
    );
}

#[test]
fn verify_finds_each_kind_of_tampering() {
    let folder = Folder::new("tampering");
    let config = folder.config("maxFileSize: 4096");
    let (process, mut client) = started(&config);
    for _ in 0..16 {
        client.publish();
    }
    stopped(process);
    // The chain continues after a restart.
    let (process, mut client) = started(&config);
    client.publish();
    stopped(process);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder.0)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    let names: Vec<&str> = files
        .iter()
        .map(|file| file.to_str().expect("text"))
        .collect();
    let (code, output) = verify(&[&["--sealed"], &names[..]].concat());
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.starts_with("intact: ") && output.contains("\nsealed\n"),
        "{output}"
    );
    let (_, head) = output.split_once("head: ").expect("the head");

    let first = &files[0];
    let text = fs::read_to_string(first).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let removed = [&lines[..2], &lines[3..]].concat();
    let doubled = [&lines[..3], &lines[2..]].concat();
    for (tampered, finding) in [
        (text.replacen("a/b", "a/c", 1), "the line was changed"),
        (
            joined(&removed),
            ":3: 1 lines are missing before line number 4",
        ),
        (joined(&swapped), ":4: line number 3 is in the wrong place"),
        (joined(&doubled), ":4: line number 3 occurs twice"),
        (joined(&lines[..lines.len() - 1]), "the file is not sealed"),
        (
            text[..text.len() - 9].to_owned(),
            "the file ends within a line",
        ),
    ] {
        fs::write(first, tampered).expect("written");
        let (code, output) = verify(&names);
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(finding), "{finding}: {output}");
        assert!(output.contains("NOT INTACT"), "{output}");
    }
    fs::write(first, &text).expect("written");
    assert_eq!(verify(&names).0, Some(0));

    // A file without a line.
    let empty = folder.0.join("empty.jsonl");
    fs::write(&empty, "").expect("written");
    let (code, output) = verify(&[empty.to_str().expect("text")]);
    assert_eq!((code, &*output), (Some(1), "NOT INTACT: no lines"));
    fs::remove_file(empty).expect("removed");

    // The end of the last file is missing.
    let last = fs::read_to_string(folder.file()).expect("text");
    let lines: Vec<&str> = last.lines().collect();
    fs::write(folder.file(), joined(&lines[..lines.len() - 1])).expect("written");
    let (code, output) = verify(&names);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("\nnot sealed: "), "{output}");
    assert_eq!(verify(&[&["--sealed"], &names[..]].concat()).0, Some(1));
    let (code, output) = verify(&[&["--head", head], &names[..]].concat());
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("no line has the hash"), "{output}");
}

#[test]
fn on_a_full_disk_calls_go_on_and_the_gap_is_recorded() {
    let folder = Folder::new("drop");
    symlink("/dev/full", folder.file()).expect("a link");
    let config = folder.config("sync: always");
    let (process, mut client) = started(&config);
    process.errors().with("the audit log cannot be written");
    assert!(client.publish_to("a/b", "on")["result"]["isError"].is_null());
    fs::remove_file(folder.file()).expect("removed");
    process
        .errors()
        .with("a line of the audit log says how many");
    client.publish();
    stopped(process);
    let lines = folder.lines();
    let events: Vec<&str> = lines
        .iter()
        .map(|line| line["event"].as_str().expect("text"))
        .collect();
    assert_eq!(
        events,
        ["audit.opened", "audit.gap", "call", "audit.sealed"]
    );
    assert_eq!(lines[1]["lost"], 3, "opened, started, and a call");
    assert_eq!(
        verify(&["--sealed", folder.file().to_str().expect("text")]).0,
        Some(0)
    );
}

#[test]
fn on_a_full_disk_calls_are_refused_if_the_config_says_so() {
    let folder = Folder::new("refuse");
    symlink("/dev/full", folder.file()).expect("a link");
    let config = folder.config("onFailure: refuse");
    let (process, mut client) = started(&config);
    process.errors().with("new calls are refused");
    let answer = client.publish_to("a/b", "on");
    assert_eq!(
        answer["error"]["message"],
        "The gateway cannot record calls now (audit log); retry later."
    );
    fs::remove_file(folder.file()).expect("removed");
    process.errors().with("the audit log is written again");
    assert!(client.publish_to("a/b", "on")["error"].is_null());
    stopped(process);
    let lines = folder.lines();
    let tools: Vec<&Value> = lines.iter().map(|line| &line["event"]).collect();
    // What was refused meanwhile is on record as well.
    assert!(
        tools.contains(&&json!("binding.mcp.request.refused")),
        "{tools:?}"
    );
    assert!(tools.contains(&&json!("gateway.started")), "{tools:?}");
    assert_eq!(
        verify(&["--sealed", folder.file().to_str().expect("text")]).0,
        Some(0)
    );
}

#[test]
fn a_file_that_cannot_be_opened_stops_the_start() {
    let folder = Folder::new("missing");
    let config = Config::with_broker(&format!(
        "telemetry: {{ exporters: {{ audit0: {{ type: audit, options: {{ path: {} }} }} }} }}\n",
        folder.0.join("none/audit.jsonl").display()
    ));
    let arguments = ["start", "--config", config.path()];
    let mut process = Process::start(&arguments, Stdio::piped(), Stdio::piped());
    assert_eq!(process.ended(), Some(1));
    let errors = process.errors().rest().join("\n");
    assert!(
        errors.contains("audit exporter 'audit0': cannot write "),
        "{errors}"
    );
}
