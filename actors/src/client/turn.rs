//! Whose turn it is: one backup of a data directory runs at a time.
//!
//! Invariant: the turn is a lock that a crash gives back, so whoever waits for it waits
//! for a process that is alive. What decides which of two backups may write is not this
//! lock but the log: see `Grant`.

use std::time::Duration;

use env::{Env, disk::Guard};
use protocol::failure::Failure;
use repo::{CancellationToken, Kind, Progress, RepoError};

use crate::small_file;

const LOCK: &str = "backup";
/// Who has the lock, for people.
const HOLDER: &str = "backup-holder";
/// Between two looks at the lock.
const PAUSE: Duration = Duration::from_millis(500);

/// What to do if another backup of this data directory is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Contention {
    /// Say so, and end.
    #[default]
    Refuse,
    /// Wait until it has ended.
    Wait,
    /// Have it end, and go on with what it has stored.
    TakeOver,
}

/// Takes the turn, if nobody has it.
pub fn try_take(env: &Env, me: &str) -> Result<Option<Box<dyn Guard>>, Failure> {
    let guard = match env.disk.lock(LOCK) {
        Ok(guard) => guard,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(small_file::failure("lock", &*env.disk, &error)),
    };
    // For people only: a disk without room for it is no reason not to back up.
    let _ = small_file::write(&*env.disk, HOLDER, &me.to_owned());
    Ok(Some(guard))
}

/// Waits for the turn.
pub async fn take(
    env: &Env,
    me: &str,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Box<dyn Guard>, RepoError> {
    loop {
        if let Some(guard) = try_take(env, me)? {
            progress.wait_for(None);
            return Ok(guard);
        }
        progress.wait_for(Some(format!("another backup of this machine is under way ({})", holder(env))));
        tokio::select! {
            () = env.clock.sleep(PAUSE) => {}
            () = cancel.cancelled() => return Err(RepoError::cancelled()),
        }
    }
}

/// The refusal of who does not wait.
pub fn taken(env: &Env) -> RepoError {
    RepoError::new(Kind::Busy, format!("another backup of this machine is under way ({})", holder(env)))
}

fn holder(env: &Env) -> String {
    // It is written right after the lock is taken, so it may not be there yet.
    let known: Option<String> = small_file::read(&*env.disk, HOLDER).ok().flatten();
    known.unwrap_or_else(|| format!("it holds the lock {LOCK} in {}", env.disk.place()))
}
