//! Sealing and opening: bytes of plaintext a second on one core, with compression.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::{
    format::{chunk::Under, keys},
    records::Codec,
};
use repo::{Opener, Sealer};

fn seal(criterion: &mut Criterion) {
    let client = benches::keys().unwrap();
    let chunk_key = keys::chunk_key(&[5; 32]);
    let mut group = criterion.benchmark_group("seal");
    for (name, data, chunk_len) in [
        ("text, 1 MiB chunks", benches::text(16 << 20), 1 << 20),
        ("text, 8 KiB chunks", benches::text(16 << 20), 8 << 10),
        ("random, 1 MiB chunks", benches::random(16 << 20), 1 << 20),
    ] {
        group.throughput(Throughput::Bytes(data.len() as u64)).sample_size(20);
        let mut sealer = Sealer::new(Codec::Zstd(1)).unwrap();
        let mut out = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                for plain in data.chunks(chunk_len) {
                    black_box(sealer.seal(&chunk_key, Under::Generation(0), plain, &mut out));
                }
            });
        });
        let mut opener = Opener::new().unwrap();
        let plain = &data[..chunk_len];
        out.clear();
        let reference = sealer.seal(&chunk_key, Under::Generation(0), plain, &mut out);
        group.throughput(Throughput::Bytes(chunk_len as u64));
        group.bench_function(format!("open {name}"), |bencher| {
            bencher.iter(|| black_box(opener.open(&client, &out, &reference).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, seal);
criterion_main!(benches);
