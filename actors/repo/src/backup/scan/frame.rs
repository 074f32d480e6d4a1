//! A directory being walked.

use std::{
    collections::{BTreeMap, btree_map},
    ffi::OsStr,
    iter::Peekable,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use env::files::Names;
use protocol::format::tree::Blob;

use crate::{
    backup::{parent::Parents, plan::Plan, rules::Matcher},
    paths,
};

/// A directory being walked, and what of it is still to be visited.
pub struct Frame {
    pub waiting: Waiting,
    pub parents: Parents,
}

/// Names to be visited, in order.
pub enum Waiting {
    /// Names that the directory itself told, from the one at this place on.
    Listed(Names, usize),
    /// Names that a person told, each with what is wanted of it.
    Named(Peekable<btree_map::IntoIter<Blob, Plan>>),
}

impl Waiting {
    /// What a directory told, sorted.
    pub fn listed(mut names: Names) -> Self {
        names.shrink();
        Self::Listed(names, 0)
    }

    /// What a person told.
    pub fn named(names: BTreeMap<Blob, Plan>) -> Self {
        Self::Named(names.into_iter().peekable())
    }

    /// The next name.
    pub fn peek(&mut self) -> Option<Blob> {
        match self {
            Self::Listed(names, next) => names.get(*next).map(paths::blob),
            Self::Named(names) => names.peek().map(|(name, _)| name.clone()),
        }
    }

    /// Goes on to the one after; says what is wanted of this one if a person told it.
    pub fn pass(&mut self) -> Option<Plan> {
        match self {
            Self::Listed(_, next) => {
                *next += 1;
                None
            }
            Self::Named(names) => names.next().map(|(_, plan)| plan),
        }
    }
}

/// The source that is being walked.
pub struct Within {
    /// How many frames there are while the walk is in it.
    pub depth: usize,
    /// How long its path is.
    pub path_len: usize,
    /// The file system that it is on.
    pub device: u64,
}

/// Patterns that a directory's own file of them holds.
pub struct Patterns {
    /// How many frames there are while they hold.
    pub depth: usize,
    /// How long the path is that theirs are relative to.
    pub path_len: usize,
    pub matcher: Matcher,
}

/// The rest of a path behind the directory whose path is so long.
pub fn below(path: &Path, directory_len: usize) -> &Path {
    let rest = path.as_os_str().as_bytes().get(directory_len..).unwrap_or_default();
    Path::new(OsStr::from_bytes(rest.strip_prefix(b"/").unwrap_or(rest)))
}
