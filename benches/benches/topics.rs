//! Matching a topic and a filter against few and many patterns.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "benches say what they expect"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_streams::mqtt::topic::{TopicFilter, TopicPatterns};

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text.to_owned()).expect("a filter")
}

fn topics(c: &mut Criterion) {
    let mut group = c.benchmark_group("topics");
    for count in [1, 100, 10_000] {
        let mut all: Vec<_> = (0..count)
            .map(|index| filter(&format!("plant/{index}/+")))
            .collect();
        all.push(filter("sensors/+/temperature/#"));
        let patterns = TopicPatterns::new(&all);
        group.bench_function(BenchmarkId::new("match", count), |b| {
            b.iter(|| patterns.allows_topic(black_box("sensors/kitchen/temperature/now")));
        });
        let wanted = filter("sensors/kitchen/temperature/+");
        group.bench_function(BenchmarkId::new("cover", count), |b| {
            b.iter(|| patterns.allows_filter(black_box(&wanted)));
        });
    }
    group.finish();
}

criterion_group!(benches, topics);
criterion_main!(benches);
