//! Loading a config.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "benches say what they expect"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::registry::registry;

fn load(c: &mut Criterion) {
    let text = include_str!("../../config/two-brokers.yaml");
    let registry = registry();
    let environment = |_: &str| Some("secret".to_owned());
    c.bench_function("config", |b| {
        b.iter(|| {
            tidegate_config::load("config.yaml", text, &registry, &environment).expect("a config")
        });
    });
}

criterion_group!(benches, load);
criterion_main!(benches);
