//! Packing: bytes of sealed chunks a second into a pack with its table.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{
    format::{chunk, pack::PackWriter},
    limits,
};

fn pack(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pack");
    for (name, chunk_len) in [("4 KiB chunks", 4 << 10), ("1 MiB chunks", 1 << 20)] {
        let data = benches::random(limits::PACK_BYTES_TARGET);
        let chunks: Vec<_> = data.chunks(chunk_len).map(|sealed| (chunk::id_of(sealed), sealed)).collect();
        group.throughput(Throughput::Bytes(data.len() as u64)).sample_size(20);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut writer = PackWriter::new(limits::PACK_BYTES_TARGET + (1 << 20));
                chunks.iter().for_each(|(id, sealed)| writer.push(*id, sealed));
                black_box(writer.finish(&[6; 32], &[7; 32]))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pack);
criterion_main!(benches);
