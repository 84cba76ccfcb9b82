//! A binding with several exits has one side for each.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_config::{Declared, Descriptor, MakeError, Protocol, Registry};
use tidegate_engine::{At, Binding, BindingId, Context, StreamId, Token};
use tidegate_scenarios::{Factory, Mode, Script, play};
use tidegate_streams::bytes_stream::BytesBegin;
use tidegate_streams::mqtt::MqttPublish;
use tidegate_streams::{BeginEx, Frame};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

impl tidegate_options::Options for NoOptions {}

/// For each stream that it is asked for it opens one towards each exit, and is done with all three.
struct Fork {
    mqtt: BindingId,
    wire: BindingId,
}

impl Binding for Fork {
    fn exchanges(&self) -> usize {
        0
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, _: BeginEx) {
        let topic = "a/b".into();
        let publish = MqttPublish {
            topic,
            ..MqttPublish::default()
        };
        let opened = [
            cx.open(self.mqtt, publish, Token::default()),
            cx.open(self.wire, BytesBegin::default(), Token::default()),
        ];
        for opened in opened.into_iter().flatten() {
            cx.terminate(opened, None, None);
        }
        cx.terminate(stream, None, None);
    }

    fn on_frame(&mut self, _: &mut Context<'_>, _: At, _: Frame) {}

    fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}
}

enum Kind {
    Fork,
    /// Stands at an exit, which the script plays.
    Played,
}

impl Factory for Kind {
    fn make(&self, declared: &Declared<'_, BindingId>) -> Result<Box<dyn Binding>, String> {
        let message = |error: MakeError| error.to_string();
        match self {
            Self::Fork => Ok(Box::new(Fork {
                mqtt: declared.exit_named("mqtt").map_err(message)?,
                wire: declared.exit_named("wire").map_err(message)?,
            })),
            Self::Played => Err(message(
                declared.exit().map(|_| ()).expect_err("it has no exit"),
            )),
        }
    }
}

fn registry() -> Registry<Kind> {
    Registry::new(vec![
        Descriptor::of::<NoOptions>("entry", "server", "")
            .exit(Protocol::Mcp)
            .made_by(Kind::Played),
        Descriptor::of::<NoOptions>("fork", "proxy", "")
            .accepts(&[Protocol::Mcp])
            .exits(&[("mqtt", Protocol::Mqtt), ("wire", Protocol::Bytes)])
            .made_by(Kind::Fork),
        Descriptor::of::<NoOptions>("broker", "client", "")
            .accepts(&[Protocol::Mqtt])
            .made_by(Kind::Played),
        Descriptor::of::<NoOptions>("wire", "client", "")
            .accepts(&[Protocol::Bytes])
            .made_by(Kind::Played),
    ])
}

const CONFIG: &str = "name: exits
bindings:
  entry0: { type: entry, kind: server, exit: fork0 }
  fork0: { type: fork, kind: proxy, exits: { mqtt: broker0, wire: wire0 } }
  broker0: { type: broker, kind: client }
  wire0: { type: wire, kind: client }
";

fn played(binding: &str, lines: &str) -> Result<usize, String> {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("exits-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.yaml"), CONFIG).expect("a file");
    let text = format!("binding {binding} config=config.yaml\n\n{lines}");
    let script = Script::parse(&folder.join("exits.spec"), &text).expect("a script");
    let played = play(&script, &registry(), Mode::Ordered);
    std::fs::remove_dir_all(&folder).expect("the folder is there");
    played
        .map(|played| played.steps)
        .map_err(|failure| failure.to_string())
}

#[test]
fn each_named_exit_is_a_side() {
    let lines = "> mcp.1 begin toolsCall
< mqtt.1 begin publish topic=\"a/b\"
< net.1 begin bytes
< mqtt.1' reset
< mqtt.1 abort
< net.1' reset
< net.1 abort
< mcp.1 reset
< mcp.1' abort
> mqtt.1' abort
> net.1' abort
> mcp.1 abort
";
    assert_eq!(played("fork0", lines), Ok(12));
}

#[test]
fn a_kind_that_cannot_be_created_is_an_error() {
    let refused = played("wire0", "> bytes.1 begin bytes\n");
    let message = refused.expect_err("no script can play it");
    assert!(
        message.contains("binding 'wire0' has no exit 'exit'"),
        "{message}"
    );
}
