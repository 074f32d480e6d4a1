//! Checking the chunks of files: that each is where the index says, and whole.

use std::{collections::BTreeSet, sync::Arc};

use protocol::{
    format::{
        chunk::ChunkRef,
        pack::{Row, TRAILER_LEN, Trailer},
        segment::PackRow,
    },
    ids::ChunkId,
};

use super::{Verifier, Wave, local};
use crate::{error::RepoError, snapshot::Snapshot};

/// Tables of contents kept in memory.
const TABLES_KEPT: usize = 16;
/// Chunks remembered as checked, so that snapshots that share them are checked
/// once: 64 MiB. Beyond that they are checked again.
const CHECKED_MAX: usize = 1 << 21;

impl Verifier {
    pub(super) async fn check(
        &mut self,
        wave: Wave,
        listed: Option<&BTreeSet<ChunkId>>,
        snapshot: &Snapshot,
    ) -> Result<(), RepoError> {
        if self.checked.len() + wave.chunks.len() > CHECKED_MAX {
            self.checked.clear();
        }
        let mut fresh: Vec<(ChunkRef, usize)> = Vec::new();
        for (reference, file) in &wave.chunks {
            self.listed(snapshot, listed, &reference.id, Some(&wave.files[*file]));
            if self.checked.insert(reference.id) {
                fresh.push((*reference, *file));
            }
        }
        self.report.chunks += fresh.len() as u64;
        self.resolve(&fresh, &wave.files).await?;
        if self.read_data {
            self.read(&fresh, &wave.files).await?;
        }
        for (reference, file) in &wave.chunks {
            if let Some(object) = self.bad.get(&reference.id).cloned() {
                self.damage(object, &RepoError::corrupt("damaged"), Some(&wave.files[*file]));
            }
        }
        Ok(())
    }

    fn blame(&mut self, id: ChunkId, object: String, error: &RepoError, file: &str) {
        self.damage(object.clone(), error, Some(file));
        self.bad.insert(id, object);
    }

    /// Finds the chunks in the index, and compares with the packs' own tables.
    async fn resolve(&mut self, fresh: &[(ChunkRef, usize)], files: &[String]) -> Result<(), RepoError> {
        // By id each block of the index is needed once, by place each table.
        let mut by_id = fresh.to_vec();
        by_id.sort_unstable_by_key(|(reference, _)| reference.id);
        let mut homes = Vec::with_capacity(fresh.len());
        for (reference, file) in by_id {
            match self.index.find(&reference.id).await? {
                Some(home) => homes.push((home, reference.id, file)),
                None => {
                    let error = RepoError::corrupt("it is in no index segment");
                    self.blame(reference.id, format!("chunk {}", reference.id), &error, &files[file]);
                }
            }
        }
        homes.sort_unstable_by_key(|(home, ..)| (home.pack.name, home.offset));
        for (home, id, file) in homes {
            let wanted = Row { id, offset: home.offset, len: home.len };
            let error = match self.table(&home.pack).await {
                Ok(rows) => {
                    let row = rows.binary_search_by_key(&home.offset, |row| row.offset).ok().map(|at| rows[at]);
                    if row == Some(wanted) {
                        continue;
                    }
                    RepoError::corrupt("its table of contents does not agree with the index")
                }
                Err(error) if local(&error) => error,
                Err(error) => return Err(error),
            };
            self.blame(id, self.context.keys.pack(home.pack.name).to_string(), &error, &files[file]);
        }
        Ok(())
    }

    async fn table(&mut self, pack: &PackRow) -> Result<Arc<Vec<Row>>, RepoError> {
        if let Some((_, rows)) = self.tables.iter().find(|(name, _)| *name == pack.name) {
            return Ok(rows.clone());
        }
        let key = self.context.keys.pack(pack.name);
        let len = u64::from(pack.len);
        let start = len.saturating_sub(u64::from(pack.tail_len));
        let tail = self.context.objects.get(&key, Some(start..len)).await?;
        let fail = |error| RepoError::decoding(key, error);
        let at = tail.len().saturating_sub(TRAILER_LEN);
        let trailer = Trailer::decode(&tail[at..], len).map_err(fail)?;
        if trailer.table.start != start {
            return Err(RepoError::corrupt("its table of contents is not where the index says"));
        }
        let rows = Arc::new(trailer.open_table(&self.context.keys.secrets.index, &tail[..at]).map_err(fail)?);
        if self.tables_read.insert(pack.name) {
            self.report.packs += 1;
        }
        self.tables.push_back((pack.name, rows.clone()));
        if self.tables.len() > TABLES_KEPT {
            self.tables.pop_front();
        }
        Ok(rows)
    }

    async fn read(&mut self, fresh: &[(ChunkRef, usize)], files: &[String]) -> Result<(), RepoError> {
        let refs: Vec<ChunkRef> = fresh.iter().map(|(reference, _)| *reference).collect();
        let mut fetched = self.fetcher.fetch(&refs).await?;
        self.progress.bytes_moved.add(fetched.bytes_fetched);
        for (reference, file) in fresh {
            match fetched.chunks.remove(&reference.id) {
                Some(Ok(plain)) => {
                    self.report.bytes_read += plain.len() as u64;
                    self.progress.bytes.add(plain.len() as u64);
                }
                Some(Err(error)) if !self.bad.contains_key(&reference.id) => {
                    let home = self.index.find(&reference.id).await?;
                    let object = home.map(|home| self.context.keys.pack(home.pack.name).to_string());
                    let object = object.unwrap_or_else(|| format!("chunk {}", reference.id));
                    self.blame(reference.id, object, &error, &files[*file]);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
