//! Merging runs into one.
//!
//! One segment of each run is in memory at a time, and the one that is being
//! written: 25 MiB each at the very most.

use std::{collections::BTreeSet, vec};

use probe::Plant;
use protocol::{failure::Failure, ids::ClientId, names::ObjectName};

use super::{
    run::RunWriter,
    shop::{Read, Shop, Spot, Whole},
};

/// Rows that are merged before others have their turn on this thread.
const ROWS_PER_TURN: usize = 4096;

/// Merges these runs, and publishes what comes out in their place.
pub async fn merge(shop: &Shop, scope: Option<ClientId>, runs: Vec<Vec<ObjectName>>) -> Result<(), Failure> {
    probe::sometimes("index segments are merged");
    let covers = runs.concat();
    let mut cursors = Vec::with_capacity(runs.len());
    let mut lost = BTreeSet::new();
    for run in runs {
        cursors.push(Cursor::begin(shop, run, &mut lost).await?);
    }
    let mut writer = RunWriter::new(shop);
    let mut rows = 0;
    while lost.is_empty()
        && let Some(least) = cursors.iter_mut().filter(|cursor| cursor.spot.is_some()).min_by_key(|cursor| cursor.spot)
    {
        if let Some(spot) = least.spot {
            writer.push(spot).await?;
        }
        least.advance(shop, &mut lost).await?;
        rows += 1;
        if rows % ROWS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    if !lost.is_empty() {
        // What was written is garbage. The clients' own segments are published again.
        return shop.condemn(lost).await;
    }
    let mut publication = shop.publication(scope);
    publication.segments = writer.finish().await?;
    publication.covers = covers;
    shop.publish(publication).await
}

/// A place in a run.
struct Cursor {
    names: vec::IntoIter<ObjectName>,
    whole: Option<(Whole, usize)>,
    rows: vec::IntoIter<Spot>,
    spot: Option<Spot>,
}

impl Cursor {
    async fn begin(shop: &Shop, run: Vec<ObjectName>, lost: &mut BTreeSet<ObjectName>) -> Result<Self, Failure> {
        let mut cursor = Self { names: run.into_iter(), whole: None, rows: Vec::new().into_iter(), spot: None };
        cursor.advance(shop, lost).await?;
        Ok(cursor)
    }

    /// Goes to the next row. A segment that cannot be read is added to `lost`.
    async fn advance(&mut self, shop: &Shop, lost: &mut BTreeSet<ObjectName>) -> Result<(), Failure> {
        loop {
            if let Some(spot) = self.rows.next() {
                if self.spot.is_some_and(|last| last.id > spot.id) {
                    return Err(Failure::internal("the segments of a run are not in order"));
                }
                self.spot = Some(spot);
                return Ok(());
            }
            match self.whole.take() {
                Some((whole, block)) if block < whole.row_blocks() => {
                    // It was read whole under its name, and this program wrote it.
                    let mut rows = whole.rows(block)?;
                    if probe::planted(Plant::LastRowDropped) {
                        rows.pop();
                    }
                    self.rows = rows.into_iter();
                    self.whole = Some((whole, block + 1));
                }
                _ => {
                    let Some(name) = self.names.next() else {
                        self.spot = None;
                        return Ok(());
                    };
                    match shop.read(shop.segment(name)).await? {
                        Read::Sound(bytes) => self.whole = Some((Whole::open(bytes, &shop.index_key)?, 0)),
                        Read::Lost(reason) => {
                            tracing::warn!(segment = %name, reason, "a published index segment is condemned");
                            lost.insert(name);
                        }
                    }
                }
            }
        }
    }
}
