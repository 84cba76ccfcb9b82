//! The hop of a frame, and the accounting of credit.
#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_benches::Chain;

/// The difference between the rows, by the number of relays, is a hop.
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

/// What a DATA costs where credit lasts, and where it is so large that each relay sends a WINDOW back.
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
