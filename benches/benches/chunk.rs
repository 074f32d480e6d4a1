//! Cutting: bytes a second through FastCDC with a keyed gear table.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use repo::Cutter;

fn chunk(criterion: &mut Criterion) {
    let data = benches::random(64 << 20);
    let cutter = Cutter::new(&benches::CHUNKER, &protocol::format::keys::gear_table(&[5; 32])).unwrap();
    let mut group = criterion.benchmark_group("chunk");
    group.throughput(Throughput::Bytes(data.len() as u64)).sample_size(20);
    group.bench_function("random", |bencher| {
        bencher.iter(|| {
            let mut at = 0;
            while at < data.len() {
                at += black_box(cutter.cut(&data[at..], true).unwrap());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, chunk);
criterion_main!(benches);
