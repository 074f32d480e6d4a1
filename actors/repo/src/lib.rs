//! The data plane: walk, chunk, seal, pack, index, upload; restore, verify.
//!
//! Invariant: nothing here knows an orchestrator, a ticket or a connection.
//! Objects go through [`Objects`], everything else of the world through [`Context`].
//! Memory is bounded by the job's budget whatever the size or number of files.

mod backup;
mod buffers;
mod chunker;
mod context;
mod diff;
mod distrust;
mod error;
mod fetch;
mod index;
mod keys;
mod objects;
mod open;
mod paths;
mod problems;
mod progress;
mod restore;
mod seal;
mod snapshot;
mod trees;
mod verify;
mod walk;

pub use backup::{BackupJob, Journal, NoJournal, Outcome, Rules, StoredPack, Stream, backup};
#[cfg(fuzzing)]
pub use backup::{Hint, open_hints, seal_hints};
pub use chunker::Cutter;
pub use context::Context;
pub use diff::{Change, DiffJob, DiffSummary, Difference, diff};
pub use distrust::Distrust;
pub use error::{Kind, RepoError};
pub use index::{Attic, Segments};
pub use keys::Keys;
pub use objects::Objects;
pub use open::Opener;
pub use problems::{Problem, Problems};
pub use progress::{Progress, Tally};
pub use restore::{Deed, Left, Listing, Overwrite, RestoreJob, RestoreOptions, RestoreOutcome, Selection, restore};
pub use seal::Sealer;
pub use snapshot::{ListJob, Snapshot, ls, show, show_all};
pub use tokio_util::sync::CancellationToken;
pub use verify::{Cost, Damage, ReadData, VerifyJob, VerifyReport, verify};
