//! Looking chunks up in published segments.

use std::collections::BTreeMap;

use control::ledger::Published;
use env::store::StoreError;
use futures_util::{StreamExt as _, stream};
use protocol::{
    failure::Failure,
    format::segment::{PREFIX_LEN, Prefix, Segment},
    ids::ChunkId,
    names::ObjectName,
};

use super::shop::{READS_IN_FLIGHT, Shop, Spot, unanswered};

/// What is read of a segment at first.
const HEAD_GUESS: u64 = 64 << 10;

/// Homes of these chunks, sorted, in these segments. A segment that cannot be read has
/// none here: whoever merges it finds out.
pub async fn seek(shop: &Shop, segments: Vec<(ObjectName, Published)>, ids: &[ChunkId]) -> Result<Vec<Spot>, Failure> {
    let mut found = stream::iter(segments).map(|(name, _)| seek_in(shop, name, ids)).buffered(READS_IN_FLIGHT);
    let mut spots = Vec::new();
    while let Some(more) = found.next().await.transpose()? {
        spots.extend(more);
    }
    Ok(spots)
}

async fn seek_in(shop: &Shop, name: ObjectName, ids: &[ChunkId]) -> Result<Vec<Spot>, Failure> {
    let mut spots = Vec::new();
    let Some(segment) = head(shop, name).await? else { return Ok(spots) };
    let mut blocks: BTreeMap<usize, Vec<ChunkId>> = BTreeMap::new();
    for id in ids {
        for block in segment.blocks_of(id) {
            blocks.entry(block).or_default().push(*id);
        }
    }
    let mut packs = BTreeMap::new();
    for (block, ids) in blocks {
        let Some(rows) = read(shop, name, &segment, block, |bytes| segment.open_block(block, bytes).ok()).await? else {
            continue;
        };
        for row in rows.into_iter().filter(|row| ids.binary_search(&row.id).is_ok()) {
            let (table, at) = segment.pack_block(row.pack);
            if let std::collections::btree_map::Entry::Vacant(entry) = packs.entry(table) {
                let opened = read(shop, name, &segment, table, |bytes| segment.open_packs(table, bytes).ok()).await?;
                entry.insert(opened.unwrap_or_default());
            }
            if let Some(pack) = packs[&table].get(at) {
                spots.push(Spot { id: row.id, pack: *pack, offset: row.offset, len: row.len });
            }
        }
    }
    Ok(spots)
}

async fn head(shop: &Shop, name: ObjectName) -> Result<Option<Segment>, Failure> {
    let Some(mut bytes) = get(shop, name, 0..HEAD_GUESS).await? else { return Ok(None) };
    let Ok(prefix) = Prefix::decode(&bytes) else { return Ok(None) };
    let end = prefix.head().end;
    if (bytes.len() as u64) < end {
        match get(shop, name, 0..end).await? {
            Some(more) => bytes = more,
            None => return Ok(None),
        }
    }
    let sealed_head = bytes.get(PREFIX_LEN..end as usize).unwrap_or_default();
    Ok(Segment::open(prefix, sealed_head, &shop.index_key).ok())
}

async fn read<T>(
    shop: &Shop,
    name: ObjectName,
    segment: &Segment,
    block: usize,
    open: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let Some(range) = segment.block_range(block) else { return Ok(None) };
    Ok(get(shop, name, range).await?.and_then(|bytes| open(&bytes)))
}

async fn get(shop: &Shop, name: ObjectName, range: std::ops::Range<u64>) -> Result<Option<bytes::Bytes>, Failure> {
    match shop.steward.get_range(&shop.segment(name).to_string(), range).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(unanswered(&error)),
    }
}
