//! How much two files differ in.

use std::collections::BTreeMap;

use protocol::format::{
    chunk::ChunkRef,
    content::{Content, Cursor, Next},
};

use crate::{error::RepoError, trees::TreeReader};

/// Differing chunks of one file that are compared: 32 MiB, for a file of about 256 GiB.
/// What more there is counts as different.
const CHUNKS_MAX: usize = 256 << 10;

/// Bytes of chunks that only the first has, and bytes that only the second has. Blocks of
/// references that both name at the same place are not read.
pub async fn differing(trees: &TreeReader, before: Content, after: Content) -> Result<[u64; 2], RepoError> {
    let mut cursors = [Cursor::new(before), Cursor::new(after)];
    let mut bytes = [0, 0];
    // How often more the first has had a chunk than the second.
    let mut ahead: BTreeMap<ChunkRef, i64> = BTreeMap::new();
    loop {
        let nexts = [cursors[0].advance(), cursors[1].advance()];
        match nexts {
            [Next::End, Next::End] => return Ok(bytes),
            [one, other] if one == other => continue,
            _ => {}
        }
        for (side, sign) in [(0, 1), (1, -1)] {
            match nexts[side] {
                Next::End => {}
                Next::Block(reference) => cursors[side].enter(trees.block(&reference).await?),
                Next::Chunk(reference) => {
                    let len = u64::from(reference.len);
                    let count = ahead.get(&reference).copied().unwrap_or(0) + sign;
                    // What the other side has had without a match has found one.
                    if count * sign <= 0 {
                        bytes[1 - side] -= len
                    } else {
                        bytes[side] += len
                    }
                    if count == 0 {
                        ahead.remove(&reference);
                    } else if ahead.len() < CHUNKS_MAX || ahead.contains_key(&reference) {
                        ahead.insert(reference, count);
                    }
                }
            }
        }
    }
}
