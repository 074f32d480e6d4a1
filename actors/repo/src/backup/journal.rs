//! What a backup leaves behind if it dies: packs that are stored, and that no commit
//! names.
//!
//! Invariant: a journal only saves uploads. Losing rows of it, or all, costs no
//! snapshot anything; a row is believed only as far as the storage bears it out.

use protocol::format::segment::PackRow;

/// A pack that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPack {
    /// Its name and lengths.
    pub pack: PackRow,
    /// Whether it holds parts of trees, not contents of files.
    pub trees: bool,
}

/// Remembers what a backup has stored.
pub trait Journal: Send + Sync {
    /// A pack is stored. Returns at once; that it is remembered soon is enough.
    fn stored(&self, pack: StoredPack);
}

/// Remembers nothing: for who does not go on with what was interrupted.
pub struct NoJournal;

impl Journal for NoJournal {
    fn stored(&self, _: StoredPack) {}
}
