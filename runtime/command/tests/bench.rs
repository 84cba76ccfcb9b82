//! `tidegate bench` from end to end: it starts a broker, a gateway, the floor, and the same gateway
//! once more on standard input, drives them all, and writes what it found.

#![cfg(feature = "bench")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The gateway on standard input, as a targets file starts it.
const TARGETS: &str = r#"
targets:
  - name: stdio
    stdio: ["TIDEGATE", "start", "--config", "{{directory}}/stdio.yaml", "--log-level", "error"]
    files:
      stdio.yaml: |
        name: stdio
        workers: 1
        bindings:
          stdio0: { type: stdio, kind: server, exit: mcp_server0 }
          mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }
          mcp_mqtt0: { type: mcp_mqtt, kind: proxy, options: { publish: [ "bench/#" ] }, exit: mqtt_client0 }
          mqtt_client0: { type: mqtt, kind: client, exit: tcp_client0 }
          tcp_client0: { type: tcp, kind: client, options: { host: "{{host}}", port: {{brokerPort}} } }
    version: VERSION
    tool: publish
    arguments: { topic: "{{topic}}", payload: "{{payload}}", qos: "{{qos}}" }
    rounds: 1
  - name: absent
    start: [ "/nowhere/server" ]
    url: http://127.0.0.1:{{port}}/mcp
    concurrency: [ 4 ]
"#;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn results(&self) -> Value {
        let text = std::fs::read(self.0.join("out/results.json")).expect("results.json");
        serde_json::from_slice(&text).expect("JSON")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

fn bench(arguments: &[&str]) -> Output {
    let output = Command::new(TIDEGATE)
        .args([
            "bench",
            "--rounds",
            "2",
            "--duration",
            "0.2",
            "--warm-up",
            "0.1",
        ])
        .args(arguments)
        .output()
        .expect("tidegate");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{errors}");
    output
}

/// Every round of every target made calls, and none failed.
fn assert_in_order(cell: &Value) {
    for target in cell["targets"].as_array().expect("targets") {
        let rounds = target["rounds"].as_array().expect("rounds");
        assert!(!rounds.is_empty(), "{target}");
        for round in rounds {
            assert!(round["rate"].as_f64() > Some(0.0), "{target}");
            assert!(round["p50"].as_f64() > Some(0.0), "{target}");
            assert_eq!(round["errors"], 0.0, "{target}");
        }
    }
}

fn names(cell: &Value) -> Vec<&str> {
    let targets = cell["targets"].as_array().expect("targets");
    targets
        .iter()
        .filter_map(|target| target["name"].as_str())
        .collect()
}

fn publish_beside_stdio(version: &str) {
    let folder = Folder::new(version);
    let targets = TARGETS
        .replace("TIDEGATE", TIDEGATE)
        .replace("VERSION", version);
    std::fs::write(folder.file("targets.yaml"), targets).expect("written");
    let (targets, out) = (folder.file("targets.yaml"), folder.file("out"));
    let output = bench(&[
        "--concurrency",
        "1,4",
        "--targets",
        &targets,
        "--output",
        &out,
    ]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        stdout.contains("publish · QoS 1 · 4 callers · 100 B"),
        "{stdout}"
    );
    let results = folder.results();
    let cells = results["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), 2);
    for cell in cells {
        assert_eq!(names(cell), ["tidegate", "floor", "stdio"]);
        assert_in_order(cell);
        assert_eq!(
            cell["targets"][2]["rounds"].as_array().map(Vec::len),
            Some(1)
        );
        let to: Vec<_> = cell["ratios"].as_array().expect("ratios").iter().collect();
        assert_eq!(
            (&to[0]["to"], &to[1]["to"]),
            (&"floor".into(), &"stdio".into())
        );
        assert!(to[0]["rate"].as_f64() > Some(0.0) && to[0]["p50"].as_f64() > Some(0.0));
        for target in cell["targets"].as_array().expect("targets") {
            assert!(target["start"].as_f64() > Some(0.0), "{target}");
            let name = format!(
                "{}-{}.hlog",
                cell["name"].as_str().expect("a name"),
                target["name"].as_str().expect("a name")
            );
            assert!(Path::new(&out).join(&name).is_file(), "{name}");
        }
        let plot = format!("percentiles-{}.svg", cell["name"].as_str().expect("a name"));
        assert!(Path::new(&out).join(plot).is_file());
    }
    assert_eq!(cells[0]["failed"].as_array().map(Vec::len), Some(0));
    assert_eq!(cells[1]["failed"][0][0], "absent");
}

#[test]
fn a_run_measures_the_gateway_the_floor_and_a_peer_on_standard_input() {
    publish_beside_stdio("2026-07-28");
}

#[test]
fn a_peer_may_speak_a_legacy_revision() {
    publish_beside_stdio("2025-06-18");
}

#[test]
fn every_operation_and_qos_can_be_driven() {
    let folder = Folder::new("operations");
    let out = folder.file("out");
    let operations = "publish,receive,read,updates,reverse";
    bench(&[
        "--operation",
        operations,
        "--qos",
        "0,2",
        "--concurrency",
        "3",
        "--payload",
        "10KiB",
        "--output",
        &out,
    ]);
    let results = folder.results();
    let cells = results["cells"].as_array().expect("cells");
    assert_eq!(cells.len(), 6);
    for cell in cells {
        assert_in_order(cell);
        assert_eq!(names(cell), ["tidegate", "floor"]);
    }
    for config in ["gateway.yaml", "gateway-reverse.yaml"] {
        assert!(Path::new(&out).join(config).is_file(), "{config}");
    }
}

#[test]
#[cfg(feature = "broker")]
fn the_embedded_broker_serves_where_there_is_no_other() {
    let folder = Folder::new("embedded");
    let out = folder.file("out");
    bench(&[
        "--broker",
        "embedded",
        "--concurrency",
        "2",
        "--output",
        &out,
    ]);
    let results = folder.results();
    assert_eq!(results["cells"][0]["broker"]["kind"], "embedded");
    assert_eq!(names(&results["cells"][0]), ["tidegate", "floor"]);
    assert_in_order(&results["cells"][0]);
}

#[test]
fn a_schedule_is_kept() {
    let folder = Folder::new("schedule");
    let out = folder.file("out");
    bench(&[
        "--operation",
        "publish,updates",
        "--rate",
        "50",
        "--concurrency",
        "2",
        "--output",
        &out,
    ]);
    for cell in folder.results()["cells"].as_array().expect("cells") {
        assert_in_order(cell);
        // 50 a second for 0.2 s, to each of two listeners.
        let each = if cell["operation"] == "updates" {
            20.0
        } else {
            10.0
        };
        for round in cell["targets"][0]["rounds"].as_array().expect("rounds") {
            let calls = round["calls"].as_f64().expect("calls")
                + round["unserved"].as_f64().expect("unserved");
            assert!((calls - each).abs() < 0.5, "{round}");
        }
    }
}

#[test]
fn a_run_in_which_calls_fail_fails() {
    let output = Command::new(TIDEGATE)
        .args(["bench", "--rounds", "1", "--tool", "no_such_tool"])
        .output()
        .expect("tidegate");
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no_such_tool"), "{errors}");
}
