//! Checking chunks: that each is where the index says, and whole.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use protocol::{
    format::{chunk::ChunkRef, pack::Row, segment::PackRow},
    ids::ChunkId,
};

use super::{
    Verifier, local,
    packs::read_table,
    report::{Cost, Thing, culprit},
    sample::Choice,
};
use crate::{error::RepoError, index::Home};

/// Chunks to be checked, and the files that need them.
#[derive(Default)]
pub struct Wave {
    /// Chunks of files.
    pub data: Vec<(ChunkRef, usize)>,
    /// Chunks of trees, which were read and opened already.
    pub trees: Vec<(ChunkId, usize)>,
    /// Paths.
    pub files: Vec<String>,
    /// Plaintext of `data`.
    pub len: usize,
}

/// A chunk that must be found.
struct Wanted {
    id: ChunkId,
    file: usize,
    /// Whether it is of a file, and not of a tree.
    is_data: bool,
}

impl Verifier {
    pub(super) async fn check(&mut self, wave: Wave) -> Result<(), RepoError> {
        let mut fresh: Vec<(ChunkRef, usize)> = Vec::new();
        for (reference, file) in &wave.data {
            self.expect_listed(&reference.id, Some(&wave.files[*file]));
            if self.checked.insert(&reference.id) {
                fresh.push((*reference, *file));
            }
        }
        self.report.chunks += fresh.len() as u64;
        let mut wanted: Vec<Wanted> =
            fresh.iter().map(|(reference, file)| Wanted { id: reference.id, file: *file, is_data: true }).collect();
        for (id, file) in &wave.trees {
            self.expect_listed(id, None);
            if self.checked.insert(id) {
                wanted.push(Wanted { id: *id, file: *file, is_data: false });
            }
        }
        self.resolve(wanted, &wave.files).await?;
        self.read(fresh, &wave.files).await?;
        for (reference, file) in &wave.data {
            if let Some(thing) = self.bad.get(&reference.id).cloned() {
                self.damage(&thing, &RepoError::corrupt("damaged"), Cost::Files, Some(&wave.files[*file]));
            }
        }
        Ok(())
    }

    fn expect_listed(&mut self, id: &ChunkId, file: Option<&str>) {
        if self.listed.as_ref().is_some_and(|listed| !listed.has(id)) {
            let error = RepoError::corrupt(format!("chunk {id} is in the tree, but not in the list"));
            let thing = Thing::Other(format!("reference list of snapshot {}", self.snapshot));
            self.damage(&thing, &error, Cost::Nothing, file);
        }
    }

    fn blame(&mut self, id: ChunkId, thing: Thing, error: &RepoError, file: &str) {
        self.damage(&thing, error, Cost::Files, Some(file));
        self.remember(id, thing);
    }

    fn remember(&mut self, id: ChunkId, thing: Thing) {
        if self.bad.len() < super::BAD_MAX {
            self.bad.insert(id, thing);
        }
    }

    /// Finds the chunks in the index, and compares with the packs' own tables.
    async fn resolve(&mut self, wanted: Vec<Wanted>, files: &[String]) -> Result<(), RepoError> {
        let ids: Vec<ChunkId> = wanted.iter().map(|wanted| wanted.id).collect();
        let homes = self.index.find_all(&ids).await?;
        let mut by_pack: BTreeMap<PackRow, Vec<(Home, Wanted)>> = BTreeMap::new();
        for (chunk, home) in wanted.into_iter().zip(homes) {
            match home {
                Some(home) => by_pack.entry(home.pack).or_default().push((home, chunk)),
                None => {
                    let unreadable = self.index.damaged_so_far();
                    let thing = culprit(&self.context.keys, &unreadable, &chunk.id.to_string());
                    let error = match unreadable.into_iter().next() {
                        Some((_, error)) => error,
                        None => RepoError::corrupt("it is in no index segment"),
                    };
                    self.blame(chunk.id, thing, &error, &files[chunk.file]);
                }
            }
        }
        let context = self.context.clone();
        let (known, unknown): (Vec<_>, Vec<_>) =
            by_pack.into_iter().partition(|(pack, _)| self.tables.get(&pack.name).is_some());
        for (pack, chunks) in known {
            if let Some(rows) = self.tables.get(&pack.name) {
                self.compare(&rows, chunks, files);
            }
        }
        let mut tables = stream::iter(unknown)
            .map(|(pack, chunks)| {
                let context = &context;
                async move { (pack, read_table(context, pack).await, chunks) }
            })
            .buffered(self.downloads);
        while let Some((pack, table, chunks)) = tables.next().await {
            self.report.packs += u64::from(self.met.insert(pack.name));
            if chunks.iter().any(|(_, chunk)| chunk.is_data)
                && self.chooser.choose(&pack.name, &*context.rng) == Choice::Chosen
            {
                self.report.reads(context.keys.pack(pack.name));
            }
            match table {
                Ok(rows) => {
                    let rows = Arc::new(rows);
                    self.tables.keep(pack.name, rows.clone());
                    self.compare(&rows, chunks, files);
                }
                Err(error) if local(&error) => {
                    let thing = Thing::Object(context.keys.pack(pack.name));
                    // The chunks may be whole all the same, if there is anything at all.
                    let cost = if error.kind == crate::error::Kind::NotFound { Cost::Files } else { Cost::Nothing };
                    for (_, chunk) in chunks {
                        self.damage(&thing, &error, cost, Some(&files[chunk.file]));
                        if cost == Cost::Files {
                            self.remember(chunk.id, thing.clone());
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn compare(&mut self, rows: &[Row], chunks: Vec<(Home, Wanted)>, files: &[String]) {
        for (home, Wanted { id, file, .. }) in chunks {
            let wanted = Row { id, offset: home.offset, len: home.len };
            let row = rows.binary_search_by_key(&home.offset, |row| row.offset).ok().map(|at| rows[at]);
            if row != Some(wanted) {
                let error = RepoError::corrupt("its table of contents does not agree with the index");
                self.blame(id, Thing::Object(self.context.keys.pack(home.pack.name)), &error, &files[file]);
            }
        }
    }

    /// Fetches and opens the chunks that are in chosen packs.
    async fn read(&mut self, fresh: Vec<(ChunkRef, usize)>, files: &[String]) -> Result<(), RepoError> {
        if self.read_data == super::ReadData::Nothing {
            return Ok(());
        }
        let ids: Vec<ChunkId> = fresh.iter().map(|(reference, _)| reference.id).collect();
        let homes = self.index.find_all(&ids).await?;
        let chosen = fresh.into_iter().zip(homes).filter_map(|(chunk, home)| {
            let pack = home?.pack.name;
            self.chooser.is_chosen(&pack).then_some((chunk, pack))
        });
        let chosen: Vec<_> = chosen.collect();
        let refs: Vec<ChunkRef> = chosen.iter().map(|((reference, _), _)| *reference).collect();
        let mut fetched = self.fetcher.fetch(&refs).await?;
        self.progress.bytes_moved.add(fetched.bytes_fetched);
        for (pack, error) in std::mem::take(&mut fetched.damaged) {
            self.damage(&Thing::Object(self.context.keys.pack(pack)), &error, Cost::Nothing, None);
        }
        for ((reference, file), pack) in chosen {
            match fetched.chunks.remove(&reference.id) {
                Some(Ok(plain)) => {
                    self.report.bytes_read += plain.len() as u64;
                    self.progress.bytes.add(plain.len() as u64);
                }
                Some(Err(error)) => {
                    self.blame(reference.id, Thing::Object(self.context.keys.pack(pack)), &error, &files[file]);
                }
                None => {}
            }
        }
        Ok(())
    }
}
