//! The walk: reads directories and files, cuts them, and fills batches.
//!
//! It blocks, so it runs a step at a time on `Blocking`, and keeps everything in
//! itself between steps. What it needs of the parent snapshot or the cache it
//! asks for, and goes on when that was supplied.
//!
//! Invariant: no step fails. What cannot be read is a problem of that path alone.

mod reading;
mod taking;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::{
    Clock, Files,
    files::{Kind, Metadata},
};
use protocol::{
    format::{
        chunk::ChunkRef,
        content::Content,
        tree::{Attributes, Blob, Entry, What},
    },
    limits,
};

use self::{
    reading::Open,
    taking::{Taking, unchanged},
};
use crate::{
    backup::{
        batch::{Batch, Item},
        parent::{Lookup, ParentDirectory},
        plan::Plan,
    },
    buffers::Buffers,
    chunker::Cutter,
    keys::Keys,
    paths,
    problems::Problems,
    progress::Progress,
};

/// What an item is taken to weigh, beside what it holds.
const ITEM_LEN: usize = 256;

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// A batch is full, or the walk has ended.
    Batch(Batch),
    /// Something must be supplied before the next step.
    Need(Need),
}

/// What the walk cannot get by itself.
#[derive(Debug, Clone)]
pub enum Need {
    /// A node of the parent's tree.
    Node(ChunkRef),
    /// A block of references of the parent's tree.
    Block(ChunkRef),
    /// The hints of one window of a file are to be looked up.
    Hints {
        /// The file's path.
        path: Vec<u8>,
        /// The window.
        window: u64,
    },
}

/// The answer to a [`Need`]; None if it cannot be read.
#[derive(Debug)]
pub enum Supply {
    /// The node.
    Node(Option<Vec<Entry>>),
    /// The block.
    Block(Option<Vec<ChunkRef>>),
    /// The hints were looked up.
    Hints,
}

/// The walk.
pub struct Scanner {
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    keys: Arc<Keys>,
    cutter: Cutter,
    buffers: Arc<Buffers>,
    progress: Arc<Progress>,
    stack: Vec<Frame>,
    open: Option<Open>,
    taking: Option<Taking>,
    links: BTreeSet<(u64, u64)>,
    filling: Batch,
    filled: usize,
    ended: bool,
}

/// A directory being walked.
struct Frame {
    path: PathBuf,
    names: std::iter::Peekable<std::vec::IntoIter<(Blob, Plan)>>,
    /// Whether the names are a person's, not the directory's own.
    named: bool,
    parent: Option<ParentDirectory>,
}

impl Scanner {
    /// A walk of what `plan` says, along the root directory of the parent snapshot.
    pub fn new(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        keys: Arc<Keys>,
        cutter: Cutter,
        buffers: Arc<Buffers>,
        progress: Arc<Progress>,
        plan: Plan,
        parent: Option<Content>,
    ) -> Self {
        let mut scanner = Self {
            files,
            clock,
            keys,
            cutter,
            buffers,
            progress,
            stack: Vec::new(),
            open: None,
            taking: None,
            links: BTreeSet::new(),
            filling: empty_batch(0),
            filled: 0,
            ended: false,
        };
        scanner.enter(PathBuf::from("/"), plan, parent);
        scanner
    }

    /// Bytes of the largest batch: two of the longest chunks always fit.
    pub fn batch_len_max(&self) -> usize {
        limits::BATCH_BYTES.max(2 * self.cutter.max())
    }

    /// Goes on until a batch is full, something is needed, or the walk has ended.
    pub fn step(&mut self) -> Step {
        if self.filling.data.is_empty() {
            self.start_batch();
        }
        loop {
            if self.taking.is_some() {
                if let Some(step) = self.take_over() {
                    return step;
                }
            } else if let Some(open) = self.open.take() {
                if let Some(step) = self.read(open) {
                    return step;
                }
            } else if self.ended
                || self.filled >= limits::BATCH_BYTES
                || self.filling.items.len() >= limits::BATCH_ITEMS_MAX
            {
                return Step::Batch(self.end_batch(0));
            } else if let Some(step) = self.walk() {
                return step;
            }
        }
    }

    /// Supplies what the last step needed.
    pub fn supply(&mut self, supply: Supply) {
        match supply {
            Supply::Node(entries) => {
                if let Some(parent) = self.stack.last_mut().and_then(|frame| frame.parent.as_mut()) {
                    parent.supply_node(entries);
                }
            }
            Supply::Block(refs) => match (&mut self.taking, refs) {
                (Some(taking), Some(refs)) => {
                    let level = taking.stack.last().map_or(0, |(_, level, _)| level.saturating_sub(1));
                    let block = taking.ids.pop();
                    taking.stack.push((block, level, refs.into_iter()));
                }
                // The parent's list cannot be read, so the file is, again.
                (Some(_), None) => {
                    let name = self.taking.take().map(|taking| taking.entry.name);
                    self.reread(name);
                }
                (None, refs) => {
                    if let Some(parent) = self.stack.last_mut().and_then(|frame| frame.parent.as_mut()) {
                        parent.supply_block(refs);
                    }
                }
            },
            Supply::Hints => {}
        }
    }

    fn start_batch(&mut self) {
        let mut data = self.buffers.take();
        let len = self.batch_len_max();
        if data.len() != len {
            data.resize(len, 0);
        }
        self.filling.data = data;
        self.filled = 0;
    }

    /// Closes the batch; `carry` bytes at its end go to the next.
    fn end_batch(&mut self, carry: usize) -> Batch {
        let mut batch = std::mem::replace(&mut self.filling, empty_batch(0));
        self.filling.number = batch.number + 1;
        let kept = self.filled - carry;
        let filled = self.filled;
        if carry > 0 {
            self.start_batch();
            self.filling.data[..carry].copy_from_slice(&batch.data[kept..filled]);
        }
        self.filled = carry;
        batch.last = self.ended;
        batch
    }

    fn item(&mut self, item: Item, more_len: usize) {
        self.filling.items.push(item);
        self.filling.items_len += ITEM_LEN + more_len;
    }

    fn problem(&mut self, path: &Path, reason: impl Into<String>) {
        self.filling.problems.add(path, reason);
        self.progress.problems.add(1);
    }

    fn enter(&mut self, path: PathBuf, plan: Plan, parent: Option<Content>) {
        let named = matches!(plan, Plan::Only(_));
        let names = match plan {
            Plan::Only(names) => names.into_iter().collect(),
            Plan::Whole => match self.files.read_dir(&path) {
                Ok(names) => {
                    let mut names: Vec<_> = names.iter().map(|name| (paths::blob(name), Plan::Whole)).collect();
                    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                    names
                }
                Err(error) => {
                    self.problem(&path, format!("cannot list the directory: {error}"));
                    Vec::new()
                }
            },
        };
        let parent = parent.map(ParentDirectory::new);
        self.stack.push(Frame { path, names: names.into_iter().peekable(), named, parent });
    }

    /// Takes the next name. Some if the step ends here.
    fn walk(&mut self) -> Option<Step> {
        let frame = self.stack.last_mut()?;
        let Some((name, _)) = frame.names.peek() else {
            self.stack.pop();
            match self.stack.is_empty() {
                true => self.ended = true,
                false => {
                    self.item(Item::Leave, 0);
                    self.progress.directories.add(1);
                }
            }
            return None;
        };
        // The name stays where it is until everything that it needs is there.
        let before = match frame.parent.as_mut().map_or(Lookup::Absent, |parent| parent.lookup(name)) {
            Lookup::Found(entry) => Some(*entry),
            Lookup::Absent => None,
            Lookup::Node(reference) => return Some(Step::Need(Need::Node(reference))),
            Lookup::Block(reference) => return Some(Step::Need(Need::Block(reference))),
        };
        let path = paths::join(&frame.path, name);
        let named = frame.named;
        let (name, plan) = frame.names.next()?;
        match self.files.metadata(&path) {
            Ok(metadata) => self.visit(path, name, plan, metadata, before),
            Err(error) if named && error.kind() == io::ErrorKind::NotFound => {
                for source in plan.sources(path) {
                    self.problem(&source, "it does not exist");
                }
            }
            Err(error) => self.problem(&path, describe(&error)),
        }
        None
    }

    fn visit(&mut self, path: PathBuf, name: Blob, plan: Plan, metadata: Metadata, before: Option<Entry>) {
        let leads_on = matches!(plan, Plan::Only(_));
        if metadata.kind == Kind::Directory || leads_on {
            if self.stack.len() >= limits::TREE_DEPTH_MAX {
                self.problem(&path, "the directories are nested too deeply");
                return;
            }
            let mut attributes = attributes(&metadata);
            if metadata.kind == Kind::Symlink {
                // The way to a source may lead through links; in the tree it is directories.
                attributes.mode = 0o755;
            }
            self.item(Item::Enter { name, attributes }, 0);
            let parent = match before.map(|entry| entry.what) {
                Some(What::Directory { content }) => Some(content),
                _ => None,
            };
            self.enter(path, plan, parent);
            return;
        }
        match metadata.kind {
            Kind::File => self.file(path, name, metadata, before),
            Kind::Symlink => match self.files.read_link(&path) {
                Ok(target) => {
                    self.whole(name, &metadata, What::Symlink { target: paths::blob(target.as_os_str()) });
                }
                Err(error) => self.problem(&path, describe(&error)),
            },
            Kind::Fifo => self.whole(name, &metadata, What::Fifo),
            Kind::Socket => self.whole(name, &metadata, What::Socket),
            Kind::CharDevice => self.whole(name, &metadata, What::CharDevice { rdev: metadata.rdev }),
            Kind::BlockDevice => self.whole(name, &metadata, What::BlockDevice { rdev: metadata.rdev }),
            Kind::Directory => {}
        }
    }

    fn whole(&mut self, name: Blob, metadata: &Metadata, what: What) {
        let entry = Entry { name, attributes: attributes(metadata), unsettled: false, what };
        self.item(Item::Whole(entry), 0);
    }

    fn file(&mut self, path: PathBuf, name: Blob, metadata: Metadata, before: Option<Entry>) {
        if metadata.links > 1 && self.links.contains(&(metadata.device, metadata.inode)) {
            let what = What::File { len: metadata.len, content: Content::default() };
            let entry = Entry { name, attributes: attributes(&metadata), unsettled: false, what };
            self.item(Item::Link(entry), 0);
            self.progress.files.add(1);
            return;
        }
        let was_file = before.as_ref().is_some_and(|entry| matches!(entry.what, What::File { .. }));
        if let Some(mut entry) = before.filter(|entry| unchanged(entry, &metadata)) {
            entry.attributes = attributes(&metadata);
            if let What::File { content, .. } = &entry.what {
                let stack = vec![(None, content.depth, content.refs.clone().into_iter())];
                self.taking = Some(Taking { entry, stack, ids: Vec::new() });
            }
            return;
        }
        self.start_reading(path, name, was_file);
    }

    fn remember_link(&mut self, attributes: &Attributes) {
        if attributes.links > 1 && self.links.len() < limits::HARD_LINKS_MAX {
            self.links.insert((attributes.device, attributes.inode));
        }
    }
}

fn empty_batch(number: u64) -> Batch {
    Batch {
        number,
        last: false,
        data: Vec::new(),
        chunks: Vec::new(),
        items: Vec::new(),
        items_len: 0,
        problems: Problems::default(),
    }
}

fn attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        ctime: metadata.ctime,
        inode: metadata.inode,
        device: metadata.device,
        links: metadata.links,
    }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it vanished before it was read".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}
