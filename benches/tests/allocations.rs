//! What a frame's hop and a call allocate, without sockets: held to `limits.toml`.
//!
//! The allocator counts for each thread on its own, so that a count is exact whatever else runs. A
//! block that grows counts as one more. The played edges are counted too: what they take for a call
//! belongs to the figures below.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test says what it expects"
)]

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use serde::Deserialize;
use tidegate_benches::{Chain, Furniture, House, call};

/// Calls after which every buffer and pool has the size that it keeps.
const WARM: u64 = 100;
const CALLS: u64 = 20;

#[derive(Debug, Deserialize)]
struct Limits {
    hop: Hop,
    house: Allowed,
}

#[derive(Debug, Deserialize)]
struct Hop {
    allocations: u64,
}

/// For one call.
#[derive(Debug, Deserialize)]
struct Allowed {
    allocations: u64,
    /// Bytes of all of them together.
    bytes: u64,
    /// Bytes where the payload is 1 MiB and passes in pieces, beside a copy that it needs.
    large: u64,
}

fn limits() -> Limits {
    toml::from_str(include_str!("../limits.toml")).expect("limits")
}

/// What one of many equal calls allocates.
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
    let mut house = House::new(&Furniture::default());
    each(what, || {
        house.publish(body);
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
    let allowed = limits().house;
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
    assert!(call.bytes_total <= limits().house.large, "{call:?}");
}

#[test]
fn a_large_payload_with_escapes_is_allocated_once() {
    let text = "temperature\n".repeat((1 << 20) / 12);
    let body = call("publish", 1, &text);
    let call = publish("publish of 1 MiB with escapes", &body);
    let copy = body.len() as u64;
    assert!(call.bytes_total >= text.len() as u64, "{call:?}");
    assert!(call.bytes_total <= copy + limits().house.large, "{call:?}");
}
