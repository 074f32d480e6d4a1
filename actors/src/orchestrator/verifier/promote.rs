//! Among strangers: when a second member names a chunk, the pack of the first is
//! read, every chunk of it is hashed to its id, and from then on all may use it.
//!
//! Invariant: what is published for all members of a domain of strangers was read and
//! hashed here. A pack that promises what it does not have is condemned, and its
//! author named.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    failure::Failure,
    format::{pack, segment::PackRow},
    ids::{ChunkId, ClientId},
    names::ObjectName,
};

use super::{
    run::RunWriter,
    seek::seek,
    shop::{Read, Shop, Spot},
};

/// Packs after which what was read is published: a gigabyte that need not be read
/// again when this leader dies.
const PACKS_PER_PUBLICATION: usize = 64;

/// Publishes for all what this client's rows, sorted, have in common with others'.
/// Gives the rows back.
pub async fn promote(shop: &Shop, client: ClientId, rows: Vec<Spot>) -> Result<Vec<Spot>, Failure> {
    let mut ids: Vec<ChunkId> = rows.iter().map(|row| row.id).collect();
    ids.dedup();
    let shared = seek(shop, shop.published(Option::is_none), &ids).await?;
    let shared: BTreeSet<ChunkId> = shared.into_iter().map(|spot| spot.id).collect();
    ids.retain(|id| !shared.contains(id));
    let others = shop.published(|scope| scope.is_some_and(|scope| scope != client));
    let met = seek(shop, others, &ids).await?;
    let condemned = shop.condemned();
    let mut packs: BTreeMap<ObjectName, PackRow> = met.into_iter().map(|spot| (spot.pack.name, spot.pack)).collect();
    packs.retain(|name, _| !condemned.contains(name));
    let packs: Vec<PackRow> = packs.into_values().collect();
    for some in packs.chunks(PACKS_PER_PUBLICATION) {
        publish(shop, some).await?;
    }
    Ok(rows)
}

async fn publish(shop: &Shop, packs: &[PackRow]) -> Result<(), Failure> {
    let (mut rows, mut bad) = (Vec::new(), BTreeSet::new());
    for pack in packs {
        match spots(shop, pack).await? {
            Ok(more) => rows.extend(more),
            Err(reason) => {
                let key = shop.pack(pack.name);
                tracing::error!(%key, lease = %pack.name.lease, reason, "the client of this lease stored a false pack; it is condemned");
                bad.insert(pack.name);
            }
        }
    }
    shop.condemn(bad).await?;
    rows.sort_unstable();
    let mut writer = RunWriter::new(shop);
    for row in rows {
        writer.push(row).await?;
    }
    let mut publication = shop.publication(None);
    publication.segments = writer.finish().await?;
    match publication.segments.is_empty() {
        true => Ok(()),
        false => shop.publish(publication).await,
    }
}

/// The chunks of a pack, if all of them are in it; or why it is bad.
async fn spots(shop: &Shop, pack: &PackRow) -> Result<Result<Vec<Spot>, String>, Failure> {
    let bytes = match shop.read(shop.pack(pack.name)).await? {
        Read::Sound(bytes) => bytes,
        Read::Lost(reason) => return Ok(Err(reason)),
    };
    let (pack, index_key) = (*pack, shop.index_key);
    let check = move || {
        let rows = pack::open(&index_key, &bytes).map_err(|error| error.to_string())?;
        let spot = |row: pack::Row| {
            let sealed = bytes.get(row.offset as usize..row.offset as usize + row.len as usize).unwrap_or_default();
            match *blake3::hash(sealed).as_bytes() == row.id.0 {
                true => Ok(Spot { id: row.id, pack, offset: row.offset, len: row.len }),
                false => Err(format!("chunk {} is not where its table of contents says", row.id)),
            }
        };
        rows.into_iter().map(spot).collect()
    };
    Ok(shop.run(check).await)
}
