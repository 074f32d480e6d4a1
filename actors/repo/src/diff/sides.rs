//! One directory of two snapshots, name by name.

use std::{cmp::Ordering, iter::Peekable, vec::IntoIter};

use protocol::format::{
    content::{Content, Cursor, Next},
    tree::{Attributes, Blob, Entry, What},
};

use super::Difference;
use crate::{error::RepoError, trees::TreeReader};

/// One name, on both sides.
#[derive(Debug, Default)]
pub struct Pair {
    pub before: Option<Entry>,
    pub after: Option<Entry>,
}

impl Pair {
    /// The name.
    pub fn name(&self) -> Option<&Blob> {
        self.before.as_ref().or(self.after.as_ref()).map(|entry| &entry.name)
    }

    /// How the sides differ; what is in directories aside.
    pub fn difference(&self) -> Option<Difference> {
        let (before, after) = match (&self.before, &self.after) {
            (Some(before), Some(after)) => (before, after),
            (Some(_), None) => return Some(Difference::Removed),
            (None, Some(_)) => return Some(Difference::Added),
            (None, None) => return None,
        };
        let is_directory = match (&before.what, &after.what) {
            (What::Directory { .. }, What::Directory { .. }) => true,
            (one, other) if std::mem::discriminant(one) != std::mem::discriminant(other) => {
                return Some(Difference::Type);
            }
            (one, other) if one != other => return Some(Difference::Modified),
            _ => false,
        };
        let facts = |attributes: &Attributes| {
            let Attributes { mode, uid, gid, mtime, .. } = *attributes;
            // A directory's time of modification says no more than that something in it differs.
            (mode, uid, gid, (!is_directory).then_some(mtime))
        };
        let same = facts(&before.attributes) == facts(&after.attributes) && before.xattrs == after.xattrs;
        (!same).then_some(Difference::Metadata)
    }
}

/// A directory of both snapshots.
pub struct Sides {
    before: Side,
    after: Side,
}

struct Side {
    cursor: Cursor,
    ahead: Option<Next>,
    entries: Peekable<IntoIter<Entry>>,
    last: Option<Blob>,
}

impl Sides {
    /// At the first name.
    pub fn new(before: Content, after: Content) -> Self {
        Self { before: Side::new(before), after: Side::new(after) }
    }

    /// The next name that is not known to be the same on both sides.
    pub async fn next(&mut self, trees: &TreeReader) -> Result<Option<Pair>, RepoError> {
        let (before, after) = (&mut self.before, &mut self.after);
        while before.is_between()
            && after.is_between()
            && before.ahead() != Next::End
            && before.ahead() == after.ahead()
        {
            // The same node, or the same block of nodes: nothing in it differs.
            (before.ahead, after.ahead) = (None, None);
        }
        before.fill(trees).await?;
        after.fill(trees).await?;
        Ok(match (before.entries.peek(), after.entries.peek()) {
            (Some(first), Some(second)) => Some(match first.name.cmp(&second.name) {
                Ordering::Less => Pair { before: before.take()?, after: None },
                Ordering::Equal => Pair { before: before.take()?, after: after.take()? },
                Ordering::Greater => Pair { before: None, after: after.take()? },
            }),
            (Some(_), None) => Some(Pair { before: before.take()?, after: None }),
            (None, Some(_)) => Some(Pair { before: None, after: after.take()? }),
            (None, None) => None,
        })
    }
}

impl Side {
    fn new(content: Content) -> Self {
        Self { cursor: Cursor::new(content), ahead: None, entries: Vec::new().into_iter().peekable(), last: None }
    }

    /// Whether it stands between two nodes.
    fn is_between(&mut self) -> bool {
        self.entries.peek().is_none()
    }

    fn ahead(&mut self) -> Next {
        *self.ahead.get_or_insert_with(|| self.cursor.advance())
    }

    /// Reads the next node if there is no entry at hand.
    async fn fill(&mut self, trees: &TreeReader) -> Result<(), RepoError> {
        while self.is_between() {
            match self.ahead() {
                Next::Chunk(reference) => self.entries = trees.node(&reference).await?.into_iter().peekable(),
                Next::Block(reference) => self.cursor.enter(trees.block(&reference).await?),
                Next::End => return Ok(()),
            }
            self.ahead = None;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Entry>, RepoError> {
        let entry = self.entries.next();
        if let Some(entry) = &entry {
            if self.last.as_ref().is_some_and(|last| *last >= entry.name) {
                return Err(RepoError::corrupt("a directory's nodes are not in order"));
            }
            self.last = Some(entry.name.clone());
        }
        Ok(entry)
    }
}
