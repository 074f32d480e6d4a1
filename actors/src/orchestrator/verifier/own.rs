//! Publishing clients' own segments.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use probe::Plant;
use protocol::{
    codec::DecodeError,
    failure::Failure,
    format::{pack, segment::PackRow},
    ids::ClientId,
    limits,
    names::ObjectName,
};

use super::{
    promote,
    run::RunWriter,
    shop::{READS_IN_FLIGHT, Read, Shop, Spot, Whole},
    tables::{Table, table},
};

/// What became of an own segment.
enum Own {
    /// These of its rows are true, or name packs that are lost.
    Rows(Vec<Spot>),
    /// It is lost or damaged.
    Lost,
    /// It is not one, and never will be.
    False,
    /// It was written by a newer program.
    Unknown,
}

/// Publishes what is true of these segments in their place. Returns those that this
/// program cannot read.
pub async fn publish(
    shop: &Shop,
    scope: Option<ClientId>,
    own: Vec<(ClientId, ObjectName)>,
) -> Result<Vec<(ClientId, ObjectName)>, Failure> {
    let mut publication = shop.publication(scope);
    let (mut rows, mut lost, mut aside) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (client, name) in own {
        match read(shop, &client, name, &mut lost).await? {
            Own::Rows(more) => rows.extend(more),
            Own::Lost => {
                lost.insert(name);
                continue;
            }
            Own::False => {}
            Own::Unknown => {
                aside.push((client, name));
                continue;
            }
        }
        publication.covers_own.push((client, name));
        if rows.len() >= limits::SEGMENT_ROWS_MAX {
            break;
        }
    }
    // Before the rows that name them: a view never has one without the other.
    shop.condemn(lost).await?;
    let mut rows = shop.run(move || sorted(rows)).await;
    if let Some(client) = scope {
        rows = promote::promote(shop, client, rows).await?;
    }
    let mut writer = RunWriter::new(shop);
    for row in rows {
        writer.push(row).await?;
    }
    publication.segments = writer.finish().await?;
    if !publication.covers_own.is_empty() {
        shop.publish(publication).await?;
    }
    Ok(aside)
}

fn sorted(mut rows: Vec<Spot>) -> Vec<Spot> {
    rows.sort_unstable();
    rows
}

/// Reads one segment, and compares it with its packs' tables. Packs that turn out to be
/// lost are added to `lost`.
async fn read(
    shop: &Shop,
    client: &ClientId,
    name: ObjectName,
    lost: &mut BTreeSet<ObjectName>,
) -> Result<Own, Failure> {
    let key = shop.segment(name);
    let bytes = match shop.read(key).await? {
        Read::Sound(bytes) => bytes,
        Read::Lost(reason) => {
            tracing::warn!(%key, reason, "an index segment is condemned; it is made again from its packs");
            return Ok(Own::Lost);
        }
    };
    let index_key = shop.index_key;
    let opened = shop.run(move || open(bytes, &index_key)).await;
    let (whole, rows) = match opened {
        Ok(opened) => opened,
        Err(DecodeError::UnknownVersion { .. }) => {
            tracing::warn!(%key, "a newer program wrote this index segment: update this one");
            return Ok(Own::Unknown);
        }
        Err(error) => return Ok(denied(&key, client, &error.to_string())),
    };
    let head = whole.segment.head();
    if Some(*whole.segment.author()) != shop.commit_key(client) {
        return Ok(denied(&key, client, "another key than this client's signed it"));
    }
    if head.repository != shop.repository || head.domain != shop.domain {
        return Ok(denied(&key, client, "it was written for another repository or domain"));
    }
    compare(shop, client, rows, lost).await.map(Own::Rows)
}

fn open(bytes: bytes::Bytes, index_key: &[u8; 32]) -> Result<(Whole, Vec<Spot>), DecodeError> {
    let whole = Whole::open(bytes, index_key)?;
    let mut rows = Vec::new();
    for block in 0..whole.row_blocks() {
        rows.extend(whole.rows(block)?);
    }
    Ok((whole, rows))
}

/// Names the liar.
fn denied(key: &protocol::names::ObjectKey, client: &ClientId, reason: &str) -> Own {
    tracing::error!(%key, %client, reason, "a client committed an index segment that is none; it is left out");
    Own::False
}

/// The rows that agree with their packs' tables, and those of packs that are lost.
async fn compare(
    shop: &Shop,
    client: &ClientId,
    rows: Vec<Spot>,
    lost: &mut BTreeSet<ObjectName>,
) -> Result<Vec<Spot>, Failure> {
    let mut by_pack: BTreeMap<PackRow, Vec<Spot>> = BTreeMap::new();
    for row in rows {
        by_pack.entry(row.pack).or_default().push(row);
    }
    let condemned = shop.condemned();
    let mut tables = stream::iter(by_pack)
        .map(|(pack, rows)| {
            let known = condemned.contains(&pack.name);
            async move {
                let table = if known { Table::Bad("condemned".into()) } else { table(shop, &pack).await? };
                Ok::<_, Failure>((pack, rows, table))
            }
        })
        .buffered(READS_IN_FLIGHT);
    let mut agreed = Vec::new();
    while let Some((pack, mut rows, table)) = tables.next().await.transpose()? {
        let key = shop.pack(pack.name);
        match table {
            Table::Rows(table) => {
                let before = rows.len();
                rows.retain(|row| agrees(row, &table) || probe::planted(Plant::RowsUnchecked));
                if rows.len() < before {
                    let count = before - rows.len();
                    tracing::error!(%key, %client, count, "a client claims chunks that are not in its pack; they are left out");
                }
            }
            Table::Bad(reason) => {
                if lost.insert(pack.name) && !condemned.contains(&pack.name) {
                    tracing::warn!(%key, %client, reason, "a pack is condemned");
                }
            }
            Table::Other => {
                tracing::error!(%key, %client, "a client says what is not so about a pack; its rows are left out");
                rows.clear();
            }
        }
        agreed.extend(rows);
    }
    Ok(agreed)
}

fn agrees(row: &Spot, table: &[pack::Row]) -> bool {
    let wanted = pack::Row { id: row.id, offset: row.offset, len: row.len };
    table.binary_search_by_key(&row.offset, |row| row.offset).is_ok_and(|at| table[at] == wanted)
}
