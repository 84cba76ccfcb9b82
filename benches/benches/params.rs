//! `mcp_mqtt · proxy`: from the params of an operation to the opened mqtt stream.
#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use tidegate_benches::Toolkit;
use tidegate_streams::BeginEx;
use tidegate_streams::mcp::{McpResourcesRead, McpToolsCall};

fn params(c: &mut Criterion) {
    let mut group = c.benchmark_group("params");
    let publish = json!({ "topic": "a/b", "payload": "x".repeat(100), "qos": 1, "retain": true });
    let receive = json!({ "topic": "a/+", "limit": 10, "timeout": 1_000 });
    let uri = json!({ "uri": "mqtt://a/b" });
    let rows = [
        ("publish", tool("publish"), arguments("publish", &publish)),
        ("receive", tool("receive"), arguments("receive", &receive)),
        ("resources/read", read("mqtt://a/b"), uri),
    ];
    for (name, begin, params) in rows {
        let params = Bytes::from(params.to_string());
        let mut toolkit = Toolkit::default();
        group.bench_function(name, |b| {
            b.iter(|| toolkit.decode(begin.clone(), &params));
        });
        assert_eq!(toolkit.open_streams(), 0, "nothing is left of {name}");
    }
    group.finish();
}

fn tool(name: &'static str) -> BeginEx {
    McpToolsCall {
        name: name.into(),
        ..McpToolsCall::default()
    }
    .into()
}

fn read(uri: &'static str) -> BeginEx {
    McpResourcesRead {
        uri: uri.into(),
        ..McpResourcesRead::default()
    }
    .into()
}

fn arguments(tool: &str, arguments: &Value) -> Value {
    json!({ "name": tool, "arguments": arguments })
}

criterion_group!(benches, params);
criterion_main!(benches);
