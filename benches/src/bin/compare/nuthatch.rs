//! This project's own program, as people run it: three orchestrators and the
//! built-in storage as processes, an enrolled client, and its commands.
//!
//! Invariant: however it ends, none of its processes outlives it.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{Trouble, contender::Contender, measure};

/// The fewest that survive the loss of one.
const ORCHESTRATORS: [&str; 3] = ["a", "b", "c"];
/// Lines that a node may say before the one that is waited for.
const LINES_MAX: usize = 100;

/// A cluster, and one client of it.
pub struct Nuthatch {
    program: PathBuf,
    work: PathBuf,
    nodes: Vec<Node>,
}

/// A node that runs; it ends with this value.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nuthatch {
    /// Starts the cluster, and enrolls the client.
    pub fn open(work: &Path, program: &Path) -> Result<Self, Trouble> {
        let mut cluster = Self { program: program.into(), work: work.into(), nodes: Vec::new() };
        let mut adopted = Vec::new();
        for name in ORCHESTRATORS {
            let roles = "roles = [\"orchestrator\"]\nlisten = \"127.0.0.1:0\"\n";
            let [address, key] = cluster.node(&format!("orchestrator-{name}"), roles, ["listening on ", "key "])?;
            adopted.push(format!("{name}={address}#{key}"));
        }
        cluster.write("access-key", "benchmark-access")?;
        cluster.write("secret-key", "benchmark-secret-0123456789abcdef")?;
        cluster.write("passphrase", "benchmark")?;
        let storage = format!(
            "roles = [\"storage\"]\n[storage]\nlisten = \"127.0.0.1:0\"\nbucket = \"bench\"\ndir = {:?}\naccess_key_file = {:?}\nsecret_key_file = {:?}\n",
            cluster.stored(),
            cluster.path("access-key"),
            cluster.path("secret-key"),
        );
        let [endpoint] = cluster.node("storage", &storage, ["serving "])?;

        let mut init =
            vec!["cluster", "init", "--name", "bench", "--admin", "bench", "--passphrase-file", "passphrase"];
        adopted.iter().for_each(|node| init.extend(["--orchestrator", node]));
        cluster.operator(&init)?;
        let storage =
            ["storage", "add", "main", "--endpoint", &endpoint, "--bucket", "bench", "--prefix", "repository"];
        cluster.operator(
            &[&storage[..], &["--access-key-file", "access-key", "--secret-key-file", "secret-key"]].concat(),
        )?;
        cluster.operator(&["domain", "create", "bench", "--storage", "main"])?;
        cluster.operator(&["token", "create", "--domain", "bench", "--output", "token"])?;
        let mut enroll = cluster.client(&["enroll", "--name", "bench", "--token-file"]);
        enroll.arg(cluster.path("token"));
        cluster.run(enroll)?;
        Ok(cluster)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Trouble> {
        let path = self.path(name);
        fs::write(&path, text).map_err(|error| Trouble::file("write", &path, &error))
    }

    /// Starts a node, and waits until it has said a line that starts with each of
    /// `words`. Returns what follows them.
    fn node<const N: usize>(&mut self, name: &str, roles: &str, words: [&str; N]) -> Result<[String; N], Trouble> {
        self.write(&format!("{name}.toml"), &format!("data_dir = {:?}\n{roles}", self.path(name)))?;
        let log = self.path(&format!("{name}.log"));
        let failed = |error| Trouble::file("start the node of", &log, &error);
        let mut command = Command::new(&self.program);
        command.args(["node", "run", "--with-parent", "--config"]).arg(self.path(&format!("{name}.toml")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).map_err(failed)?);
        let mut child = command.spawn().map_err(failed)?;
        let said = child.stdout.take();
        self.nodes.push(Node(child));
        let mut found: [Option<String>; N] = std::array::from_fn(|_| None);
        for line in said.into_iter().flat_map(|said| BufReader::new(said).lines()).take(LINES_MAX) {
            let line = line.map_err(failed)?;
            for (word, found) in words.iter().zip(&mut found) {
                if let Some(rest) = line.strip_prefix(word) {
                    *found = Some(rest.trim().to_owned());
                }
            }
            if found.iter().all(Option::is_some) {
                return Ok(found.map(Option::unwrap_or_default));
            }
        }
        Err(Trouble(format!("the node {name} ended at once: see {}", log.display())))
    }

    fn operator(&self, words: &[&str]) -> Result<(), Trouble> {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--home").arg(self.path("home"));
        self.run(command)
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(words[0]).args(&words[1..]);
        command.env("NUTHATCH_DATA_DIR", self.path("client"));
        command
    }

    fn run(&self, mut command: Command) -> Result<(), Trouble> {
        command.current_dir(&self.work);
        measure::run(command, &self.path("command.log")).map(drop)
    }
}

impl Contender for Nuthatch {
    fn backup(&self, source: &Path, label: &str) -> Command {
        let mut command = self.client(&["snapshot", "create", "--description", label]);
        command.arg(source);
        command
    }

    fn restore(&self, _: &Path, _: &str, target: &Path) -> Command {
        let mut command = self.client(&["restore", "latest"]);
        command.arg(target);
        command
    }

    fn stored(&self) -> PathBuf {
        self.path("objects")
    }

    fn servers(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.0.id()).collect()
    }
}
