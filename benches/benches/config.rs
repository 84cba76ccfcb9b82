//! From YAML to a checked config.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "benches say what they expect"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use tidegate::house::Tidegate;
use tidegate_scenarios::House as _;

fn load(c: &mut Criterion) {
    let text = include_str!("../../config/two-brokers.yaml");
    let house = Tidegate::default();
    let environment = |_: &str| Some("secret".to_owned());
    c.bench_function("config", |b| {
        b.iter(|| {
            tidegate_config::load("config.yaml", text, house.registry(), &environment)
                .expect("a config")
        });
    });
}

criterion_group!(benches, load);
criterion_main!(benches);
