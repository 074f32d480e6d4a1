//! Whether the log has begun on this disk.
//!
//! Invariant: before this node first acknowledges anything of the log, a file says so.
//! A log that is empty after that is a lost one, and its voter must not vote again: it
//! could forget what it promised (I3).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use env::Env;
use probe::Plant;
use protocol::failure::Failure;

use crate::{log::Log, small_file};

const FILE: &str = "log-began";

/// Remembers that the log has begun. Clones share it.
#[derive(Clone)]
pub struct Began {
    env: Env,
    noted: Arc<AtomicBool>,
}

impl Began {
    /// What the disk says. Fails if the log began here and is gone.
    pub async fn check(env: &Env, log: &Log) -> Result<Self, Failure> {
        let (disk, noted) = (&*env.disk, is_noted(env)?);
        if noted && !log.has_begun().await && !probe::planted(Plant::LostLogVotes) {
            return Err(Failure::corrupt(format!(
                "the log in {} is lost, so this node may not vote any more: replace it by a node with an empty data \
                 directory (`nuthatch orchestrator add` with --replace)",
                disk.place()
            )));
        }
        Ok(Self { env: env.clone(), noted: Arc::new(AtomicBool::new(noted)) })
    }

    /// Notes it, if it has begun by now. Asked before each answer to another voter.
    pub async fn note(&self, log: &Log) -> Result<(), Failure> {
        if self.noted.load(Ordering::Acquire) || !log.has_begun().await {
            return Ok(());
        }
        let disk = &*self.env.disk;
        disk.replace(FILE, b"").map_err(|error| small_file::failure("write", disk, &error))?;
        self.noted.store(true, Ordering::Release);
        Ok(())
    }
}

/// Whether the disk says that the log has begun on it.
pub fn is_noted(env: &Env) -> Result<bool, Failure> {
    match env.disk.read(FILE) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(small_file::failure("read", &*env.disk, &error)),
    }
}
