//! Looking at what is there, and making what files need: directories, and what has
//! no content.
//!
//! It runs ahead of the writing, in the order of the walk, so that what is not needed
//! is never fetched.
//!
//! Invariant: nothing is looked at, or made, through a link: a directory is there, as
//! itself, before anything below it is looked at; if it cannot be, all below it is left.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::{
    Files,
    files::{Attributes, Kind, Metadata},
};
use protocol::format::tree::What;

use super::{
    Deed, Listing, Overwrite, RestoreOutcome, place,
    rights::Rights,
    wave::{Fate, Part, Step, Walked, Wave},
};
use crate::{paths, progress::Progress};

/// Bits without which nothing can be made in a directory.
const OWNER_BITS: u32 = 0o700;

/// What is known of the target so far.
pub struct Survey {
    files: Arc<dyn Files>,
    rights: Rights,
    overwrite: Overwrite,
    /// Only tell what would be done.
    dry: Option<Listing>,
    progress: Arc<Progress>,
    /// A directory that this restore made: nothing else is in it.
    fresh: Option<PathBuf>,
    /// What could not become a directory: everything below it is left.
    blocked: Option<PathBuf>,
    /// Directories on the way that keep the attributes they had.
    kept: Vec<(PathBuf, Attributes)>,
    /// What is at the path of the file that goes on in the next wave.
    going_on: Option<Fate>,
    /// Whether the file that the last wave did not finish is left as it is.
    pub rest_left: bool,
    outcome: RestoreOutcome,
}

impl Survey {
    /// Begins at the target; `fresh` if nothing is in it.
    pub fn new(
        files: Arc<dyn Files>,
        rights: Rights,
        overwrite: Overwrite,
        dry: Option<Listing>,
        progress: Arc<Progress>,
        fresh: Option<PathBuf>,
    ) -> Self {
        Self {
            files,
            rights,
            overwrite,
            dry,
            progress,
            fresh,
            blocked: None,
            kept: Vec::new(),
            going_on: None,
            rest_left: false,
            outcome: RestoreOutcome::default(),
        }
    }

    /// Looks at everything in a wave.
    pub fn take(&mut self, walked: Walked) -> Wave {
        let Walked { steps, outcome, .. } = walked;
        (self.outcome, self.rest_left) = (outcome, false);
        let mut wave = Wave::default();
        for step in steps {
            match step {
                Step::Directory(path, wanted) => self.enter(path, &wanted),
                Step::Make(path, what, wanted) => {
                    if !self.is_blocked(&path) {
                        let made = self.make(&path, &what, &wanted);
                        self.told(&path, made);
                    }
                }
                Step::Part(part) => wave.parts.extend(self.part(part)),
                Step::HardLink { existing, path, attributes } => {
                    if !self.is_blocked(&path) {
                        match self.dry.is_some() {
                            true => self.tell_link(&existing, &path, &attributes),
                            false => wave.after.push(Step::HardLink { existing, path, attributes }),
                        }
                    }
                }
                Step::Leave(path, attributes) => wave.after.extend(self.leave(path, attributes)),
            }
        }
        wave.outcome = std::mem::take(&mut self.outcome);
        wave
    }

    fn told(&mut self, path: &Path, done: io::Result<()>) {
        if let Err(error) = done {
            self.outcome.problems.add(path, error.to_string());
        }
    }

    /// Whether this is a dry run; tells what would be done.
    fn tell(&self, deed: Deed, path: &Path) -> bool {
        if let Some(listing) = &self.dry {
            listing.tell(deed, path);
        }
        self.dry.is_some()
    }

    fn tell_link(&self, existing: &Path, path: &Path, wanted: &Attributes) {
        let deed = match (self.look(path), self.files.metadata(existing)) {
            (Ok(Some(found)), _) if self.overwrite.keeps(&found, wanted) => Deed::Kept,
            (Ok(Some(found)), Ok(first)) if (found.device, found.inode) == (first.device, first.inode) => return,
            (Ok(Some(_)), _) => Deed::Replaced,
            _ => Deed::Made,
        };
        self.tell(deed, path);
    }

    fn is_blocked(&self, path: &Path) -> bool {
        self.blocked.as_ref().is_some_and(|blocked| path.starts_with(blocked))
    }

    /// What is at a path. None: nothing.
    fn look(&self, path: &Path) -> io::Result<Option<Metadata>> {
        if self.fresh.as_ref().is_some_and(|fresh| path.starts_with(fresh)) {
            return Ok(None);
        }
        match self.files.metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    fn enter(&mut self, path: PathBuf, wanted: &Attributes) {
        if self.is_blocked(&path) {
            return;
        }
        self.blocked = None;
        if self.fresh.as_ref().is_some_and(|fresh| !path.starts_with(fresh)) {
            self.fresh = None;
        }
        match self.directory(&path, wanted) {
            Ok(()) => {
                self.outcome.directories += 1;
                self.progress.directories.add(1);
            }
            Err(error) => {
                self.outcome.problems.add(&path, format!("nothing in it was restored: {error}"));
                self.blocked = Some(path);
            }
        }
    }

    fn directory(&mut self, path: &Path, wanted: &Attributes) -> io::Result<()> {
        match self.look(path)? {
            Some(found) if found.kind == Kind::Directory => {
                if self.overwrite.keeps(&found, wanted) {
                    self.kept.push((path.into(), self.attributes_of(path, &found)?));
                }
                // Where that is not ours to do, the group may still write: each file says if not.
                let _ = self.open_up(path, &found);
                Ok(())
            }
            Some(found) if self.overwrite.keeps(&found, wanted) => {
                Err(io::Error::new(io::ErrorKind::AlreadyExists, "what has its name is kept, and is not a directory"))
            }
            found => {
                if !self.tell(Deed::Made, path) {
                    if found.is_some() {
                        self.files.remove(path)?;
                    }
                    self.files.create_dir(path)?;
                }
                if self.fresh.is_none() {
                    self.fresh = Some(path.into());
                }
                Ok(())
            }
        }
    }

    fn attributes_of(&self, path: &Path, found: &Metadata) -> io::Result<Attributes> {
        let xattrs = self.files.xattrs(path)?;
        let owner = if self.rights.all { Some((found.uid, found.gid)) } else { None };
        Ok(Attributes { kind: found.kind, mode: found.mode, owner, mtime: found.mtime, xattrs })
    }

    /// Makes a directory writable for as long as something is restored into it. Root
    /// needs no permission.
    fn open_up(&self, path: &Path, found: &Metadata) -> io::Result<()> {
        if self.rights.all || self.dry.is_some() || found.mode & OWNER_BITS == OWNER_BITS {
            return Ok(());
        }
        let attributes = self.attributes_of(path, found)?;
        self.files.set_attributes(path, &Attributes { mode: attributes.mode | OWNER_BITS, ..attributes })
    }

    fn leave(&mut self, path: PathBuf, mut attributes: Attributes) -> Option<Step> {
        if let Some((_, kept)) = self.kept.pop_if(|(kept, _)| *kept == path) {
            attributes = kept;
        }
        if self.is_blocked(&path) || self.dry.is_some() { None } else { Some(Step::Leave(path, attributes)) }
    }

    fn keep(&mut self, path: &Path, len: u64) {
        self.outcome.kept += 1;
        self.tell(Deed::Kept, path);
        self.progress.bytes.add(len);
    }

    /// Makes a link, pipe, socket or device.
    fn make(&mut self, path: &Path, what: &What, wanted: &Attributes) -> io::Result<()> {
        let found = self.look(path)?;
        if let Some(found) = &found {
            if self.overwrite.keeps(found, wanted) {
                self.keep(path, 0);
                return Ok(());
            }
            if self.is_same(path, found, what)? {
                self.outcome.others += 1;
                return self.adjust(path, found, wanted);
            }
        }
        self.outcome.others += 1;
        let deed = if found.is_some() { Deed::Replaced } else { Deed::Made };
        if self.tell(deed, path) {
            return Ok(());
        }
        let files = &*self.files;
        place::replace(files, path, found.map(|found| found.kind), |path| {
            match what {
                What::Symlink { target } => files.symlink(&paths::os(target), path)?,
                What::CharDevice { rdev } | What::BlockDevice { rdev } => {
                    files.create_node(path, wanted.kind, *rdev).map_err(|error| match error.kind() {
                        io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), "only root may make devices"),
                        _ => error,
                    })?;
                }
                _ => files.create_node(path, wanted.kind, 0)?,
            }
            files.set_attributes(path, wanted)
        })
    }

    fn is_same(&self, path: &Path, found: &Metadata, what: &What) -> io::Result<bool> {
        Ok(match (what, found.kind) {
            (What::Symlink { target }, Kind::Symlink) => *self.files.read_link(path)?.as_os_str() == *paths::os(target),
            (What::CharDevice { rdev }, Kind::CharDevice) | (What::BlockDevice { rdev }, Kind::BlockDevice) => {
                found.rdev == *rdev
            }
            (What::Fifo, Kind::Fifo) | (What::Socket, Kind::Socket) => true,
            _ => false,
        })
    }

    fn adjust(&mut self, path: &Path, found: &Metadata, wanted: &Attributes) -> io::Result<()> {
        if self.dry.is_none() {
            return place::adjust(&*self.files, &self.rights, path, found, wanted).map(drop);
        }
        if !place::has_attributes(&*self.files, &self.rights, path, found, wanted)? {
            self.tell(Deed::Adjusted, path);
        }
        Ok(())
    }

    /// A part of a file that may have to be written.
    fn part(&mut self, mut part: Part) -> Option<Part> {
        if part.first {
            self.going_on = if self.is_blocked(&part.path) { None } else { self.fate(&part) };
            self.rest_left = self.going_on.is_none() && !part.last;
        }
        part.fate = if part.last { self.going_on.take()? } else { self.going_on.clone()? };
        Some(part)
    }

    /// What is where a file goes. None: there is nothing to be written.
    fn fate(&mut self, part: &Part) -> Option<Fate> {
        let fate = self.look(&part.path).and_then(|found| match found {
            None => Ok(Some(Fate::New)),
            Some(found) => self.fate_of(part, found),
        });
        fate.unwrap_or_else(|error| {
            self.outcome.problems.add(&part.path, error.to_string());
            None
        })
    }

    fn fate_of(&mut self, part: &Part, found: Metadata) -> io::Result<Option<Fate>> {
        let wanted = &part.attributes;
        if self.overwrite.keeps(&found, wanted) {
            self.keep(&part.path, part.len);
            return Ok(None);
        }
        if found.kind != Kind::File {
            if found.kind == Kind::Directory && !self.files.read_dir(&part.path)?.is_empty() {
                return Err(place::in_the_way(io::ErrorKind::DirectoryNotEmpty.into()));
            }
            return Ok(Some(Fate::Replace(found.kind)));
        }
        let seems_same = found.len == part.len && found.mtime == wanted.mtime;
        let others_share = found.links > 1 && part.links == 1;
        if self.overwrite == Overwrite::IfChanged && seems_same {
            let settled = place::has_attributes(&*self.files, &self.rights, &part.path, &found, wanted)?;
            // What other names share is not changed, but made anew.
            if settled || !others_share {
                self.outcome.unchanged += 1;
                self.progress.files.add(1);
                self.progress.bytes.add(part.len);
                if !settled {
                    self.adjust(&part.path, &found, wanted)?;
                }
                return Ok(None);
            }
        }
        Ok(Some(Fate::Amend(Box::new(found))))
    }
}
