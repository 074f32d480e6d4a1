//! One node of the demo, as a process of its own.

use std::{
    fs::OpenOptions,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::cli::{Trouble, read_file};

/// How long a node may take from its start to its first words.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Lines of a failed node's log that are shown.
const LOG_LINES: usize = 5;

/// A node that runs.
pub struct Process {
    /// What the demo calls it.
    pub name: String,
    config: PathBuf,
    log: PathBuf,
    keep: bool,
    child: Child,
}

impl Process {
    /// Starts a node, and waits until it has printed a line that starts with each of
    /// `words`. Returns what follows them.
    pub async fn start<const N: usize>(
        name: &str,
        config: &Path,
        keep: bool,
        words: [&str; N],
    ) -> Result<(Self, [String; N]), Trouble> {
        let log = config.with_extension("log");
        let child = spawn(config, &log, keep)?;
        let mut process = Self { name: name.into(), config: config.into(), log, keep, child };
        let said = process.listen(words).await?;
        Ok((process, said))
    }

    /// Starts it again, after it was killed.
    pub async fn restart(&mut self) -> Result<(), Trouble> {
        self.child = spawn(&self.config, &self.log, self.keep)?;
        self.listen(["listening on "]).await.map(drop)
    }

    async fn listen<const N: usize>(&mut self, words: [&str; N]) -> Result<[String; N], Trouble> {
        let failed = |reason: &str| {
            let log = read_file(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
            Trouble::new("internal", format!("the process of {} {reason}", self.name))
                .hint(format!("Its last words:\n  {last}"))
        };
        let Some(stdout) = self.child.stdout.take() else { return Err(failed("has no output")) };
        let mut lines = BufReader::new(stdout).lines();
        let mut found: [Option<String>; N] = std::array::from_fn(|_| None);
        let reading = async {
            while found.iter().any(Option::is_none) {
                let Ok(Some(line)) = lines.next_line().await else { return false };
                for (word, found) in words.iter().zip(&mut found) {
                    if let Some(rest) = line.strip_prefix(word) {
                        *found = Some(rest.trim().to_owned());
                    }
                }
            }
            true
        };
        match timeout(START_PATIENCE, reading).await {
            Ok(true) => Ok(found.map(Option::unwrap_or_default)),
            Ok(false) => Err(failed("ended at once")),
            Err(_) => Err(failed("did not start in time")),
        }
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) -> Result<(), Trouble> {
        self.child.start_kill().map_err(|error| Trouble::new("internal", format!("cannot kill {}: {error}", self.name)))
    }

    /// Kills it, and waits until nothing of it is left.
    pub async fn end(&mut self) {
        // One that has ended already is as gone as one that is killed now.
        let _ = self.child.kill().await;
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }
}

fn spawn(config: &Path, log: &Path, keep: bool) -> Result<Child, Trouble> {
    let exe = std::env::current_exe()
        .map_err(|error| Trouble::new("internal", format!("cannot find this program: {error}")))?;
    let log =
        OpenOptions::new().create(true).append(true).open(log).map_err(|error| Trouble::file("write", log, &error))?;
    let mut command = Command::new(&exe);
    command.args(["node", "run", "--config"]).arg(config);
    if !keep {
        command.arg("--with-parent");
    }
    // In a group of its own, so that Ctrl-C reaches the demo, which then ends it.
    let command = command.process_group(0).kill_on_drop(!keep).env_remove("NUTHATCH_LOG");
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn();
    spawned.map_err(|error| Trouble::file("run", &exe, &error))
}

/// What a node said is an address.
pub fn address(text: &str) -> Result<SocketAddr, Trouble> {
    text.parse().map_err(|_| Trouble::new("internal", format!("a node says that it listens on {text:?}")))
}
