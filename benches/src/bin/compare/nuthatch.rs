//! This project's own program, as people run it: three orchestrators and the
//! built-in storage as processes, an enrolled client, and its commands.
//!
//! Invariant: however it ends, none of its processes outlives it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use benches::{
    node::{Node, write},
    trouble::Trouble,
};

use crate::{contender::Contender, measure};

/// The fewest that survive the loss of one.
const ORCHESTRATORS: [&str; 3] = ["a", "b", "c"];

/// A cluster, and one client of it.
pub struct Nuthatch {
    program: PathBuf,
    work: PathBuf,
    nodes: Vec<Node>,
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
        write(work, "access-key", "benchmark-access")?;
        write(work, "secret-key", "benchmark-secret-0123456789abcdef")?;
        write(work, "passphrase", "benchmark")?;
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

    /// Starts a node, and returns what follows each of `words` in what it says.
    fn node<const N: usize>(&mut self, name: &str, roles: &str, words: [&str; N]) -> Result<[String; N], Trouble> {
        let (node, said) = Node::start(&self.program, &self.work, name, roles, words)?;
        self.nodes.push(node);
        Ok(said)
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
        self.nodes.iter().map(Node::id).collect()
    }
}
