//! Puts sealed chunks into packs, and what they belong to into trees and the
//! reference list. Blocks and computes: runs a batch at a time on `Blocking`.
//!
//! Invariant: it takes batches in the order of the walk, so the same source gives
//! the same trees, list and order of chunks, however the work was scheduled.

use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use env::{Cache, Rng};
use probe::{Plant, Point};
use protocol::{
    format::{
        chunk::{ChunkRef, Under},
        content::{Content, ContentBuilder},
        list::{LeafBuilder, Page},
        manifest::Stats,
        tree::{Attributes, Blob, Entry, NodeBuilder, What, Xattr},
    },
    ids::{ChunkId, LeaseId, Sha256},
    limits,
    names::ObjectName,
};
use sha2::Digest as _;

use crate::{
    backup::{
        batch::{Item, SealedBatch, SealedChunk},
        hints::{Gathering, Hint},
        known::KnownChunks,
        ready::{OpenPack, Ready, ReadyKind},
    },
    buffers::Buffers,
    error::RepoError,
    keys::Keys,
    problems::Problems,
    seal::Sealer,
};

/// What an assembly is given.
pub struct AssemblyArguments {
    pub keys: Arc<Keys>,
    pub rng: Arc<dyn Rng>,
    pub cache: Arc<dyn Cache>,
    pub lease: LeaseId,
    /// Tree chunks known by their plaintext: those of the parent snapshot.
    pub known_trees: Arc<KnownChunks>,
    pub sealed_buffers: Arc<Buffers>,
    /// Tree chunks that a dead lease left in storage.
    pub left_trees: BTreeSet<ChunkId>,
    /// The leaves of the parent's reference list, by their hash.
    pub parent_leaves: BTreeMap<Sha256, ObjectName>,
}

/// Everything but the packs and the index, once the walk has ended.
pub struct Assembled {
    /// The nodes of the root directory.
    pub root: Content,
    /// The root page of the reference list.
    pub list: Option<ObjectName>,
    /// What it came to so far.
    pub stats: Stats,
    /// What could not be read.
    pub problems: Problems,
    /// Whether the walk came to its end.
    pub complete: bool,
    /// The last packs and pages.
    pub ready: Vec<Ready>,
}

/// The state.
pub struct Assembly {
    arguments: AssemblyArguments,
    sealer: Sealer,
    directories: Vec<Directory>,
    file: File,
    links: BTreeMap<(u64, u64), Linked>,
    data: OpenPack,
    trees: OpenPack,
    /// Chunks of this job whose index segment is not written yet.
    pending: BTreeSet<ChunkId>,
    leaf: LeafBuilder,
    leaves: Vec<ObjectName>,
    ready: Vec<Ready>,
    stats: Stats,
    problems: Problems,
    complete: bool,
}

#[derive(Default)]
struct Directory {
    name: Blob,
    attributes: Attributes,
    xattrs: Vec<Xattr>,
    nodes: NodeBuilder,
    content: ContentBuilder,
}

#[derive(Default)]
struct File {
    content: ContentBuilder,
    len: u64,
    /// None for one that is too short.
    hints: Option<Gathering>,
}

/// A file with names still to come.
struct Linked {
    names_left: u64,
    len: u64,
    content: Content,
    xattrs: Vec<Xattr>,
    unsettled: bool,
}

impl Assembly {
    /// Nothing yet; the root directory is open.
    pub fn new(arguments: AssemblyArguments) -> Result<Self, RepoError> {
        Ok(Self {
            sealer: Sealer::new(arguments.keys.domain.codec)?,
            arguments,
            directories: vec![Directory::default()],
            file: File::default(),
            links: BTreeMap::new(),
            data: OpenPack::new(limits::PACK_BYTES_TARGET),
            trees: OpenPack::new(limits::TREE_PACK_BYTES_TARGET),
            pending: BTreeSet::new(),
            leaf: LeafBuilder::default(),
            leaves: Vec::new(),
            ready: Vec::new(),
            stats: Stats::default(),
            problems: Problems::default(),
            complete: true,
        })
    }

    /// Takes the next batch of the row; returns the objects that it completed.
    pub fn absorb(&mut self, batch: SealedBatch) -> Result<Vec<Ready>, RepoError> {
        let SealedBatch { sealed, chunks, items, items_len, problems, mut credit, .. } = batch;
        self.problems.merge(problems);
        if let Some(credit) = credit.split(items_len.min(credit.num_permits())) {
            self.trees.take_credit(credit);
        }
        self.data.take_credit(credit);
        let mut chunks = chunks.into_iter();
        for item in items {
            match item {
                Item::Chunk => {
                    let chunk = chunks.next().ok_or_else(|| RepoError::internal("a batch lacks a chunk"))?;
                    self.chunk(chunk, &sealed)?;
                }
                item => self.item(item)?,
            }
        }
        self.arguments.sealed_buffers.give(sealed);
        self.data.trim_credit();
        self.trees.trim_credit();
        Ok(std::mem::take(&mut self.ready))
    }

    /// Closes everything.
    pub fn finish(mut self) -> Result<Assembled, RepoError> {
        let root = self.directories.pop().filter(|_| self.directories.is_empty());
        let root = root.ok_or_else(|| RepoError::internal("a directory was not closed"))?;
        let root = self.close(root)?.1;
        self.close_pack(false);
        self.close_pack(true);
        if let Some(page) = self.leaf.finish() {
            let name = self.page(&page);
            self.leaves.push(name);
        }
        let leaves = std::mem::take(&mut self.leaves);
        if leaves.len() > protocol::format::list::LEAVES_MAX {
            return Err(RepoError::invalid("the backup has more chunks than a reference list can name: split it"));
        }
        let list = if leaves.is_empty() { None } else { Some(self.page(&Page::Root(leaves))) };
        self.stats.problems = self.problems.count;
        let Self { stats, problems, complete, ready, .. } = self;
        Ok(Assembled { root, list, stats, problems, complete, ready })
    }

    /// Forgets chunks that an index segment now has.
    pub fn settle<'a>(&mut self, ids: impl Iterator<Item = &'a ChunkId>) {
        ids.for_each(|id| {
            self.pending.remove(id);
        });
    }

    fn item(&mut self, item: Item) -> Result<(), RepoError> {
        match item {
            Item::Enter { name, attributes, xattrs } => {
                self.directories.push(Directory { name, attributes, xattrs, ..Directory::default() });
            }
            Item::Leave => {
                let directory = self.directories.pop().ok_or_else(|| RepoError::internal("no directory to leave"))?;
                let (mut entry, content) = self.close(directory)?;
                entry.what = What::Directory { content };
                self.stats.directories += 1;
                self.entry(entry)?;
            }
            Item::Begin(name) => self.file.hints = Some(Gathering::new(self.path_of(&name))),
            Item::Chunk => {}
            Item::Hole(len) => self.hole(len)?,
            Item::Abort => self.file = File::default(),
            Item::Cut => self.complete = false,
            Item::End { entry, linked } => self.end_file(entry, linked)?,
            Item::Needs(ids) => ids.into_iter().for_each(|id| self.list(id)),
            Item::Whole { entry, linked } => self.whole(entry, linked)?,
            Item::Link(entry) => self.link(entry)?,
            Item::Skipped(skipped) => {
                self.stats.excluded += skipped.excluded;
                self.stats.vanished += skipped.vanished;
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: SealedChunk, sealed: &[u8]) -> Result<(), RepoError> {
        let SealedChunk { reference, hash, fresh } = chunk;
        self.stats.bytes_read += u64::from(reference.len);
        if let Some(range) = fresh
            && self.pending.insert(reference.id)
        {
            self.data.reserve();
            self.data.writer.push(reference.id, &sealed[range]);
            self.count_new(&reference);
            if self.data.is_full() {
                self.close_pack(false);
            }
        }
        self.list(reference.id);
        let mut file = std::mem::take(&mut self.file);
        if let Some(hints) = &mut file.hints
            && let Some((name, page)) = hints.push(&self.arguments.keys, file.len, Hint { hash, reference })
        {
            self.arguments.cache.insert(name, page);
        }
        file.len += u64::from(reference.len);
        file.content.push(reference, &mut |block| self.tree_chunk(block))?;
        self.file = file;
        Ok(())
    }

    fn hole(&mut self, len: u64) -> Result<(), RepoError> {
        let mut file = std::mem::take(&mut self.file);
        let mut left = len;
        while left > 0 {
            let piece = u32::try_from(left).map_or(limits::HOLE_BYTES_MAX, |left| left.min(limits::HOLE_BYTES_MAX));
            file.content.push(ChunkRef::hole(piece), &mut |block| self.tree_chunk(block))?;
            left -= u64::from(piece);
        }
        file.len += len;
        self.file = file;
        Ok(())
    }

    fn end_file(&mut self, mut entry: Entry, linked: bool) -> Result<(), RepoError> {
        let file = std::mem::take(&mut self.file);
        let whole = file.content.finish(&mut |block| self.tree_chunk(block))?;
        if let What::File { content, .. } = &mut entry.what {
            *content = whole;
        }
        if let Some((name, page)) = file.hints.and_then(|mut hints| hints.page(&self.arguments.keys)) {
            self.arguments.cache.insert(name, page);
        }
        self.file_entry(entry, linked, false)
    }

    fn whole(&mut self, entry: Entry, linked: bool) -> Result<(), RepoError> {
        match &entry.what {
            What::File { content, .. } => {
                if content.depth == 0 {
                    let chunks = content.refs.iter().filter(|reference| !reference.is_hole());
                    chunks.for_each(|reference| self.list(reference.id));
                }
                self.file_entry(entry, linked, true)
            }
            _ => {
                self.stats.others += 1;
                self.entry(entry)
            }
        }
    }

    fn file_entry(&mut self, entry: Entry, linked: bool, unchanged: bool) -> Result<(), RepoError> {
        if let What::File { len, content } = &entry.what {
            self.stats.files += 1;
            self.stats.files_unchanged += u64::from(unchanged);
            self.stats.bytes_source += len;
            if linked {
                let Entry { attributes, xattrs, unsettled, .. } = &entry;
                let linked = Linked {
                    names_left: attributes.links - 1,
                    len: *len,
                    content: content.clone(),
                    xattrs: xattrs.clone(),
                    unsettled: *unsettled,
                };
                self.links.insert((attributes.device, attributes.inode), linked);
            }
        }
        self.entry(entry)
    }

    fn link(&mut self, mut entry: Entry) -> Result<(), RepoError> {
        let key = (entry.attributes.device, entry.attributes.inode);
        let first = self.links.get_mut(&key);
        let first = first.ok_or_else(|| RepoError::internal("a hard link came before its file"))?;
        entry.unsettled = first.unsettled;
        entry.xattrs.clone_from(&first.xattrs);
        entry.what = What::File { len: first.len, content: first.content.clone() };
        first.names_left = first.names_left.saturating_sub(1);
        if first.names_left == 0 {
            self.links.remove(&key);
        }
        self.stats.files += 1;
        self.entry(entry)
    }

    fn entry(&mut self, entry: Entry) -> Result<(), RepoError> {
        let mut directory =
            self.directories.pop().ok_or_else(|| RepoError::internal("an entry without a directory"))?;
        if let Some(node) = directory.nodes.push(&entry) {
            let reference = self.tree_chunk(&node)?;
            directory.content.push(reference, &mut |block| self.tree_chunk(block))?;
        }
        self.directories.push(directory);
        Ok(())
    }

    fn close(&mut self, mut directory: Directory) -> Result<(Entry, Content), RepoError> {
        if let Some(node) = directory.nodes.finish() {
            let reference = self.tree_chunk(&node)?;
            directory.content.push(reference, &mut |block| self.tree_chunk(block))?;
        }
        let content = directory.content.finish(&mut |block| self.tree_chunk(block))?;
        let Directory { name, attributes, xattrs, .. } = directory;
        let what = What::Directory { content: Content::default() };
        Ok((Entry { name, attributes, unsettled: false, xattrs, what }, content))
    }

    /// Stores a node or a block of references, unless the parent or this job has it.
    fn tree_chunk(&mut self, plain: &[u8]) -> Result<ChunkRef, RepoError> {
        let keys = self.arguments.keys.clone();
        let hash = *blake3::keyed_hash(&keys.secrets.plaintext_hash, plain).as_bytes();
        if let Some(known) = self.arguments.known_trees.get(&hash) {
            self.list(known.reference.id);
            return Ok(known.reference);
        }
        let mut sealed = Vec::new();
        let reference = self.sealer.seal(keys.chunk_key(Under::Own)?, Under::Own, plain, &mut sealed);
        if !self.arguments.left_trees.contains(&reference.id) && self.pending.insert(reference.id) {
            self.trees.writer.push(reference.id, &sealed);
            self.count_new(&reference);
        }
        self.arguments.cache.insert(reference.id.0, sealed.into());
        self.arguments.known_trees.insert(hash, reference, false);
        self.list(reference.id);
        if self.trees.is_full() || probe::buggify(Point::PackEarly) {
            self.close_pack(true);
        }
        Ok(reference)
    }

    fn count_new(&mut self, reference: &ChunkRef) {
        self.stats.chunks_new += 1;
        self.stats.bytes_new += u64::from(reference.len);
    }

    fn close_pack(&mut self, trees: bool) {
        let pack = if trees { &mut self.trees } else { &mut self.data };
        if pack.writer.is_empty() {
            return;
        }
        let object_id = match probe::planted(Plant::ObjectIdRepeats) {
            true => [7; 32],
            false => self.arguments.rng.array(),
        };
        self.ready.push(pack.close(&self.arguments.keys.secrets.index, &object_id, trees));
    }

    fn list(&mut self, id: ChunkId) {
        if let Some(page) = self.leaf.push(id) {
            let name = self.page(&page);
            self.leaves.push(name);
        }
    }

    /// Names a page, and has it written unless the parent has the same.
    fn page(&mut self, page: &Page) -> ObjectName {
        let bytes = page.seal(&self.arguments.keys.secrets.list);
        let hash = Sha256(sha2::Sha256::digest(&bytes).into());
        if let Some(name) = self.arguments.parent_leaves.get(&hash) {
            return *name;
        }
        self.ready.push(Ready { kind: ReadyKind::Page, bytes: bytes.into(), credit: None });
        ObjectName { lease: self.arguments.lease, hash }
    }

    fn path_of(&self, name: &Blob) -> Vec<u8> {
        let names = self.directories.iter().skip(1).map(|directory| &directory.name).chain([name]);
        names.fold(Vec::new(), |mut path, name| {
            path.push(b'/');
            path.extend_from_slice(&name.0);
            path
        })
    }
}
