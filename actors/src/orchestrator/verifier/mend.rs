//! Making up for an own segment that was lost before it was published: the packs of
//! its lease are still there, and say themselves what is in them.

use futures_util::{StreamExt as _, stream};
use protocol::{
    failure::Failure,
    format::{
        pack::{TRAILER_LEN, Trailer},
        segment::PackRow,
    },
    ids::{ClientId, LeaseId},
    limits,
    names::{ObjectKey, Place},
};

use super::{
    run::RunWriter,
    shop::{READS_IN_FLIGHT, Shop, Spot, unanswered},
};

/// Indexes the packs of a lease again.
pub async fn mend(shop: &Shop, scope: Option<ClientId>, lost: (ClientId, LeaseId)) -> Result<(), Failure> {
    let prefix = format!("domain/{}/pack", shop.domain);
    // All packs of the domain are listed, as names are spread; it is rarely done.
    let listed = shop.steward.list(&prefix).await.map_err(|error| unanswered(&error))?;
    let packs = listed.into_iter().filter_map(|(path, len)| {
        let key: ObjectKey = path.parse().ok()?;
        let len = u32::try_from(len).ok().filter(|len| *len as usize <= limits::OBJECT_BYTES_MAX)?;
        (key.place == Place::Pack(shop.domain) && key.name.lease == lost.1).then_some((key, len))
    });
    let mut tables =
        stream::iter(packs.collect::<Vec<_>>()).map(|(key, len)| spots(shop, key, len)).buffered(READS_IN_FLIGHT);
    let mut rows = Vec::new();
    while let Some(more) = tables.next().await.transpose()? {
        rows.extend(more);
    }
    rows.sort_unstable();
    let mut writer = RunWriter::new(shop);
    for row in rows {
        writer.push(row).await?;
    }
    let mut publication = shop.publication(scope);
    publication.segments = writer.finish().await?;
    publication.mends = vec![lost];
    shop.publish(publication).await
}

/// What is in a pack; nothing if it is damaged.
async fn spots(shop: &Shop, key: ObjectKey, len: u32) -> Result<Vec<Spot>, Failure> {
    let read = |start: u64, end: u64| {
        let path = key.to_string();
        async move { shop.steward.get_range(&path, start..end).await.map_err(|error| unanswered(&error)) }
    };
    let Some(at) = u64::from(len).checked_sub(TRAILER_LEN as u64) else { return Ok(Vec::new()) };
    let Ok(trailer) = Trailer::decode(&read(at, len.into()).await?, len.into()) else { return Ok(Vec::new()) };
    let table = read(trailer.table.start, trailer.table.end).await?;
    let Ok(rows) = trailer.open_table(&shop.index_key, &table) else { return Ok(Vec::new()) };
    let tail_len = len - trailer.table.start as u32;
    let pack = PackRow { name: key.name, len, tail_len };
    Ok(rows.into_iter().map(|row| Spot { id: row.id, pack, offset: row.offset, len: row.len }).collect())
}
