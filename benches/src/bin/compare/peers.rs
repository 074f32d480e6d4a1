//! The peers: each with its defaults, encryption on, and a local repository.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use benches::trouble::Trouble;

use crate::{contender::Contender, measure};

const PASSWORD: &str = "benchmark";

/// How one peer is asked.
pub struct Peer {
    program: &'static str,
    work: PathBuf,
    environment: Vec<(&'static str, String)>,
    words: Words,
}

struct Words {
    backup: fn(&Peer, &Path, &str) -> Vec<String>,
    restore: fn(&Peer, &Path, &str, &Path) -> Vec<String>,
    /// Whether what is restored lies directly in the target.
    direct: bool,
}

/// A restic repository, at its default compression.
pub fn restic(work: &Path) -> Result<Peer, Trouble> {
    let environment = vec![
        ("RESTIC_REPOSITORY", text(&work.join("repository"))),
        ("RESTIC_PASSWORD", PASSWORD.into()),
        ("RESTIC_CACHE_DIR", text(&work.join("cache"))),
    ];
    let words = Words {
        backup: |_, source, _| words(&["-q", "backup", &text(source)]),
        restore: |_, _, _, target| words(&["-q", "restore", "latest", "--target", &text(target)]),
        direct: false,
    };
    let init = words_of("-q init");
    Peer { program: "restic", work: work.into(), environment, words }.initialised(&init)
}

/// A rustic repository, at its default compression.
pub fn rustic(work: &Path) -> Result<Peer, Trouble> {
    let environment = vec![
        ("RUSTIC_REPOSITORY", text(&work.join("repository"))),
        ("RUSTIC_PASSWORD", PASSWORD.into()),
        ("RUSTIC_CACHE_DIR", text(&work.join("cache"))),
        ("RUSTIC_NO_PROGRESS", "true".into()),
    ];
    let words = Words {
        backup: |_, source, _| words(&["backup", &text(source)]),
        restore: |_, source, _, target| words(&["restore", &format!("latest:{}", source.display()), &text(target)]),
        direct: true,
    };
    let init = words_of("init");
    Peer { program: "rustic", work: work.into(), environment, words }.initialised(&init)
}

/// A borg repository. Its default is a fast compression that stores a third more,
/// so it is asked for the one that the others use.
pub fn borg(work: &Path) -> Result<Peer, Trouble> {
    let environment = vec![
        ("BORG_REPO", text(&work.join("repository"))),
        ("BORG_PASSPHRASE", PASSWORD.into()),
        ("BORG_BASE_DIR", text(&work.join("base"))),
    ];
    let words = Words {
        backup: |_, source, label| words(&["create", "-C", "zstd,3", &format!("::{label}"), &text(source)]),
        restore: |_, _, label, _| words(&["extract", &format!("::{label}")]),
        direct: false,
    };
    let init = words_of("init -e repokey-blake2");
    Peer { program: "borg", work: work.into(), environment, words }.initialised(&init)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn words_of(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

impl Peer {
    fn initialised(self, init: &[String]) -> Result<Self, Trouble> {
        let repository = self.stored();
        fs::create_dir_all(&repository).map_err(|error| Trouble::about("make", &repository, &error))?;
        measure::run(self.command(init), &self.work.join("init.log"))?;
        Ok(self)
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(self.program);
        command.args(words).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Contender for Peer {
    fn backup(&self, source: &Path, label: &str) -> Command {
        self.command(&(self.words.backup)(self, source, label))
    }

    fn restore(&self, source: &Path, label: &str, target: &Path) -> Command {
        let mut command = self.command(&(self.words.restore)(self, source, label, target));
        // borg restores to where it is.
        command.current_dir(target);
        command
    }

    fn restored(&self, source: &Path, target: &Path) -> PathBuf {
        if self.words.direct { target.into() } else { target.join(source.strip_prefix("/").unwrap_or(source)) }
    }

    fn stored(&self) -> PathBuf {
        self.work.join("repository")
    }
}
