//! The walk: reads directories and files, cuts them, and fills batches.
//!
//! It blocks, so it runs a step at a time on `Blocking`, and keeps everything in
//! itself between steps. What it needs of the parent snapshot or the cache it
//! asks for, and goes on when that was supplied.
//!
//! Invariant: what cannot be read is a problem of that path alone. Only a stream, which
//! nobody can read again, fails as a whole.

mod frame;
mod links;
mod reading;
mod taking;
mod walking;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::{
    Clock, Files,
    files::{Metadata, SourceFile, Xattr},
};
use protocol::{
    format::{
        chunk::ChunkRef,
        content::Content,
        tree::{Attributes, Blob, Entry},
    },
    limits,
};
use tokio_util::sync::CancellationToken;

use self::{
    frame::{Frame, Patterns, Within},
    links::Links,
    reading::Open,
    taking::Taking,
};
use crate::{
    backup::{
        batch::{Batch, Item, Skipped},
        plan::Plan,
        rules::{Matcher, Rules},
    },
    buffers::Buffers,
    chunker::Cutter,
    error::RepoError,
    index::Suspects,
    keys::Keys,
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
    /// The backup is to end with this: a stream broke.
    Failed(RepoError),
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

/// What a walk is given.
pub struct ScannerArguments {
    pub files: Arc<dyn Files>,
    pub clock: Arc<dyn Clock>,
    pub keys: Arc<Keys>,
    pub cutter: Cutter,
    pub buffers: Arc<Buffers>,
    pub progress: Arc<Progress>,
    /// What is walked.
    pub plan: Plan,
    /// What is left out.
    pub rules: Rules,
    /// The root directories of the parent snapshots, the newest first.
    pub parents: Vec<Content>,
    /// Chunks of the parents that were lost since.
    pub suspects: Arc<Suspects>,
    /// The walk ends before its time once this says so.
    pub wind_up: CancellationToken,
}

/// The walk.
pub struct Scanner {
    files: Arc<dyn Files>,
    clock: Arc<dyn Clock>,
    keys: Arc<Keys>,
    cutter: Cutter,
    buffers: Arc<Buffers>,
    progress: Arc<Progress>,
    rules: Rules,
    matcher: Matcher,
    /// The directory being walked.
    path: PathBuf,
    stack: Vec<Frame>,
    /// The source that is being walked; none on the way to one.
    within: Option<Within>,
    /// The patterns that were found in directories on the way, the deepest last.
    patterns: Vec<Patterns>,
    open: Option<Open>,
    taking: Option<Taking>,
    links: Links,
    suspects: Arc<Suspects>,
    skipped: Skipped,
    filling: Batch,
    filled: usize,
    ended: bool,
    wind_up: CancellationToken,
}

impl Scanner {
    /// At the start of the walk.
    pub fn new(arguments: ScannerArguments) -> Result<Self, RepoError> {
        let ScannerArguments { files, clock, keys, cutter, buffers, progress, plan, rules, parents, .. } = arguments;
        let mut scanner = Self {
            files,
            clock,
            keys,
            cutter,
            buffers,
            progress,
            matcher: rules.matcher()?,
            rules,
            path: PathBuf::from("/"),
            stack: Vec::new(),
            within: None,
            patterns: Vec::new(),
            open: None,
            taking: None,
            links: Links::default(),
            suspects: arguments.suspects,
            skipped: Skipped::default(),
            filling: empty_batch(0),
            filled: 0,
            ended: false,
            wind_up: arguments.wind_up,
        };
        scanner.start(plan, parents);
        Ok(scanner)
    }

    /// Has the walk start with a file in the root directory whose content is this stream.
    pub fn read_first(&mut self, name: Blob, stream: Box<dyn SourceFile>) -> Result<(), RepoError> {
        let path = crate::paths::join(&self.path, &name);
        let open = Open::stream(path, name, stream, self.clock.now());
        self.begin(open.map_err(|error| broken_stream(&error))?);
        Ok(())
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
        if self.wind_up.is_cancelled() && !self.ended {
            if self.open.as_ref().is_some_and(|open| open.is_stream) {
                return Step::Failed(RepoError::invalid(
                    "the stream lasts longer than one backup may, and cannot be read a second time: split it",
                ));
            }
            self.cut_short();
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

    /// Ends the walk where it is: what is being read is left out, and the directories that
    /// are open are closed with what they have so far.
    fn cut_short(&mut self) {
        self.taking = None;
        if let Some(open) = self.open.take() {
            self.abandon(open);
        }
        self.item(Item::Cut, 0);
        for _ in 1..self.stack.len() {
            self.item(Item::Leave, 0);
        }
        self.stack.clear();
        self.ended = true;
    }

    /// Supplies what the last step needed.
    pub fn supply(&mut self, supply: Supply) {
        match supply {
            Supply::Node(entries) => {
                if let Some(frame) = self.stack.last_mut() {
                    frame.parents.supply_node(entries);
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
                    if let Some(frame) = self.stack.last_mut() {
                        frame.parents.supply_block(refs);
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
        if self.skipped != Skipped::default() {
            batch.items.push(Item::Skipped(std::mem::take(&mut self.skipped)));
        }
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

    fn problem_of_xattrs(&mut self, path: &Path, error: &io::Error) {
        self.problem(path, format!("its extended attributes are not kept: {}", describe(error)));
    }

    /// The extended attributes of something that is not open. Those that cannot be read
    /// are a problem, but no reason to leave it out.
    fn xattrs(&mut self, path: &Path) -> Vec<Xattr> {
        self.files.xattrs(path).unwrap_or_else(|error| {
            self.problem_of_xattrs(path, &error);
            Vec::new()
        })
    }
}

fn empty_batch(number: u64) -> Batch {
    Batch {
        number,
        last: false,
        data: Vec::new(),
        chunks: Vec::new(),
        private: BTreeSet::new(),
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

pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

fn broken_stream(error: &io::Error) -> RepoError {
    RepoError::invalid(format!("the stream ended with an error, so nothing was kept of it: {error}"))
}

/// What entries are taken to weigh beside what an item does.
fn xattrs_len(xattrs: &[Xattr]) -> usize {
    xattrs.iter().map(|xattr| size_of::<Xattr>() + xattr.len()).sum()
}
