//! The ends of packs: header, table of contents and trailer.

use std::{collections::VecDeque, sync::Arc};

use protocol::{
    format::{
        HEADER_LEN,
        pack::{self, Row, TRAILER_LEN, Trailer},
        segment::PackRow,
    },
    names::ObjectName,
};

use crate::{context::Context, error::RepoError};

/// Rows of tables of contents that are kept in memory: 16 MiB.
const ROWS_KEPT_MAX: usize = 400 << 10;

/// Tables of contents that were read last.
#[derive(Default)]
pub struct Tables {
    kept: VecDeque<(ObjectName, Arc<Vec<Row>>)>,
    rows: usize,
}

impl Tables {
    /// The table of a pack, if it is kept.
    pub fn get(&self, pack: &ObjectName) -> Option<Arc<Vec<Row>>> {
        self.kept.iter().find(|(name, _)| name == pack).map(|(_, rows)| rows.clone())
    }

    /// Keeps a table, and lets the oldest go.
    pub fn keep(&mut self, pack: ObjectName, rows: Arc<Vec<Row>>) {
        self.rows += rows.len();
        self.kept.push_back((pack, rows));
        while self.rows > ROWS_KEPT_MAX && self.kept.len() > 1 {
            self.rows -= self.kept.pop_front().map_or(0, |(_, rows)| rows.len());
        }
    }
}

/// Reads both ends of a pack, and checks them against each other and against what the
/// index says of it.
pub async fn read_table(context: &Context, pack: PackRow) -> Result<Vec<Row>, RepoError> {
    let key = context.keys.pack(pack.name);
    let len = u64::from(pack.len);
    let start = len.saturating_sub(u64::from(pack.tail_len));
    let fail = |error| RepoError::decoding(key, error);
    let (head, tail) = futures_util::future::try_join(
        context.objects.get(&key, Some(0..HEADER_LEN as u64)),
        context.objects.get(&key, Some(start..len)),
    )
    .await?;
    pack::check_head(&head, len).map_err(fail)?;
    let at = tail.len().saturating_sub(TRAILER_LEN);
    let trailer = Trailer::decode(&tail[at..], len).map_err(fail)?;
    if trailer.table.start != start {
        return Err(RepoError::corrupt(format!("{key}: its table of contents is not where the index says")));
    }
    trailer.open_table(&context.keys.secrets.index, &tail[..at]).map_err(fail)
}
