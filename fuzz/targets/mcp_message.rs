//! Any bytes as a message of MCP, on a line and as the body of an HTTP request: it is answered at
//! most once, breaks no rule of streams, and leaves nothing behind once its client is gone.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use tidegate_binding_mcp::server::{McpServer, Options};
use tidegate_binding_mcp_mqtt::McpMqtt;
use tidegate_engine::Duration;
use tidegate_engine::testing::Rig;
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::line::LineBegin;
use tidegate_streams::{BeginEx, Frame};

fn headers() -> HeaderMap {
    let pairs = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "publish"),
    ];
    let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    pairs.into_iter().map(pair).collect()
}

fn walk(begin: impl Into<BeginEx>, body: &[u8]) {
    let mut rig = Rig::new();
    let network = rig.edge(1 << 20);
    let proxy = serde_json::from_str("{}").expect("defaults");
    let proxy = rig.attach(McpMqtt::new(&proxy, network));
    let server = rig.attach(McpServer::new(Options::default(), proxy));
    let entry = rig.edge(1 << 20);
    rig.worker.start();
    let stream = rig.open(entry, server, begin);
    for part in body.chunks(1 << 12) {
        rig.send(entry, stream, Frame::data(Bytes::copy_from_slice(part)));
    }
    rig.send(entry, stream, Frame::end());
    let begins = |frame: &Frame| matches!(frame, Frame::Begin(_));
    let frames = rig.frames(entry, stream);
    assert!(frames.iter().filter(|frame| begins(frame)).count() <= 1);
    // The client goes, and whoever played the broker never answered.
    rig.turn(entry, |cx| cx.terminate(stream, None, None));
    rig.advance(Duration::from_secs(600));
    let opened: Vec<_> = rig.outputs(network).iter().map(|output| output.at.stream).collect();
    for stream in opened {
        rig.turn(network, |cx| cx.terminate(stream, None, None));
    }
    rig.outputs(entry);
    rig.outputs(network);
    rig.assert_idle();
}

fuzz_target!(|body: &[u8]| {
    // The rig's edges send no more than the credit they start with.
    if body.len() > 1 << 15 {
        return;
    }
    let content_length = i64::try_from(body.len()).expect("a length");
    let (method, path, headers) = (Method::POST, "/mcp".into(), headers());
    walk(HttpRequest { method, path, headers, content_length, peer: None }, body);
    walk(LineBegin {}, body);
});
