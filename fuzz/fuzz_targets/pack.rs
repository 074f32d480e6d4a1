//! Packs: trailer and table of contents, as they come and sealed here.
#![no_main]

use fuzz::{KEY, OBJECT_ID, bounded};
use libfuzzer_sys::fuzz_target;
use protocol::{
    format::{
        self, keys,
        pack::{self, PackWriter, Row, TRAILER_LEN, Trailer},
    },
    sealed,
};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        if let Ok(rows) = pack::open(&KEY, data) {
            come_back(data, &rows);
        }
        let tail = &data[data.len().saturating_sub(TRAILER_LEN)..];
        if let Ok(trailer) = Trailer::decode(tail, data.len() as u64) {
            let table = &data[trailer.table.start as usize..trailer.table.end as usize];
            let _ = trailer.open_table(&KEY, table);
        }
        let sealed = sealed_table(data);
        if let Ok(rows) = pack::open(&KEY, &sealed) {
            come_back(&sealed, &rows);
        }
    });
});

/// A pack whose table says what `data` says. Its chunks have the length of the first row.
fn sealed_table(data: &[u8]) -> Vec<u8> {
    let first = data.get(32..34).map_or(0, |len| u16::from_le_bytes([len[0], len[1]]) % 64);
    let mut whole = PackWriter::new(0);
    whole.push(protocol::ids::ChunkId([0; 32]), &vec![0; first.into()]);
    let mut bytes = whole.finish(&KEY, &OBJECT_ID).bytes;
    let end = format::HEADER_LEN + usize::from(first);
    let mut table = data.to_vec();
    sealed::seal_in_place(&keys::pack_key(&KEY, &OBJECT_ID), &sealed::nonce(0), b"", &mut table);
    let mut trailer = bytes.split_off(bytes.len() - TRAILER_LEN);
    trailer[40..44].copy_from_slice(&(table.len() as u32).to_le_bytes());
    bytes.truncate(end);
    bytes.extend(table);
    bytes.extend(trailer);
    format::finish(&mut bytes);
    bytes
}

/// A pack that opens is the pack that would be written.
fn come_back(bytes: &[u8], rows: &[Row]) {
    let mut writer = PackWriter::new(0);
    for row in rows {
        writer.push(row.id, &bytes[row.offset as usize..(row.offset + row.len) as usize]);
    }
    let object_id = bytes[bytes.len() - TRAILER_LEN..][..32].try_into().expect("32 bytes are 32 bytes");
    assert_eq!(writer.finish(&KEY, object_id).bytes, bytes);
}
