//! Index segments: prefix, head and blocks, as they come and sealed here.
#![no_main]

use fuzz::{KEY, OBJECT_ID, bounded, name, signer};
use libfuzzer_sys::fuzz_target;
use protocol::{
    codec,
    format::{
        self, HEADER_LEN,
        filter::Filter,
        keys,
        segment::{BlockRow, Head, PREFIX_LEN, PackBlock, Prefix, Segment},
    },
    ids::{ChunkId, DomainId, Hash, RepositoryId},
    sealed, sign,
};

const ROW_LEN: usize = 44;
const PACK_LEN: usize = 52;

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        open(data);
        // A head that says what the input says.
        open(&made(data.to_vec(), &[]));
        // Blocks that say what the input says, of rows and of packs.
        let (rows, packs) = data.split_at(data.len() / 2 / ROW_LEN * ROW_LEN);
        let blocks = [rows, packs].map(|plain| plain.to_vec());
        let first = rows.first_chunk().map_or(ChunkId([0; 32]), |id| ChunkId(*id));
        let sealed = [seal(1, &blocks[0]), seal(2, &blocks[1])];
        let mut filter = Filter::with_capacity(1);
        filter.insert(&first);
        let head = Head {
            repository: RepositoryId([1; 16]),
            domain: DomainId([2; 16]),
            blocks: vec![BlockRow { first, rows: (rows.len() / ROW_LEN) as u32, hash: hash(&sealed[0]) }],
            pack_blocks: vec![PackBlock {
                first: name(0),
                packs: (packs.len() / PACK_LEN) as u32,
                hash: hash(&sealed[1]),
            }],
            filter,
        };
        open(&made(codec::encode(&head), &sealed));
    });
});

fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

fn seal(number: u64, plain: &[u8]) -> Vec<u8> {
    let mut sealed = plain.to_vec();
    let key = keys::segment_key(&KEY, &OBJECT_ID);
    sealed::seal_in_place(&key, &sealed::nonce(number), b"", &mut sealed);
    sealed
}

/// A segment with this head and these sealed blocks, signed.
fn made(head: Vec<u8>, blocks: &[Vec<u8>]) -> Vec<u8> {
    let head = seal(0, &head);
    // The bytes before the head are those of any segment.
    let signer = signer();
    let any = format::segment::encode(RepositoryId([1; 16]), DomainId([2; 16]), &[], &[], &KEY, &OBJECT_ID, &signer);
    let mut bytes = any[..PREFIX_LEN].to_vec();
    bytes[PREFIX_LEN - 4..].copy_from_slice(&(head.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&head);
    blocks.iter().for_each(|block| bytes.extend_from_slice(block));
    format::finish(&mut bytes);
    let signed = [&bytes[..HEADER_LEN], &OBJECT_ID, &hash(&head).0].concat();
    let signature = signer.sign(sign::SEGMENT, &signed).to_bytes();
    bytes[HEADER_LEN + 64..HEADER_LEN + 128].copy_from_slice(&signature);
    bytes
}

fn open(bytes: &[u8]) {
    let Ok(prefix) = Prefix::decode(bytes) else { return };
    let head = prefix.head();
    let Some(sealed_head) = bytes.get(head.start as usize..head.end as usize) else { return };
    let Ok(segment) = Segment::open(prefix, sealed_head, &KEY) else { return };
    for block in 0..segment.blocks() {
        let range = segment.block_range(block).expect("every block has a place");
        let Some(sealed) = bytes.get(range.start as usize..range.end as usize) else { continue };
        if let Ok(rows) = segment.open_block(block, sealed) {
            assert!(rows.is_sorted_by_key(|row| row.id));
            for row in rows {
                let _ = (segment.blocks_of(&row.id), segment.pack_block(row.pack));
            }
        }
        if let Ok(packs) = segment.open_packs(block, sealed) {
            packs.iter().for_each(|pack| _ = segment.pack_block_named(&pack.name));
        }
    }
}
