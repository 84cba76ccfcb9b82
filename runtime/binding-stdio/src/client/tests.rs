//! With real processes, and a probe for the binding that calls them.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_driver::Engine;
use tidegate_driver::testing::{Probe, probe};
use tidegate_engine::{Limits, StreamId};
use tidegate_streams::line::LineBegin;
use tidegate_streams::{FlushEx, Frame, ResetEx};

use super::Options;

const PATIENCE: Duration = Duration::from_secs(20);

struct Harness {
    engine: Engine,
    probe: Probe,
}

impl Harness {
    /// Processes that run a shell script.
    fn script(script: &str, options: &Value) -> Self {
        let mut all = json!({ "command": "sh", "args": ["-c", script], "stopTimeout": 100 });
        for (key, value) in options.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let options: Options = serde_json::from_value(all).expect("valid");
        let (probe, seat) = probe();
        let engine = Engine::start(1, Limits::default(), move |assembly| {
            let edge = super::attach(assembly, "stdio_client0", options.clone());
            seat.attach(assembly, 1024, Some(edge));
            Ok(())
        });
        Self {
            engine: engine.expect("the engine starts"),
            probe,
        }
    }

    /// Starts a process.
    async fn open(&mut self) -> StreamId {
        let stream = self.probe.open(LineBegin {}).await;
        let (_, frame) = self.probe.next_but_window().await;
        assert_eq!(frame, Frame::begin(LineBegin {}));
        stream
    }

    async fn write(&mut self, stream: StreamId, line: &str) {
        let payload = Bytes::copy_from_slice(line.as_bytes());
        self.probe.send(stream, Frame::data(payload)).await;
    }

    /// The next line of the process.
    async fn line(&mut self, stream: StreamId) -> String {
        let mut text = Vec::new();
        loop {
            match self.probe.next_but_window().await.1 {
                Frame::Data(data) => {
                    let length = data.payload.len();
                    text.extend_from_slice(&data.payload);
                    self.probe
                        .turn(move |cx| cx.acknowledge(stream, length))
                        .await;
                    if data.flags.is_fin() {
                        return String::from_utf8(text).expect("text");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Why the stream was reset.
    async fn reset(&mut self) -> String {
        loop {
            match self.probe.next_but_window().await.1 {
                Frame::Reset(Some(reset)) => match *reset {
                    ResetEx::Line(reset) => {
                        // The ABORT of the reply.
                        self.probe.next_but_window().await;
                        return reset.reason.to_string();
                    }
                    other => panic!("{other:?}"),
                },
                Frame::Begin(_) | Frame::Data(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Waits until a process is gone.
async fn gone(process: &str) {
    let path = PathBuf::from(format!("/proc/{process}/status"));
    let until = tokio::time::Instant::now() + PATIENCE;
    // A zombie has ended, but its parent does not know yet.
    while std::fs::read_to_string(&path).is_ok_and(|it| !it.contains("State:\tZ")) {
        assert!(
            tokio::time::Instant::now() < until,
            "{process} is still there"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn lines_go_to_the_process_and_come_back() {
    let mut harness = Harness::script("cat", &json!({}));
    let stream = harness.open().await;
    let long = "x".repeat(200_000);
    for line in ["{\"a\":1}", "{}", &long] {
        // Larger than the credit of the process's stream, in parts.
        for part in line.as_bytes().chunks(100_000) {
            let payload = Bytes::copy_from_slice(part);
            let last = std::ptr::eq(part.as_ptr_range().end, line.as_bytes().as_ptr_range().end);
            let flags = tidegate_streams::DataFlags::of(part.as_ptr() == line.as_ptr(), last);
            harness
                .probe
                .send(stream, Frame::part(flags, payload))
                .await;
        }
        assert!(harness.line(stream).await == line);
    }
    harness.probe.send(stream, Frame::end()).await;
    assert_eq!(harness.probe.next_but_window().await.1, Frame::end());
    harness.engine.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn the_end_of_a_process_says_how_it_ended() {
    for (script, reason) in [
        ("echo '{}'; exit 3", "'sh' ended with exit status 3"),
        ("kill -9 $$", "'sh' ended (signal: 9 (SIGKILL))"),
    ] {
        let mut harness = Harness::script(script, &json!({}));
        harness.open().await;
        assert_eq!(harness.reset().await, reason);
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let options = json!({ "command": "/nonexistent/server" });
    let mut harness = Harness::script("", &options);
    harness.probe.open(LineBegin {}).await;
    let reason = harness.reset().await;
    assert!(
        reason.starts_with("cannot start '/nonexistent/server': No such file"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_program_that_keeps_failing_is_not_started_at_once() {
    let mut harness = Harness::script("exit 1", &json!({}));
    for _ in 0..2 {
        harness.open().await;
        harness.reset().await;
    }
    harness.probe.open(LineBegin {}).await;
    let reason = harness.reset().await;
    assert!(
        reason.contains("exit status 1; it is started again in"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_line_beyond_the_limit_is_skipped_and_reported() {
    let options = json!({ "maxLineSize": 10 });
    let mut harness = Harness::script("echo 0123456789abc; echo '{}'; cat", &options);
    let stream = harness.open().await;
    match harness.probe.next_but_window().await.1 {
        Frame::Flush(flush) => match *flush {
            FlushEx::Line(oversized) => assert_eq!((oversized.length, oversized.limit), (13, 10)),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    assert_eq!(harness.line(stream).await, "{}");
}

#[tokio::test]
async fn the_environment_is_what_the_config_says() {
    let options = json!({ "environment": { "GIVEN": "a b" }, "workingDirectory": "/" });
    let script = "echo \"$GIVEN|$CARGO_MANIFEST_DIR|$PWD\"; test -n \"$PATH\" && cat";
    let mut harness = Harness::script(script, &options);
    let stream = harness.open().await;
    // Cargo sets the variable for this test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(harness.line(stream).await, "a b||/");
}

#[tokio::test]
async fn a_process_that_does_not_end_is_killed_with_its_children() {
    let script = "trap '' TERM; (trap '' TERM; echo $$; while :; do sleep 1; done) & \
                  sh -c 'echo $PPID'; while :; do sleep 1; done";
    let mut harness = Harness::script(script, &json!({}));
    let stream = harness.open().await;
    let process = harness.line(stream).await;
    harness.line(stream).await;
    harness.probe.send(stream, Frame::end()).await;
    gone(&process).await;
}

#[tokio::test]
async fn what_a_process_leaves_behind_is_killed() {
    // It ends at the end of its input, and by itself; the other one keeps its standard error.
    for rest in ["cat", "read line"] {
        let script = format!("sleep 600 </dev/null >/dev/null & echo $!; {rest}");
        let mut harness = Harness::script(&script, &json!({}));
        let stream = harness.open().await;
        let left = harness.line(stream).await;
        if rest == "cat" {
            harness.probe.send(stream, Frame::end()).await;
        } else {
            harness.write(stream, "{}").await;
        }
        gone(&left).await;
        harness.engine.shutdown(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_process_ends_with_the_engine() {
    let mut harness = Harness::script("echo $$; cat", &json!({}));
    let stream = harness.open().await;
    let process = harness.line(stream).await;
    harness.probe.send(stream, Frame::end()).await;
    harness.engine.shutdown(PATIENCE).await;
    gone(&process).await;
}

#[tokio::test]
async fn output_waits_for_a_reader_that_is_slow() {
    let mut harness = Harness::script("yes '{}' | head -n 20000; cat", &json!({}));
    let stream = harness.open().await;
    for _ in 0..20_000 {
        assert_eq!(harness.line(stream).await, "{}");
    }
    harness.write(stream, "end").await;
    assert_eq!(harness.line(stream).await, "end");
}
