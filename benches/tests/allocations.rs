//! Allocations of a hop and of a call, without sockets, within the limits of `limits.toml`.
//!
//! The allocator counts per thread, so the counts are exact regardless of other threads. A reallocation
//! counts as one. The allocations of the played edges are included in the figures.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what it expects"
)]

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use serde::Deserialize;
use tidegate_benches::{Chain, Harness, HarnessOptions, call};

/// Number of calls until all buffers and pools have their final size.
const WARM: u64 = 100;
const CALLS: u64 = 20;

#[derive(Debug, Deserialize)]
struct Limits {
    hop: Hop,
    harness: Allowed,
}

#[derive(Debug, Deserialize)]
struct Hop {
    allocations: u64,
}

/// Limits of one call.
#[derive(Debug, Deserialize)]
struct Allowed {
    allocations: u64,
    /// Allocated bytes in total.
    bytes: u64,
    /// Allocated bytes with a payload of 1 MiB in parts, without the one copy that it needs.
    large: u64,
}

fn limits() -> Limits {
    toml::from_str(include_str!("../limits.toml")).expect("limits")
}

/// The allocations of one of many equal calls.
fn each(what: &str, mut once: impl FnMut()) -> AllocationInfo {
    (0..WARM).for_each(|_| once());
    let mut all = measure(|| (0..CALLS).for_each(|_| once()));
    assert_eq!(all.bytes_current, 0, "nothing is left of {what}");
    all.count_total = all.count_total.div_ceil(CALLS);
    all.bytes_total = all.bytes_total.div_ceil(CALLS);
    println!(
        "{what}: {} allocations, {} bytes, {} bytes at a time",
        all.count_total, all.bytes_total, all.bytes_max
    );
    all
}

fn publish(what: &str, body: &Bytes) -> AllocationInfo {
    let mut harness = Harness::new(&HarnessOptions::default());
    each(what, || {
        harness.publish(body);
    })
}

#[test]
fn a_hop_allocates_nothing() {
    let mut chain = Chain::new(10);
    for size in [100, 1 << 20] {
        let payload = Bytes::from(vec![b'x'; size]);
        let hop = each(&format!("{size} bytes through ten relays"), || {
            chain.pass(&payload);
        });
        assert!(hop.count_total <= limits().hop.allocations, "{hop:?}");
    }
}

#[test]
fn a_call_of_publish_allocates_little() {
    let allowed = limits().harness;
    for qos in [0, 1] {
        let body = call("publish", qos, &"x".repeat(100));
        let call = publish(&format!("publish at QoS {qos}"), &body);
        assert!(call.count_total <= allowed.allocations, "{call:?}");
        assert!(call.bytes_total <= allowed.bytes, "{call:?}");
    }
}

#[test]
fn a_large_payload_takes_no_memory_of_its_own() {
    let body = call("publish", 1, &"x".repeat(1 << 20));
    let call = publish("publish of 1 MiB", &body);
    assert!(call.bytes_total <= limits().harness.large, "{call:?}");
}

#[test]
fn a_large_payload_with_escapes_is_allocated_once() {
    let text = "temperature\n".repeat((1 << 20) / 12);
    let body = call("publish", 1, &text);
    let call = publish("publish of 1 MiB with escapes", &body);
    let copy = body.len() as u64;
    assert!(call.bytes_total >= text.len() as u64, "{call:?}");
    assert!(
        call.bytes_total <= copy + limits().harness.large,
        "{call:?}"
    );
}
