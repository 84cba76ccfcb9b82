//! The hop of a frame, and the accounting of credit.
#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, StreamId};
use tidegate_scenarios::fixtures::{Options, Relay};
use tidegate_streams::Frame;
use tidegate_streams::mcp::McpToolsCall;

/// A chain of relays between two edges, with a stream through all of them.
struct Chain {
    rig: Rig,
    entry: BindingId,
    exit: BindingId,
    stream: StreamId,
    last: StreamId,
}

impl Chain {
    fn new(relays: usize) -> Self {
        let mut rig = Rig::new();
        let exit = rig.edge(1 << 30);
        let mut next = exit;
        for _ in 0..relays {
            let window = 1 << 30;
            next = rig.attach(Relay::new(
                Options {
                    window,
                    ..Options::default()
                },
                next,
            ));
        }
        let entry = rig.edge(1 << 30);
        rig.worker.start();
        let stream = rig.open(entry, next, McpToolsCall::default());
        let outputs = rig.outputs(exit);
        let last = outputs.first().map(|output| output.at.stream);
        let last = last.unwrap_or(stream);
        Self {
            rig,
            entry,
            exit,
            stream,
            last,
        }
    }

    /// One DATA all the way, told to have been read.
    fn pass(&mut self, payload: &Bytes) -> usize {
        self.rig
            .send(self.entry, self.stream, Frame::data(payload.clone()));
        let (exit, last) = (self.exit, self.last);
        self.rig
            .turn(exit, |cx| cx.acknowledge(last, payload.len()));
        self.rig.outputs(exit).len()
    }
}

/// The difference between the rows, by the number of relays, is a hop.
fn hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop");
    let payload = Bytes::from_static(b"payload");
    for relays in [1_usize, 11, 101] {
        let mut chain = Chain::new(relays);
        group.throughput(Throughput::Elements(relays as u64 + 1));
        group.bench_function(BenchmarkId::new("relays", relays), |b| {
            b.iter(|| chain.pass(&payload));
        });
    }
    group.finish();
}

/// Payloads so large that every one brings a WINDOW back.
fn credit(c: &mut Criterion) {
    let mut group = c.benchmark_group("credit");
    let payload = Bytes::from(vec![0; 1 << 29]);
    let mut chain = Chain::new(1);
    group.bench_function("a WINDOW for each DATA", |b| {
        b.iter(|| chain.pass(&payload));
    });
    group.finish();
}

criterion_group!(benches, hop, credit);
criterion_main!(benches);
