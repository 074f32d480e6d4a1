//! Whether this disk is the one on which this node's voter has promised, or an old copy
//! of it.
//!
//! A file system gives a copied file another number, and a host that puts a virtual machine
//! back to a snapshot changes its generation: such a disk is not voted with. A file that was
//! written over in place cannot be told from one that was given other attributes, which some
//! systems do at each start: then all others have to be asked first what they remember
//! (`log::memory`). A disk that was put back so that none of these can see it is outside of I3.
//!
//! Invariant: from the moment at which this node may first have promised anything, the
//! identity file's mark is on disk beside it, and is replaced only on a person's word.

use std::io;

use env::{Env, disk::Mark};
use protocol::failure::Failure;
use serde::{Deserialize, Serialize};

use crate::{identity, orchestrator::began, small_file};

/// What the mark was.
const MARK_FILE: &str = "disk-mark";
/// Says that another voter has found this disk to be an old one, and why.
const OLD_FILE: &str = "disk-old";

/// What the mark file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    inode: u64,
    born_ns: Option<i128>,
    changed_ns: i128,
    machine: Option<Vec<u8>>,
}

impl Kept {
    fn of(mark: Mark) -> Self {
        let Mark { inode, born_ns, changed_ns, machine } = mark;
        Self { inode, born_ns, changed_ns, machine }
    }

    /// What differs, for a person. What cannot be told, then or now, tells nothing.
    fn differs_from(&self, now: &Self) -> Option<&'static str> {
        let is_copy = self.inode != now.inode || self.born_ns.zip(now.born_ns).is_some_and(|(then, now)| then != now);
        match (&self.machine, &now.machine) {
            _ if is_copy => Some("its files are copies"),
            (Some(then), Some(now)) if then != now => Some("the machine was cloned, or put back to a snapshot"),
            _ => None,
        }
    }
}

/// What a disk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The one that the voter promised on.
    Newest,
    /// That one, or its files were written over: the others have to be asked.
    Doubtful,
    /// Not one to be voted with: why, and what to do.
    Old(String),
}

/// Looks what this disk is. Until the log begins on it, it may be moved and copied.
pub fn check(env: &Env) -> Result<Verdict, Failure> {
    let place = env.disk.place();
    if let Some(why) = small_file::read::<String>(&*env.disk, OLD_FILE)? {
        return Ok(Verdict::Old(format!("{why}. Its data directory {place} is of no more use: {REMEDY}")));
    }
    let now = mark(env)?;
    let kept = if began::is_noted(env)? { small_file::read::<Kept>(&*env.disk, MARK_FILE)? } else { None };
    let touched = kept.as_ref().is_some_and(|kept| kept.changed_ns != now.changed_ns);
    match kept.and_then(|kept| kept.differs_from(&now)) {
        Some(what) => Ok(Verdict::Old(format!(
            "the data directory {place} is not where it was ({what}): its voter may have forgotten what it promised, \
             so it does not take part. If it was restored from an older copy: {REMEDY}. If nothing was put back, and \
             it was only moved or given other owners while the node was stopped, say so with `nuthatch node vouch`"
        ))),
        None if touched => Ok(Verdict::Doubtful),
        None => note(env, now).map(|()| Verdict::Newest),
    }
}

/// What to do with an old disk.
const REMEDY: &str = "start the node with an empty data directory, and give it the old one's place \
                      (`nuthatch orchestrator add NAME=HOST:PORT#KEY --replace NAME`)";

/// All others were asked, and none remembers more than this disk holds.
pub fn settle(env: &Env) -> Result<(), Failure> {
    note(env, mark(env)?)
}

/// Another voter has found that this disk forgot something: noted for good.
pub fn condemn(env: &Env, why: &str) -> Result<(), Failure> {
    small_file::write(&*env.disk, OLD_FILE, &why)
}

/// Takes a person's word that this is the disk on which the node ran last, as it was then.
/// Fails if another voter knows better.
pub fn vouch(env: &Env) -> Result<(), Failure> {
    if let Some(why) = small_file::read::<String>(&*env.disk, OLD_FILE)? {
        return Err(Failure::denied(format!("{why}: {REMEDY}")));
    }
    small_file::write(&*env.disk, MARK_FILE, &mark(env)?)
}

fn mark(env: &Env) -> Result<Kept, Failure> {
    let mark = env.disk.mark(identity::FILE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::not_found(format!("{} holds no node's keys: nothing ran there yet", env.disk.place()))
        }
        _ => small_file::failure("read", &*env.disk, &error),
    })?;
    Ok(Kept::of(mark))
}

fn note(env: &Env, mut now: Kept) -> Result<(), Failure> {
    let kept = small_file::read::<Kept>(&*env.disk, MARK_FILE)?;
    // A generation that cannot be told this time is remembered for the next.
    now.machine = now.machine.or_else(|| kept.as_ref().and_then(|kept| kept.machine.clone()));
    if kept.as_ref() == Some(&now) { Ok(()) } else { small_file::write(&*env.disk, MARK_FILE, &now) }
}
