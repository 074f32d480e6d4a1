//! Makes an index segment of packs.

use bytes::Bytes;
use protocol::format::{
    pack::Row,
    segment::{self, PackRow},
};

use crate::context::Context;

/// A pack, and what is in it.
pub type PackContents = (PackRow, Vec<Row>);

/// The segment of these packs: its bytes are the same in whatever order they come.
pub async fn encode(context: &Context, mut packs: Vec<PackContents>) -> Bytes {
    let keys = context.keys.clone();
    let object_id = context.rng.array();
    let make = move || {
        packs.sort_unstable_by_key(|(pack, _)| pack.name);
        let rows = packs.iter().zip(0..).flat_map(|((_, rows), pack)| {
            rows.iter().map(move |row| segment::Row { id: row.id, pack, offset: row.offset, len: row.len })
        });
        let mut rows: Vec<segment::Row> = rows.collect();
        rows.sort_unstable();
        rows.dedup_by_key(|row| row.id);
        let packs: Vec<PackRow> = packs.into_iter().map(|(pack, _)| pack).collect();
        let index_key = &keys.secrets.index;
        segment::encode(keys.repository, keys.domain.id, &packs, &rows, index_key, &object_id, &keys.signer)
    };
    context.run(make).await.into()
}

/// Takes packs off the end of the list for one segment: until it has `rows_least` rows,
/// or all. A pack overshoots by fewer rows than a segment has room for.
pub fn take(packs: &mut Vec<PackContents>, rows_least: usize) -> Vec<PackContents> {
    let mut rows = 0;
    let wanted = packs.iter().rev().take_while(|(_, more)| {
        let wanted = rows < rows_least;
        rows += more.len();
        wanted
    });
    packs.split_off(packs.len() - wanted.count())
}
