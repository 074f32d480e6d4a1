//! Waves: as many files, or as much of a file, as fits the memory at once.

use std::path::{Path, PathBuf};

use env::files::{self, Kind, Metadata};
use protocol::format::{
    chunk::ChunkRef,
    content::Cursor,
    tree::{Entry, What, Xattr},
};

use super::{
    Overwrite, RestoreOutcome,
    links::Links,
    rights::{Left, Rights},
    select::{Chooser, Verdict},
};
use crate::{
    context::Context,
    error::{Kind as ErrorKind, RepoError},
    fetch::Fetched,
    trees::TreeReader,
    walk::{Event, Walk},
};

/// Steps in a wave at most.
const STEPS_MAX: usize = 2048;
/// Pieces of files in a wave at most: holes are many in some files, and cost no bytes.
const PIECES_MAX: usize = 64 << 10;

/// One step of restoring, in the order of the walk.
pub enum Step {
    /// Make a directory.
    Directory(PathBuf, files::Attributes),
    /// Make a symbolic link, pipe, socket or device.
    Make(PathBuf, What, files::Attributes),
    /// Write a file, or a part of it.
    Part(Part),
    /// Give something that came before a further name.
    HardLink {
        /// Its first name.
        existing: PathBuf,
        /// The further one.
        path: PathBuf,
        /// Its attributes.
        attributes: files::Attributes,
    },
    /// Set a directory's attributes: everything in it is done.
    Leave(PathBuf, files::Attributes),
}

/// A file, or the part of it that is in this wave.
pub struct Part {
    /// Where it goes.
    pub path: PathBuf,
    /// Its attributes.
    pub attributes: files::Attributes,
    /// How many names it had.
    pub links: u64,
    /// Its length.
    pub len: u64,
    /// Its chunks and holes in this wave.
    pub pieces: Vec<Piece>,
    /// Whether this is its first part.
    pub first: bool,
    /// Whether this is its last part.
    pub last: bool,
    /// Why the rest of it cannot be read from the tree.
    pub damaged: Option<RepoError>,
    /// What is at its path.
    pub fate: Fate,
}

/// A chunk or hole of a file.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Where in the file.
    pub offset: u64,
    /// What is there.
    pub reference: ChunkRef,
    /// Whether the file at the path has the same there.
    pub same: bool,
}

/// What is at the path of a file to be restored.
#[derive(Debug, Clone)]
pub enum Fate {
    /// Nothing.
    New,
    /// Something else than a file.
    Replace(Kind),
    /// A file: it is replaced if it differs.
    Amend(Box<Metadata>),
}

/// What was walked at once.
#[derive(Default)]
pub struct Walked {
    /// What to do.
    pub steps: Vec<Step>,
    /// What cannot be restored, and what has to be left.
    pub outcome: RestoreOutcome,
    /// Whether nothing follows.
    pub last: bool,
}

/// What is fetched and written at once.
#[derive(Default)]
pub struct Wave {
    /// Files. Only the first can have begun before, only the last can go on after.
    pub parts: Vec<Part>,
    /// When they are written: further names, and directories' attributes.
    pub after: Vec<Step>,
    /// The chunks that must be fetched for them.
    pub refs: Vec<ChunkRef>,
    /// What came of the wave so far.
    pub outcome: RestoreOutcome,
}

/// A wave whose chunks were fetched.
pub struct Loaded {
    /// The wave.
    pub wave: Wave,
    /// Its chunks.
    pub fetched: Fetched,
}

/// Where a walk of a snapshot begins.
pub enum Start {
    /// At a directory, which becomes the target. Its attributes are set if they are given.
    Directory(Walk, Option<files::Attributes>),
    /// At something else, which gets this path. None once it was told.
    Single(Option<Box<(PathBuf, Entry)>>),
}

/// Walks a tree and cuts it into waves.
pub struct WaveReader {
    context: Context,
    target: PathBuf,
    overwrite: Overwrite,
    rights: Rights,
    chooser: Chooser,
    start: Start,
    levels: Vec<Level>,
    /// The file that the last wave did not finish.
    unfinished: Option<Unfinished>,
    links: Links,
}

/// A directory on the way.
struct Level {
    path: PathBuf,
    attributes: files::Attributes,
    left: Left,
    /// Whether patterns choose it.
    chosen: bool,
    /// Whether making it was ordered.
    ordered: bool,
}

struct Unfinished {
    path: PathBuf,
    attributes: files::Attributes,
    links: u64,
    len: u64,
    cursor: Cursor,
    at: u64,
    first: bool,
}

/// What a wave has so far.
#[derive(Default)]
struct Filling {
    walked: Walked,
    len: usize,
    pieces: usize,
}

impl WaveReader {
    /// Restores to `target` what `chooser` chooses.
    pub fn new(
        context: Context,
        target: PathBuf,
        overwrite: Overwrite,
        rights: Rights,
        chooser: Chooser,
        start: Start,
    ) -> Self {
        let (levels, links) = (Vec::new(), Links::default());
        Self { context, target, overwrite, rights, chooser, start, levels, unfinished: None, links }
    }

    /// The next wave: about `len_max` bytes of plaintext.
    pub async fn next(&mut self, trees: &TreeReader, len_max: usize) -> Result<Walked, RepoError> {
        let mut filling = Filling::default();
        loop {
            if let Some(file) = self.unfinished.take() {
                self.part(trees, &mut filling, file, len_max).await?;
                if self.unfinished.is_some() {
                    return Ok(filling.walked);
                }
            }
            if filling.len >= len_max || filling.walked.steps.len() >= STEPS_MAX || filling.pieces >= PIECES_MAX {
                return Ok(filling.walked);
            }
            match &mut self.start {
                Start::Single(single) => match single.take() {
                    Some(single) => self.other(&mut filling, single.0, single.1).await,
                    None => return Ok(self.end(filling, None)),
                },
                Start::Directory(walk, attributes) => match walk.next(trees).await? {
                    Some(event) => self.event(&mut filling, event).await,
                    // The directory at which the walk started ends with no event of its own.
                    None => {
                        let top = attributes.take().map(|attributes| Step::Leave(self.target.clone(), attributes));
                        return Ok(self.end(filling, top));
                    }
                },
            }
        }
    }

    fn end(&self, mut filling: Filling, step: Option<Step>) -> Walked {
        if self.links.parted > 0 {
            let reason = format!(
                "{} hard links were restored as files of their own: there are more than can be remembered",
                self.links.parted
            );
            filling.walked.outcome.problems.add(&self.target, reason);
        }
        filling.walked.steps.extend(step);
        filling.walked.last = true;
        filling.walked
    }

    /// Does not go on with the file that the last wave did not finish.
    pub fn drop_unfinished(&mut self) {
        self.unfinished = None;
    }

    async fn event(&mut self, filling: &mut Filling, event: Event) {
        match event {
            Event::Enter(path, entry) => self.enter(filling, path, entry),
            Event::Leave(path) => {
                if let Some(level) = self.levels.pop_if(|level| level.path == path)
                    && level.ordered
                {
                    filling.walked.steps.push(Step::Leave(level.path, level.attributes));
                }
            }
            Event::Damaged(path, error) => {
                let reason = format!("the rest of it cannot be read from the snapshot: {}", error.told());
                filling.walked.outcome.problems.add(&path, reason);
            }
            Event::Other(path, entry) => {
                let above = self.levels.last().is_some_and(|level| level.chosen);
                let below = path.strip_prefix(&self.target).unwrap_or(&path);
                if self.chooser.look(below, false, above).0 == Verdict::In {
                    self.order(filling);
                    self.other(filling, path, entry).await;
                }
            }
        }
    }

    fn enter(&mut self, filling: &mut Filling, path: PathBuf, entry: Entry) {
        let above = self.levels.last().is_some_and(|level| level.chosen);
        let below = path.strip_prefix(&self.target).unwrap_or(&path);
        let (verdict, chosen) = self.chooser.look(below, true, above);
        if verdict == Verdict::Out {
            if let Start::Directory(walk, _) = &mut self.start {
                walk.skip();
            }
            return;
        }
        let mut left = Left::default();
        let attributes = self.rights.attributes(Kind::Directory, &entry.attributes, entry.xattrs, &mut left);
        self.levels.push(Level { path, attributes, left, chosen, ordered: false });
        if verdict == Verdict::In {
            self.order(filling);
        }
    }

    /// Orders the directories on the way, those of them that were not.
    fn order(&mut self, filling: &mut Filling) {
        let made = self.levels.iter().rposition(|level| level.ordered).map_or(0, |at| at + 1);
        for level in &mut self.levels[made..] {
            level.ordered = true;
            filling.walked.outcome.left.merge(level.left);
            filling.len += weight(&level.path, &level.attributes);
            filling.walked.steps.push(Step::Directory(level.path.clone(), level.attributes.clone()));
        }
    }

    async fn other(&mut self, filling: &mut Filling, path: PathBuf, entry: Entry) {
        let left = &mut filling.walked.outcome.left;
        let attributes = self.rights.attributes(kind_of(&entry.what), &entry.attributes, entry.xattrs, left);
        filling.len += weight(&path, &attributes);
        if entry.attributes.links > 1
            && !self.is_kept(&path, &attributes).await
            && let Some(existing) = self.links.first(&path, &entry.attributes, &entry.what)
        {
            filling.walked.steps.push(Step::HardLink { existing, path, attributes });
            return;
        }
        match entry.what {
            What::File { len, content } => {
                let (links, cursor) = (entry.attributes.links, Cursor::new(content));
                self.unfinished = Some(Unfinished { path, attributes, links, len, cursor, at: 0, first: true });
            }
            what => filling.walked.steps.push(Step::Make(path, what, attributes)),
        }
    }

    /// Whether what is at `path` stays, so that further names must not become links to it.
    async fn is_kept(&self, path: &Path, attributes: &files::Attributes) -> bool {
        if !self.overwrite.may_keep() {
            return false;
        }
        let (files, path) = (self.context.files.clone(), path.to_path_buf());
        let found = self.context.run(move || files.metadata(&path)).await;
        found.is_ok_and(|found| self.overwrite.keeps(&found, attributes))
    }

    async fn part(
        &mut self,
        trees: &TreeReader,
        filling: &mut Filling,
        mut file: Unfinished,
        len_max: usize,
    ) -> Result<(), RepoError> {
        let (mut pieces, mut damaged) = (Vec::new(), None);
        let last = loop {
            if filling.len >= len_max || filling.pieces >= PIECES_MAX {
                break false;
            }
            match trees.next_chunk(&mut file.cursor).await {
                Ok(Some(reference)) => {
                    pieces.push(Piece { offset: file.at, reference, same: false });
                    filling.pieces += 1;
                    file.at += u64::from(reference.len);
                    filling.len += if reference.is_hole() { 0 } else { reference.len as usize };
                }
                Ok(None) => break true,
                Err(error) if matches!(error.kind, ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    damaged = Some(error);
                    break true;
                }
                Err(error) => return Err(error),
            }
        };
        if last && damaged.is_none() && file.at != file.len {
            damaged = Some(RepoError::corrupt("its chunks do not add up to its length"));
        }
        filling.walked.steps.push(Step::Part(Part {
            path: file.path.clone(),
            attributes: file.attributes.clone(),
            links: file.links,
            len: file.len,
            pieces,
            first: file.first,
            last,
            damaged,
            fate: Fate::New,
        }));
        if !last {
            self.unfinished = Some(Unfinished { first: false, ..file });
        }
        Ok(())
    }
}

/// Memory of a step beside its data.
fn weight(path: &Path, attributes: &files::Attributes) -> usize {
    path.as_os_str().len() + attributes.xattrs.iter().map(Xattr::len).sum::<usize>()
}

fn kind_of(what: &What) -> Kind {
    match what {
        What::File { .. } => Kind::File,
        What::Directory { .. } => Kind::Directory,
        What::Symlink { .. } => Kind::Symlink,
        What::Fifo => Kind::Fifo,
        What::Socket => Kind::Socket,
        What::CharDevice { .. } => Kind::CharDevice,
        What::BlockDevice { .. } => Kind::BlockDevice,
    }
}
