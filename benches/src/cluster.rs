//! Three orchestrators and a storage, as processes of the release program on 127.0.0.1.
//!
//! Invariant: an orchestrator that is started again listens where it did before, as those
//! who know it expect.

use std::{
    fs,
    path::{Path, PathBuf},
};

use actors::operator::Candidate;
use protocol::{
    ids::RepositoryId,
    names::ObjectKey,
    records::{Storage, StorageCredential},
};

use crate::{
    node::{self, Node},
    trouble::Trouble,
};

/// The fewest that survive the loss of one.
pub const NAMES: [&str; 3] = ["a", "b", "c"];
const ANY_PORT: &str = "127.0.0.1:0";
const BUCKET: &str = "bench";
const PREFIX: &str = "repository";

/// The nodes of a cluster.
pub struct Nodes {
    program: PathBuf,
    work: PathBuf,
    orchestrators: Vec<Orchestrator>,
    endpoint: String,
    _storage: Node,
}

struct Orchestrator {
    candidate: Candidate,
    /// None while it is lost.
    node: Option<Node>,
}

impl Nodes {
    /// Starts them, with their data in `work`. The orchestrators wait to be adopted.
    pub fn start(program: &Path, work: &Path) -> Result<Self, Trouble> {
        let started = NAMES.iter().map(|name| {
            let (node, candidate) = start(program, work, name, ANY_PORT)?;
            Ok(Orchestrator { candidate, node: Some(node) })
        });
        let orchestrators = started.collect::<Result<_, Trouble>>()?;
        let credential = credential();
        let access = node::write(work, "access-key", &credential.access_key)?;
        let secret = node::write(work, "secret-key", &credential.secret_key)?;
        let roles = format!(
            "roles = [\"storage\"]\n[storage]\nlisten = {ANY_PORT:?}\nbucket = {BUCKET:?}\ndir = {:?}\naccess_key_file = {access:?}\nsecret_key_file = {secret:?}\n",
            work.join("objects"),
        );
        let (storage, [endpoint]) = Node::start(program, work, "storage", &roles, ["serving "])?;
        let (program, work) = (program.to_owned(), work.to_owned());
        Ok(Self { program, work, orchestrators, endpoint, _storage: storage })
    }

    /// How an operator names the orchestrators.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.orchestrators.iter().map(|orchestrator| orchestrator.candidate.clone()).collect()
    }

    /// The storage, as a repository of this id.
    pub fn storage(&self, repository: RepositoryId) -> Storage {
        Storage {
            repository,
            name: "main".into(),
            endpoint: self.endpoint.clone(),
            region: "us-east-1".into(),
            bucket: BUCKET.into(),
            prefix: PREFIX.into(),
            virtual_host: false,
            authorities: Vec::new(),
        }
    }

    /// The process of an orchestrator.
    pub fn orchestrator(&self, name: &str) -> Option<u32> {
        self.orchestrators.iter().find(|one| one.candidate.name == name)?.node.as_ref().map(Node::id)
    }

    /// The processes of the orchestrators that run.
    pub fn orchestrators(&self) -> Vec<u32> {
        self.orchestrators.iter().filter_map(|one| one.node.as_ref()).map(Node::id).collect()
    }

    /// The data directory of an orchestrator.
    pub fn directory(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Kills an orchestrator.
    pub fn stop(&mut self, name: &str) {
        self.orchestrators.iter_mut().filter(|one| one.candidate.name == name).for_each(|one| one.node = None);
    }

    /// Kills an orchestrator, and its disk is gone.
    pub fn lose(&mut self, name: &str) -> Result<(), Trouble> {
        self.stop(name);
        let directory = self.directory(name);
        fs::remove_dir_all(&directory).map_err(|error| Trouble::about("remove", &directory, &error))
    }

    /// Starts an orchestrator that was stopped or lost.
    pub fn again(&mut self, name: &str) -> Result<(), Trouble> {
        for one in self.orchestrators.iter_mut().filter(|one| one.candidate.name == name) {
            let (node, candidate) = start(&self.program, &self.work, name, &one.candidate.address)?;
            *one = Orchestrator { candidate, node: Some(node) };
        }
        Ok(())
    }
}

/// Where the built-in storage that works in `work` has an object of the repository.
pub fn object(work: &Path, key: &ObjectKey) -> PathBuf {
    work.join(format!("objects/buckets/{BUCKET}/{PREFIX}/{key}="))
}

/// What the storage lets in.
pub fn credential() -> StorageCredential {
    StorageCredential::new("bench-access", "bench-secret-0123456789abcdef")
}

fn start(program: &Path, work: &Path, name: &str, listen: &str) -> Result<(Node, Candidate), Trouble> {
    let roles = format!("roles = [\"orchestrator\"]\nlisten = {listen:?}\n");
    let (node, [address, key]) = Node::start(program, work, name, &roles, ["listening on ", "key "])?;
    let key = key.parse().map_err(|error| Trouble(format!("orchestrator {name} says its key is {key}: {error}")))?;
    Ok((node, Candidate { name: name.into(), address, key: Some(key) }))
}
