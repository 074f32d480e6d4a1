//! Going from name to name.

use std::{
    io,
    path::{Path, PathBuf},
};

use env::files::{Kind, Metadata, Names, Xattr};
use protocol::{
    format::{
        content::Content,
        tree::{Blob, Entry, What},
    },
    limits,
};

use super::{
    Need, Scanner, Step, attributes, describe,
    frame::{Frame, Patterns, Waiting, Within, below},
    taking::{Taking, unchanged},
    xattrs_len,
};
use crate::{
    backup::{
        batch::Item,
        parent::{Before, Parents},
        plan::Plan,
        rules::{self, IGNORE_FILE, Matcher},
    },
    paths,
};

impl Scanner {
    /// Opens the root directory.
    pub(super) fn start(&mut self, plan: Plan, parents: Vec<Content>) {
        let waiting = match plan {
            Plan::Only(names) => Waiting::named(names),
            Plan::Whole => {
                let path = self.path.clone();
                let looked = self.files.metadata(&path).and_then(|metadata| {
                    self.within = Some(Within { depth: 1, path_len: path.as_os_str().len(), device: metadata.device });
                    self.list(&path, &metadata)
                });
                Waiting::listed(looked.unwrap_or_else(|error| {
                    self.problem(&path, describe(&error));
                    Names::default()
                }))
            }
        };
        self.stack.push(Frame { waiting, parents: Parents::new(parents) });
    }

    /// Takes the next name. Some if the step ends here.
    pub(super) fn walk(&mut self) -> Option<Step> {
        let frame = self.stack.last_mut()?;
        let Some(name) = frame.waiting.peek() else {
            self.leave();
            return None;
        };
        // The name stays where it is until everything that it needs is there.
        let before = match frame.parents.lookup(&name) {
            Before::Found(entries) => entries,
            Before::Node(reference) => return Some(Step::Need(Need::Node(reference))),
            Before::Block(reference) => return Some(Step::Need(Need::Block(reference))),
        };
        let plan = frame.waiting.pass();
        let path = paths::join(&self.path, &name);
        match (self.files.metadata(&path), plan) {
            (Ok(metadata), Some(plan)) => self.visit_named(path, name, plan, metadata, before),
            (Ok(metadata), None) => {
                if self.is_left_out(&path, &metadata) {
                    self.skipped.excluded += 1;
                } else {
                    self.visit(path, name, metadata, before);
                }
            }
            (Err(error), Some(plan)) => {
                let absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
                let reason = if absent { "it does not exist".into() } else { describe(&error) };
                plan.sources(path).iter().for_each(|source| self.problem(source, &*reason));
            }
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => self.skipped.vanished += 1,
            (Err(error), None) => self.problem(&path, describe(&error)),
        }
        None
    }

    /// Closes the directory being walked.
    fn leave(&mut self) {
        let depth = self.stack.len();
        self.within.take_if(|within| within.depth == depth);
        self.patterns.pop_if(|patterns| patterns.depth == depth);
        self.stack.pop();
        if self.stack.is_empty() {
            self.ended = true;
            return;
        }
        self.path.pop();
        self.item(Item::Leave, 0);
        self.progress.directories.add(1);
    }

    /// Visits what a person named: a source, or a directory that leads to some.
    fn visit_named(&mut self, path: PathBuf, name: Blob, plan: Plan, metadata: Metadata, before: Vec<Entry>) {
        let names = match plan {
            Plan::Only(names) if matches!(metadata.kind, Kind::Directory | Kind::Symlink) => names,
            Plan::Only(_) => {
                plan.sources(path).iter().for_each(|source| self.problem(source, "it does not exist"));
                return;
            }
            Plan::Whole => {
                let (path_len, device) = (path.as_os_str().len(), metadata.device);
                self.within = Some(Within { depth: self.stack.len() + 1, path_len, device });
                self.visit(path, name, metadata, before);
                // Something that is no directory, or cannot be entered, is done with.
                self.within.take_if(|within| within.depth > self.stack.len());
                return;
            }
        };
        if !self.fits(&path) {
            return;
        }
        let mut attributes = attributes(&metadata);
        let mut xattrs = Vec::new();
        if metadata.kind == Kind::Symlink {
            // The way to a source may lead through links; in the tree it is directories.
            attributes.mode = 0o755;
        } else {
            xattrs = self.xattrs(&path);
        }
        self.enter(path, Item::Enter { name, attributes, xattrs }, Waiting::named(names), before);
    }

    fn visit(&mut self, path: PathBuf, name: Blob, metadata: Metadata, before: Vec<Entry>) {
        let what = match metadata.kind {
            Kind::File => return self.file(path, name, metadata, before),
            Kind::Directory => return self.directory(path, name, metadata, before),
            Kind::Symlink => match self.files.read_link(&path) {
                Ok(target) => What::Symlink { target: paths::blob(target.as_os_str()) },
                Err(error) => return self.unvisited(&path, &error),
            },
            Kind::Fifo => What::Fifo,
            Kind::Socket => What::Socket,
            Kind::CharDevice => What::CharDevice { rdev: metadata.rdev },
            Kind::BlockDevice => What::BlockDevice { rdev: metadata.rdev },
        };
        let xattrs = self.xattrs(&path);
        let len = xattrs_len(&xattrs);
        let entry = Entry { name, attributes: attributes(&metadata), unsettled: false, xattrs, what };
        self.item(Item::Whole { entry, linked: false }, len);
    }

    /// Something that was there a moment ago cannot be read.
    pub(super) fn unvisited(&mut self, path: &Path, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::NotFound => self.skipped.vanished += 1,
            _ => self.problem(path, describe(error)),
        }
    }

    fn directory(&mut self, path: PathBuf, name: Blob, metadata: Metadata, before: Vec<Entry>) {
        if !self.fits(&path) {
            return;
        }
        let names = match self.list(&path, &metadata) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.skipped.vanished += 1;
                return;
            }
            Err(error) => {
                self.problem(&path, format!("cannot list the directory: {}", describe(&error)));
                Names::default()
            }
            Ok(names) => names,
        };
        let xattrs = self.xattrs(&path);
        let attributes = attributes(&metadata);
        self.enter(path, Item::Enter { name, attributes, xattrs }, Waiting::listed(names), before);
    }

    fn enter(&mut self, path: PathBuf, item: Item, waiting: Waiting, before: Vec<Entry>) {
        let len = if let Item::Enter { xattrs, .. } = &item { xattrs_len(xattrs) } else { 0 };
        self.item(item, len);
        let content = |entry: Entry| match entry.what {
            What::Directory { content } => Some(content),
            _ => None,
        };
        let parents = Parents::new(before.into_iter().filter_map(content).collect());
        self.path = path;
        self.stack.push(Frame { waiting, parents });
    }

    fn fits(&mut self, path: &Path) -> bool {
        let fits = self.stack.len() < limits::TREE_DEPTH_MAX;
        if !fits {
            self.problem(path, "the directories are nested too deeply");
        }
        fits
    }

    /// The names in a directory that are to be visited, sorted. The next frame is to be this
    /// directory's.
    fn list(&mut self, path: &Path, metadata: &Metadata) -> io::Result<Names> {
        if self.is_mount_point(metadata) {
            self.skipped.excluded += 1;
            return Ok(Names::default());
        }
        let mut names = self.files.read_dir(path)?;
        names.sort();
        if let Some(tag) = rules::tag(&self.rules, &*self.files, path, |name| names.has(name)) {
            self.skipped.excluded += names.len() as u64 - 1;
            names = [tag].into_iter().collect();
        }
        if !self.rules.no_ignore_files && names.has(IGNORE_FILE.as_ref()) {
            self.read_patterns(path);
        }
        Ok(names)
    }

    fn read_patterns(&mut self, directory: &Path) {
        let path = directory.join(IGNORE_FILE);
        match Matcher::of_file(&*self.files, &path) {
            Ok((matcher, wrong)) => {
                wrong.into_iter().for_each(|reason| self.problem(&path, reason));
                let path_len = directory.as_os_str().len();
                self.patterns.push(Patterns { depth: self.stack.len() + 1, path_len, matcher });
            }
            Err(error) => self.problem(&path, format!("its patterns are not used: {}", describe(&error))),
        }
    }

    /// Whether a directory is another file system's, and not to be entered for that.
    fn is_mount_point(&self, metadata: &Metadata) -> bool {
        self.rules.one_file_system && self.within.as_ref().is_some_and(|within| within.device != metadata.device)
    }

    /// Whether the rules leave out something within a source.
    fn is_left_out(&self, path: &Path, metadata: &Metadata) -> bool {
        let is_dir = metadata.kind == Kind::Directory;
        if !is_dir && self.is_mount_point(metadata) {
            return true;
        }
        let mut said = self.patterns.iter().rev().map(|patterns| (&patterns.matcher, patterns.path_len));
        let nearest = said.find_map(|(matcher, len)| matcher.leaves_out(below(path, len), is_dir));
        let general = || self.matcher.leaves_out(below(path, self.within.as_ref()?.path_len), is_dir);
        nearest.or_else(general).unwrap_or(false)
    }

    fn file(&mut self, path: PathBuf, name: Blob, metadata: Metadata, before: Vec<Entry>) {
        if metadata.links > 1 && self.links.take(metadata.device, metadata.inode) {
            let what = What::File { len: metadata.len, content: Content::default() };
            let (attributes, xattrs) = (attributes(&metadata), Vec::<Xattr>::new());
            self.item(Item::Link(Entry { name, attributes, unsettled: false, xattrs, what }), 0);
            self.progress.files.add(1);
            return;
        }
        let was_file = before.iter().any(|entry| matches!(entry.what, What::File { .. }));
        if let Some(mut entry) = before.into_iter().find(|entry| unchanged(entry, &metadata)) {
            entry.attributes = attributes(&metadata);
            if let What::File { content, .. } = &entry.what {
                let stack = vec![(None, content.depth, content.refs.clone().into_iter())];
                self.taking = Some(Taking { entry, stack, ids: Vec::new() });
            }
            return;
        }
        self.start_reading(path, name, was_file);
    }
}
