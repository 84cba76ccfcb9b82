//! Validation of a JSON message in place, and lookup of one member.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "benches say what they expect"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_benches::call;
use tidegate_json::{Document, Limits, Parts};

fn envelope(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope");
    for (name, size) in [("small", 100), ("10 KiB", 10 << 10), ("1 MiB", 1 << 20)] {
        for (kind, text) in [
            ("plain", "x"),
            ("JSON", r#"{"celsius":21.5,"ok":true,"room":"A-17"}"#),
            ("beyond ASCII", "ж"),
            ("escapes", "\n"),
        ] {
            let body = call("publish", 1, &text.repeat(size / text.len()));
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_with_input(BenchmarkId::new(kind, name), &body, |b, body| {
                b.iter(|| topic(Parts::from(body.clone())));
            });
        }
        // In buffers of 64 KiB, as read from a socket.
        let body = call("publish", 1, &"x".repeat(size));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("in buffers", name), &body, |b, body| {
            let mut parts = Parts::new();
            let mut rest = body.clone();
            while !rest.is_empty() {
                parts.push(rest.split_to(rest.len().min(64 << 10)));
            }
            b.iter(|| topic(parts.clone()));
        });
    }
    group.finish();
}

/// Validates a message and finds the topic in it, as the bindings do.
fn topic(body: Parts) -> usize {
    let document = Document::parse(body, Limits::default());
    let document = document.expect("JSON");
    let params = document.root().get("params").expect("one").expect("params");
    let arguments = params.get("arguments").expect("one").expect("arguments");
    let topic = arguments.get("topic").expect("one").expect("a topic");
    let payload = arguments.get("payload").expect("one").expect("a payload");
    let payload = payload.string_parts().expect("a string");
    black_box(topic.string().expect("a string").len() + payload.len())
}

criterion_group!(benches, envelope);
criterion_main!(benches);
