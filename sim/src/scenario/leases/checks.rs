//! What a checker sees from outside: the storage and the disks.

use std::ops::Range;

use anyhow::{Context, ensure};
use protocol::{
    format::segment::{PackRow, Prefix, Row, Segment},
    names::Place,
};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::Script;
use crate::{
    env::store::address,
    scenario::{stage::ORCHESTRATORS, swarm::nodes},
    world::{World, open_durable},
};

/// I11: where a published segment says that a chunk is, there are bytes that hash to its id.
pub fn invariant_published_rows_are_true(world: &World, script: &Script) -> anyhow::Result<()> {
    let storage = script.storage.as_ref().context("a storage")?;
    let object = |key: protocol::names::ObjectKey| world.store().object(&address(storage, &key.to_string()));
    for (domain, name) in &script.published {
        let index_key = script.index_keys.get(domain).context("an index key")?;
        let bytes =
            object(Place::Index(*domain).object(*name)).with_context(|| format!("{name} is published and gone"))?;
        for (pack, row) in rows(&bytes, index_key)? {
            let Some(pack) = object(Place::Pack(*domain).object(pack.name)) else { continue };
            let range = row.offset as usize..row.offset as usize + row.len as usize;
            let is_there = pack.get(range).is_some_and(|sealed| *blake3::hash(sealed).as_bytes() == row.id.0);
            ensure!(is_there, "I11: published segment {name} says where chunk {} is, and it is not there", row.id);
        }
    }
    Ok(())
}

/// All rows of a segment, with their packs.
fn rows(bytes: &[u8], index_key: &[u8; 32]) -> anyhow::Result<Vec<(PackRow, Row)>> {
    let part = |range: Range<u64>| bytes.get(range.start as usize..range.end as usize).context("a segment that is cut");
    let prefix = Prefix::decode(bytes)?;
    let head = part(prefix.head())?;
    let segment = Segment::open(prefix, head, index_key)?;
    let mut rows = Vec::new();
    for block in 0..segment.head().blocks.len() {
        for row in segment.open_block(block, part(segment.block_range(block).context("a block")?)?)? {
            let (block, place) = segment.pack_block(row.pack);
            let packs = segment.open_packs(block, part(segment.block_range(block).context("a block")?)?)?;
            rows.push((*packs.get(place).context("a pack")?, row));
        }
    }
    Ok(rows)
}

/// I3: a disk that has entries of a term has a vote of that term or a later one; without
/// it, its voter could vote in that term once more.
pub fn invariant_votes_cover_the_log(world: &World) -> anyhow::Result<()> {
    const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    // Entries and votes both begin with their term.
    let term = |bytes: &[u8]| postcard::take_from_bytes::<u64>(bytes).map(|(term, _)| term);
    for node in nodes(0..ORCHESTRATORS) {
        let disk = world.disk(node).context("an orchestrator has a disk")?;
        let Some(log) = open_durable(disk, "log")? else { continue };
        let transaction = log.begin_read()?;
        let Some(last) = transaction.open_table(ENTRIES)?.last()?.map(|(_, bytes)| term(bytes.value())).transpose()?
        else {
            continue;
        };
        let vote = transaction.open_table(META)?.get("vote")?.map(|bytes| term(bytes.value())).transpose()?;
        ensure!(vote >= Some(last), "I3: {node} has entries of term {last}, and has voted in {vote:?}");
    }
    Ok(())
}
