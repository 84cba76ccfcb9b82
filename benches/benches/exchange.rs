//! A whole call without sockets: from the HTTP body to PUBLISH and back to the response.
#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use tidegate_benches::{Harness, HarnessOptions, arguments, call};

/// A typical payload: JSON, whose quotes must be escaped in the params.
const RECORD: &str = r#"{"celsius":21.5,"ok":true,"room":"A-17"}"#;

fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish");
    for (name, size) in [("100 B", 100), ("10 KiB", 10 << 10), ("1 MiB", 1 << 20)] {
        for qos in [0, 1] {
            let mut harness = Harness::new(&HarnessOptions::default());
            let body = call("publish", qos, &"x".repeat(size));
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new(format!("QoS {qos}"), name), |b| {
                b.iter(|| harness.publish(&body));
            });
        }
        let mut harness = Harness::new(&HarnessOptions::default());
        let body = call("publish", 1, &RECORD.repeat(size / RECORD.len()));
        group.bench_function(BenchmarkId::new("of JSON", name), |b| {
            b.iter(|| harness.publish(&body));
        });
    }
    group.finish();
}

fn receive(c: &mut Criterion) {
    let mut group = c.benchmark_group("receive");
    for messages in [1, 100] {
        let mut harness = Harness::new(&HarnessOptions::default()).receiving();
        let body = arguments("receive", &json!({ "topic": "a/+", "limit": messages }));
        group.bench_function(BenchmarkId::new("messages", messages), |b| {
            b.iter(|| harness.receive(&body, messages, &Bytes::from_static(b"21.5")));
        });
    }
    for (name, size) in [("100 B", 100), ("10 KiB", 10 << 10)] {
        for (kind, text) in [("of text", "x"), ("of JSON", RECORD)] {
            let mut harness = Harness::new(&HarnessOptions::default()).receiving();
            let body = arguments("receive", &json!({ "topic": "a/+", "limit": 1 }));
            let payload = Bytes::from(text.repeat(size / text.len()));
            group.bench_function(BenchmarkId::new(kind, name), |b| {
                b.iter(|| harness.receive(&body, 1, &payload));
            });
        }
    }
    group.finish();
}

fn proxy(c: &mut Criterion) {
    let mut group = c.benchmark_group("routes");
    let body = call("t0__publish", 1, "on");
    for toolkits in [1, 10, 100] {
        let mut harness = Harness::new(&HarnessOptions {
            toolkits,
            ..HarnessOptions::default()
        });
        group.bench_function(BenchmarkId::from_parameter(toolkits), |b| {
            b.iter(|| harness.publish(&body));
        });
    }
    group.finish();
}

fn patterns(c: &mut Criterion) {
    let mut group = c.benchmark_group("patterns");
    let body = call("publish", 1, "on");
    for patterns in [1, 100, 10_000] {
        let mut harness = Harness::new(&HarnessOptions {
            patterns,
            ..HarnessOptions::default()
        });
        group.bench_function(BenchmarkId::from_parameter(patterns), |b| {
            b.iter(|| harness.publish(&body));
        });
    }
    group.finish();
}

criterion_group!(benches, publish, receive, proxy, patterns);
criterion_main!(benches);
