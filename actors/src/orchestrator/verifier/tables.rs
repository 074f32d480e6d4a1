//! Packs' own tables of contents.

use env::store::StoreError;
use protocol::{
    failure::Failure,
    format::{
        pack::{Row, TRAILER_LEN, Trailer},
        segment::PackRow,
    },
};

use super::shop::{Shop, unanswered};

/// What a pack's table is.
pub enum Table {
    /// These are its chunks, by their offset.
    Rows(Vec<Row>),
    /// The pack is lost, damaged or false: this node has seen it.
    Bad(String),
    /// The pack is sound, but it is not what the segment says of it.
    Other,
}

/// Reads the table of a pack of which a segment says how long it is.
pub async fn table(shop: &Shop, pack: &PackRow) -> Result<Table, Failure> {
    let (len, tail_len) = (u64::from(pack.len), u64::from(pack.tail_len));
    let range = len.saturating_sub(tail_len)..len;
    let tail = match shop.steward.get_range(&shop.pack(pack.name).to_string(), range.clone()).await {
        Ok(tail) => tail,
        // Some storages refuse a range that begins behind the end.
        Err(StoreError::NotFound { .. } | StoreError::Refused { .. } | StoreError::Invalid { .. }) => {
            bytes::Bytes::new()
        }
        Err(error) => return Err(unanswered(&error)),
    };
    if let Some(rows) = open(shop, &tail, range.start, len) {
        return Ok(Table::Rows(rows));
    }
    Ok(match shop.judge(pack.name).await? {
        Some(reason) => Table::Bad(reason),
        None => Table::Other,
    })
}

fn open(shop: &Shop, tail: &[u8], start: u64, len: u64) -> Option<Vec<Row>> {
    let at = tail.len().checked_sub(TRAILER_LEN)?;
    let trailer =
        Trailer::decode(&tail[at..], len).ok().filter(|trailer| trailer.table == (start..start + at as u64))?;
    trailer.open_table(&shop.index_key, &tail[..at]).ok()
}
