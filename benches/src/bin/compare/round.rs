//! One round: one part of the corpus of one seed, every phase, every contender.
//!
//! Invariant: within a phase all contenders do the same to the same files, one
//! after the other, with nothing of an earlier one left to be written and the
//! source in the page cache. Who comes first differs from round to round. Every
//! restore is compared with its source, byte for byte. No file is deleted before
//! the end of the run: ext4 passes over inodes that were freed in the last minutes,
//! one by one, so that after a large deletion every new file costs whoever comes
//! next ten times what it should.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use benches::trouble::Trouble;
use serde::Serialize;

use crate::{
    contender::{Contender, Tool},
    corpus::{self, Part},
    measure::{self, Standing, Usage},
    tree,
};

/// What contenders are measured at, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Into an empty repository.
    First,
    /// The same again.
    Unchanged,
    /// After a day's work.
    Edited,
    /// Everything, into an empty directory.
    Restore,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::First, Self::Unchanged, Self::Edited, Self::Restore];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Unchanged => "unchanged",
            Self::Edited => "edited",
            Self::Restore => "restore",
        }
    }
}

/// What one contender took for one phase.
#[derive(Debug, Clone, Serialize)]
pub struct Taken {
    /// Of the corpus.
    pub seed: u64,
    /// Which part of it.
    pub part: String,
    /// Who: the name of a tool, or `cp -a`, which takes part in restores.
    pub who: &'static str,
    /// At what.
    pub phase: Phase,
    /// What its command took.
    pub usage: Usage,
    /// What its other processes took meanwhile, and the most memory that they have had.
    pub servers: Standing,
    /// Bytes in its repository afterwards.
    pub stored_bytes: u64,
}

/// What a round is of.
pub struct Round<'a> {
    /// Of the corpus.
    pub seed: u64,
    /// Of the corpus.
    pub scale: f64,
    /// Which part of it.
    pub part: Part,
    /// Who takes part, in order.
    pub tools: &'a [Tool],
    /// This project's program.
    pub nuthatch: &'a Path,
    /// An empty directory.
    pub work: &'a Path,
}

/// The name by which copying takes part.
pub const COPY: &str = "cp -a";

impl Round<'_> {
    /// Makes the corpus, and measures every phase. `told` hears of each as it is
    /// done. At the end all files are still there, empty.
    pub fn run(&self, told: &mut dyn FnMut(&Taken)) -> Result<Vec<Taken>, Trouble> {
        let source = self.work.join("source");
        let at_source = |error| Trouble::about("make the corpus", &source, &error);
        corpus::make(self.part, &source, self.seed, self.scale).map_err(at_source)?;
        let opened = self.tools.iter().map(|tool| {
            let contender = tool.open(&self.work.join(tool.name()), self.nuthatch)?;
            Ok((tool.name(), contender))
        });
        let contenders: Vec<_> = opened.collect::<Result<_, Trouble>>()?;

        let mut all = Vec::new();
        for phase in Phase::ALL {
            if phase == Phase::Edited {
                corpus::edit(self.part, &source, self.seed).map_err(at_source)?;
            }
            tree::warm(&source).map_err(at_source)?;
            measure::settle(matches!(phase, Phase::First | Phase::Edited));
            if phase == Phase::Restore {
                all.push(self.copy(&source)?);
                all.last().into_iter().for_each(&mut *told);
            }
            for (who, contender) in &contenders {
                all.push(self.measure(&source, phase, who, &**contender)?);
                all.last().into_iter().for_each(&mut *told);
            }
        }
        drop(contenders);
        empty(self.work)?;
        Ok(all)
    }

    fn measure(
        &self,
        source: &Path,
        phase: Phase,
        who: &'static str,
        contender: &dyn Contender,
    ) -> Result<Taken, Trouble> {
        let log = self.work.join(format!("{who}-{}.log", phase.name()));
        measure::settle(false);
        let before = measure::standing(&contender.servers());
        let usage = if phase == Phase::Restore {
            let target = self.target(who)?;
            let usage = measure::run(contender.restore(source, Phase::Edited.name(), &target), &log)?;
            self.check(who, source, &contender.restored(source, &target))?;
            empty(&target)?;
            usage
        } else {
            measure::run(contender.backup(source, phase.name()), &log)?
        };
        let mut servers = measure::standing(&contender.servers());
        servers.cpu_seconds -= before.cpu_seconds;
        let stored = contender.stored();
        let stored_bytes = tree::bytes(&stored).map_err(|error| Trouble::about("look at", &stored, &error))?;
        Ok(Taken { seed: self.seed, part: self.part.to_string(), who, phase, usage, servers, stored_bytes })
    }

    /// Copies the source: what a restore is held against, since how fast files can
    /// be made differs from machine to machine and from hour to hour.
    fn copy(&self, source: &Path) -> Result<Taken, Trouble> {
        let target = self.target("cp")?;
        let mut command = Command::new("cp");
        command.arg("-a").arg(source).arg(target.join("copy"));
        measure::settle(false);
        let usage = measure::run(command, &self.work.join("cp.log"))?;
        let copied = tree::bytes(&target).map_err(|error| Trouble::about("look at", &target, &error))?;
        empty(&target)?;
        Ok(Taken {
            seed: self.seed,
            part: self.part.to_string(),
            who: COPY,
            phase: Phase::Restore,
            usage,
            servers: Standing::default(),
            stored_bytes: copied,
        })
    }

    fn target(&self, who: &str) -> Result<PathBuf, Trouble> {
        let target = self.work.join(format!("restored-{who}"));
        fs::create_dir(&target).map_err(|error| Trouble::about("make", &target, &error))?;
        Ok(target)
    }

    fn check(&self, who: &str, source: &Path, restored: &Path) -> Result<(), Trouble> {
        match tree::difference(source, restored) {
            Ok(None) => Ok(()),
            Ok(Some(difference)) => {
                Err(Trouble(format!("what {who} restored is not what was backed up: {difference}")))
            }
            Err(error) => Err(Trouble::about("compare what was restored in", restored, &error)),
        }
    }
}

fn empty(path: &Path) -> Result<(), Trouble> {
    tree::empty(path).map_err(|error| Trouble::about("empty", path, &error))
}
