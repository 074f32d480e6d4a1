//! A depth-first walk of a snapshot's tree, in the order of names.
//!
//! Invariant: no recursion, and of each directory on the way one node is held.
//! A part of a tree that cannot be read ends its directory, not the walk.

use std::path::PathBuf;

use protocol::{
    format::{
        content::Content,
        tree::{Entry, What},
    },
    limits,
};

use crate::{
    error::{Kind, RepoError},
    paths,
    trees::{DirectoryStream, TreeReader},
};

/// What a walk comes to.
#[derive(Debug)]
pub enum Event {
    /// A directory begins.
    Enter(PathBuf, Entry),
    /// Everything in the directory was told.
    Leave(PathBuf),
    /// Something else than a directory.
    Other(PathBuf, Entry),
    /// The rest of this directory cannot be read.
    Damaged(PathBuf, RepoError),
}

/// The walk.
pub struct Walk {
    stack: Vec<Level>,
}

struct Level {
    path: PathBuf,
    stream: Option<DirectoryStream>,
}

impl Walk {
    /// Starts in a directory, which itself is not told.
    pub fn new(path: PathBuf, content: Content) -> Self {
        Self { stack: vec![Level { path, stream: Some(DirectoryStream::new(content)) }] }
    }

    /// Goes on.
    pub async fn next(&mut self, trees: &TreeReader) -> Result<Option<Event>, RepoError> {
        let depth = self.stack.len();
        let Some(level) = self.stack.last_mut() else { return Ok(None) };
        let next = match &mut level.stream {
            Some(stream) => stream.next(trees).await,
            None => Ok(None),
        };
        match next {
            Ok(Some(entry)) => {
                let path = paths::join(&level.path, &entry.name);
                let What::Directory { content } = &entry.what else { return Ok(Some(Event::Other(path, entry))) };
                if depth >= limits::TREE_DEPTH_MAX {
                    let error = RepoError::corrupt("directories are nested more deeply than any backup makes them");
                    return Ok(Some(Event::Damaged(path, error)));
                }
                let stream = Some(DirectoryStream::new(content.clone()));
                self.stack.push(Level { path: path.clone(), stream });
                Ok(Some(Event::Enter(path, entry)))
            }
            Ok(None) => {
                let ended = self.stack.pop();
                // The directory at which the walk started was not told.
                Ok(ended.filter(|_| !self.stack.is_empty()).map(|level| Event::Leave(level.path)))
            }
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                level.stream = None;
                Ok(Some(Event::Damaged(level.path.clone(), error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Does not go into the directory that was entered last.
    pub fn skip(&mut self) {
        if let Some(level) = self.stack.last_mut() {
            level.stream = None;
        }
    }
}
