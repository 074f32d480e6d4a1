//! Writes a run: sorted rows, cut into segments.

use std::collections::{BTreeMap, BTreeSet};

use env::store::StoreError;
use protocol::{
    commands::NewSegment,
    failure::Failure,
    format::segment::{self, PackRow, Row},
    ids::{ChunkId, Sha256},
    limits,
    names::ObjectName,
};
use sha2::Digest as _;

use super::shop::{Shop, Spot, unanswered};

/// A run that is being written.
pub struct RunWriter<'a> {
    shop: &'a Shop,
    /// Rows that name these are kept only if a chunk has no other: they tell clients
    /// what they lost.
    condemned: BTreeSet<ObjectName>,
    /// The homes of the chunk that came last.
    homes: Vec<Spot>,
    rows: Vec<Spot>,
    segments: Vec<NewSegment>,
}

impl<'a> RunWriter<'a> {
    pub fn new(shop: &'a Shop) -> Self {
        Self { shop, condemned: shop.condemned(), homes: Vec::new(), rows: Vec::new(), segments: Vec::new() }
    }

    /// Adds a row. Rows come in the order of their chunks.
    pub async fn push(&mut self, spot: Spot) -> Result<(), Failure> {
        if self.homes.first().is_some_and(|last| last.id != spot.id) {
            self.close_chunk();
            if self.rows.len() >= limits::SEGMENT_ROWS_MAX {
                self.write().await?;
            }
        }
        // Whoever lies about one chunk a million times is not believed the second time.
        if self.homes.len() < 4 * limits::CHUNK_HOMES_MAX {
            self.homes.push(spot);
        }
        Ok(())
    }

    /// Writes what is left. What is published is these segments.
    pub async fn finish(mut self) -> Result<Vec<NewSegment>, Failure> {
        self.close_chunk();
        if !self.rows.is_empty() {
            self.write().await?;
        }
        Ok(self.segments)
    }

    fn close_chunk(&mut self) {
        let condemned = &self.condemned;
        self.homes.sort_unstable_by_key(|spot| (condemned.contains(&spot.pack.name), *spot));
        self.homes.dedup_by_key(|spot| spot.pack.name);
        let sound = self.homes.iter().take_while(|spot| !condemned.contains(&spot.pack.name)).count();
        self.homes.truncate(if sound > 0 { sound.min(limits::CHUNK_HOMES_MAX) } else { 1 });
        self.rows.append(&mut self.homes);
    }

    async fn write(&mut self) -> Result<(), Failure> {
        let rows = std::mem::take(&mut self.rows);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let (first, last, count) = (leading(&first.id), leading(&last.id), rows.len() as u64);
        let Shop { env, repository, domain, index_key, .. } = self.shop;
        let (repository, domain, index_key, object_id) = (*repository, *domain, *index_key, env.rng.array());
        let signer = self.shop.signer.clone();
        let encode = move || {
            let (packs, rows) = tables(rows);
            let bytes = segment::encode(repository, domain, &packs, &rows, &index_key, &object_id, &signer);
            let hash = Sha256(sha2::Sha256::digest(&bytes).into());
            (bytes, hash)
        };
        let (bytes, hash) = self.shop.run(encode).await;
        let name = ObjectName { lease: self.shop.claim, hash };
        match self.shop.steward.put_new(&self.shop.segment(name).to_string(), bytes.into()).await {
            Ok(()) | Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(unanswered(&error)),
        }
        self.segments.push(NewSegment { name, rows: count, first, last });
        Ok(())
    }
}

/// The pack table of these rows, and the rows by its numbers.
fn tables(spots: Vec<Spot>) -> (Vec<PackRow>, Vec<Row>) {
    let packs: BTreeMap<ObjectName, PackRow> = spots.iter().map(|spot| (spot.pack.name, spot.pack)).collect();
    let numbers: BTreeMap<ObjectName, u32> = packs.keys().copied().zip(0..).collect();
    let row = |Spot { id, pack, offset, len }| Row { id, pack: numbers[&pack.name], offset, len };
    let mut rows: Vec<Row> = spots.into_iter().map(row).collect();
    rows.sort_unstable();
    (packs.into_values().collect(), rows)
}

fn leading(id: &ChunkId) -> u32 {
    let [a, b, c, d, ..] = id.0;
    u32::from_be_bytes([a, b, c, d])
}
