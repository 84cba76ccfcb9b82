//! Calls of `mcp_device · proxy` with few and with 10,000 devices, beside `tools/list`, which does not depend on devices.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "benches say what they expect"
)]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use tidegate_benches::{Fleet, arguments, list_tools};

/// Calls of `list_devices`, by name.
fn lists(devices: usize) -> Vec<(&'static str, Value)> {
    let middle = Fleet::id(devices / 2);
    vec![
        ("first page", json!({})),
        ("page of the middle", json!({ "cursor": middle })),
        ("of 200", json!({ "limit": 200 })),
        ("of a location", json!({ "location": "hall-3" })),
        ("of a type", json!({ "type": "lamp" })),
        ("that are online", json!({ "online": true })),
        ("with a text of none", json!({ "query": "nothing" })),
    ]
}

fn devices(c: &mut Criterion) {
    let mut group = c.benchmark_group("devices");
    for count in [100, 10_000] {
        let mut fleet = Fleet::seen(count);
        let tools = list_tools();
        assert!(!fleet.tools(&tools).is_empty(), "it is answered");
        group.bench_function(BenchmarkId::new("tools/list", count), |b| {
            b.iter(|| black_box(fleet.tools(&tools)));
        });
        let mut calls = vec![
            (
                "status",
                "get_device_status",
                json!({ "device": Fleet::id(count / 2) }),
            ),
            (
                "status of an unknown device",
                "get_device_status",
                json!({ "device": "lamp-x" }),
            ),
        ];
        let lists = lists(count).into_iter();
        calls.extend(lists.map(|(name, arguments)| (name, "list_devices", arguments)));
        for (name, tool, call) in calls {
            let body = arguments(tool, &call);
            assert!(!fleet.call(tool, &body).is_empty(), "{name} is answered");
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| black_box(fleet.call(tool, &body)));
            });
        }
        group.bench_function(BenchmarkId::new("message", count), |b| {
            let mut number = 0;
            b.iter(|| {
                number = (number + 7_919) % count;
                fleet.publish_state(number);
            });
        });
    }
    group.finish();
}

fn announced(c: &mut Criterion) {
    let mut group = c.benchmark_group("announced devices");
    for count in [100, 10_000] {
        let mut fleet = Fleet::announced(count);
        let calls = [
            ("first page", "list_devices", json!({})),
            ("that are online", "list_devices", json!({ "online": true })),
            (
                "status",
                "get_device_status",
                json!({ "device": "switch-00050" }),
            ),
        ];
        for (name, tool, call) in calls {
            let body: Bytes = arguments(tool, &call);
            assert!(!fleet.call(tool, &body).is_empty(), "{name} is answered");
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| black_box(fleet.call(tool, &body)));
            });
        }
        group.bench_function(BenchmarkId::new("message", count), |b| {
            let mut number = 0;
            b.iter(|| {
                number = (number + 7_919) % count;
                let topic = format!("zigbee2mqtt/switch-{number:05}");
                fleet.publish(1, &topic, r#"{"linkquality":85,"power":0,"state":"ON"}"#);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, devices, announced);
criterion_main!(benches);
