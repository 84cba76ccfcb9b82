//! Encoding and decoding of PUBLISH.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "benches say what they expect"
)]

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_binding_mqtt::codec::{
    Decoder, Packet, Publish, REMAINING_LENGTH_MAX, Version, encode, encode_publish,
};

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("PUBLISH");
    for (name, size) in [("100 B", 100), ("1 MiB", 1 << 20)] {
        let publish = Publish {
            topic: "sensors/temperature/kitchen".into(),
            qos: 1,
            packet_id: 7,
            payload: vec![Bytes::from(vec![b'x'; size])].into(),
            ..Publish::default()
        };
        let packet = Packet::Publish(publish.clone());
        let mut out = BytesMut::new();
        encode(&packet, Version::V5, REMAINING_LENGTH_MAX, &mut out).expect("a packet");
        let bytes = out.freeze();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("decode", name), |b| {
            let mut decoder = Decoder::new(Version::V5, REMAINING_LENGTH_MAX);
            b.iter(|| {
                decoder.push(bytes.clone());
                decoder.next().expect("a packet")
            });
        });
        group.bench_function(BenchmarkId::new("encode, as slices", name), |b| {
            let mut header = BytesMut::with_capacity(256);
            b.iter(|| {
                header.clear();
                let (version, limit) = (Version::V5, REMAINING_LENGTH_MAX);
                encode_publish(&publish, size, version, limit, &mut header).expect("a header");
                header.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
