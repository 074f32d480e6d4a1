//! Which paths are walked: the sources, and the directories that lead to them.

use std::{collections::BTreeMap, path::PathBuf};

use protocol::format::tree::Blob;

use crate::{error::RepoError, paths};

/// What of a directory is walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// All of it, whatever it is.
    Whole,
    /// Only these names.
    Only(BTreeMap<Blob, Plan>),
}

impl Plan {
    /// The plan for the root directory. A source within another adds nothing.
    pub fn new(sources: &[PathBuf]) -> Result<Self, RepoError> {
        if sources.is_empty() {
            return Err(RepoError::invalid("there is nothing to back up: name at least one path"));
        }
        let mut root = Self::Only(BTreeMap::new());
        for source in sources {
            let mut plan = &mut root;
            let mut covered = false;
            for name in paths::components(source)? {
                match plan {
                    Self::Whole => {
                        covered = true;
                        break;
                    }
                    Self::Only(names) => plan = names.entry(name).or_insert_with(|| Self::Only(BTreeMap::new())),
                }
            }
            if !covered {
                *plan = Self::Whole;
            }
        }
        Ok(root)
    }

    /// The sources that this is the plan for, if it is the plan for `path`.
    pub fn sources(self, path: PathBuf) -> Vec<PathBuf> {
        let mut sources = Vec::new();
        let mut waiting = vec![(path, self)];
        while let Some((path, plan)) = waiting.pop() {
            match plan {
                Self::Whole => sources.push(path),
                Self::Only(names) => {
                    waiting.extend(names.into_iter().rev().map(|(name, plan)| (paths::join(&path, &name), plan)));
                }
            }
        }
        sources
    }
}
