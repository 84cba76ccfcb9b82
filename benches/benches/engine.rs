//! The hop of a frame, and the accounting of credit.
#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_benches::Chain;

/// The cost of a hop is the difference of two rows divided by the difference of their relays.
fn hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop");
    let payload = Bytes::from_static(b"payload");
    for relays in [1_usize, 11, 101] {
        let mut chain = Chain::new(relays);
        group.throughput(Throughput::Elements(chain.hops() as u64));
        group.bench_function(BenchmarkId::new("relays", relays), |b| {
            b.iter(|| chain.pass(&payload));
        });
    }
    group.finish();
}

/// The cost of a DATA within the credit, and of one so large that each relay sends WINDOW.
fn credit(c: &mut Criterion) {
    let mut group = c.benchmark_group("credit");
    for (name, size) in [("no WINDOW", 7), ("a WINDOW for each DATA", 1 << 29)] {
        let payload = Bytes::from(vec![0; size]);
        let mut chain = Chain::new(1);
        group.bench_function(name, |b| {
            b.iter(|| chain.pass(&payload));
        });
    }
    group.finish();
}

criterion_group!(benches, hop, credit);
criterion_main!(benches);
