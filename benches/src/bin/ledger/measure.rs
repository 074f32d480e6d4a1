//! The steps, and what is looked at in each.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use actors::{identity::Identity, operator::Candidate};
use benches::{
    cluster::{NAMES, Nodes, credential, object},
    machine::{Machine, Seeded},
    process::{Reading, read, read_all},
    trouble::Trouble,
};
use node::{env::DataDir, home::Home};
use protocol::{
    format::ledger::Head,
    ids::{ClusterId, RepositoryId},
    names::ObjectKey,
    sign::Signer,
};
use serde_json::{Value, json};

use crate::{
    Arguments,
    backup::{Backups, Fleet, Found},
    operator::Operator,
    report::{Report, Step},
};

/// Until memory that is not used any more was given back, and what follows a step is done.
const SETTLE: Duration = Duration::from_secs(15);
/// Between two looks at whether something has come about.
const LOOK: Duration = Duration::from_millis(200);
/// What a small cluster takes to be founded.
const SMALL: Duration = Duration::from_secs(60);
/// The incarnation after the first loss.
const REBUILT: u32 = 2;

/// A cluster whose ledger is large.
struct Stage {
    nodes: Nodes,
    operator: Operator,
    backups: Backups,
    patience: Duration,
}

/// Everything, one step after the other.
pub async fn measure(arguments: &Arguments, nuthatch: &Path, work: &Path) -> Result<Report, Trouble> {
    eprintln!("founding a small cluster in {}", work.display());
    let machine = Machine::open(work, Seeded::new(1, "ledger")).await?;
    let env = machine.env();
    let nodes = Nodes::start(nuthatch, work)?;
    let operator = Operator::new(nuthatch, work)?;
    found(&nodes, &operator, work).await?;
    let home = DataDir::open(&operator.home()).map_err(|error| Trouble::about("open", &operator.home(), &error))?;
    let root = Signer::from_seed(&*Home::on(Arc::new(home)).open_root_key(operator.passphrase())?);
    let cluster = ClusterId::of_root(&root.public());
    let storage = nodes.storage(RepositoryId([0; 16]));
    let steward = env.storages.steward(&storage, &credential());
    let steward = steward.map_err(|error| Trouble(format!("the storage cannot be used: {error}")))?;
    let patience = Duration::from_secs(60 * arguments.minutes);
    let mut stage = Stage { nodes, operator, backups: Backups::new(steward, root), patience };

    let (before, fleet) = stage.small_backup(&cluster, arguments).await?;
    let author = Identity::load_or_create(&disk(&stage.nodes, NAMES[0])?, &*env.rng)?;
    for name in NAMES {
        stage.nodes.lose(name)?;
    }
    eprintln!("writing a backup of {} clients and {} snapshots", fleet.clients, fleet.snapshots);
    // A commit that the backup has is only looked for in the listing: one without content will do.
    let mut listed = 0;
    let stored = |key: &ObjectKey| {
        listed += 1;
        if listed > arguments.listed {
            return Ok(());
        }
        let path = object(work, key);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| File::create(&path));
        made.map(drop).map_err(|error| Trouble::about("write", &path, &error))
    };
    stage.backups.inflate(&env, &before, &author, &fleet, stored).await?;
    for name in NAMES {
        stage.nodes.again(name)?;
    }

    eprintln!("rebuilding the cluster from it");
    let rebuild = stage.rebuild(work, &fleet).await?;
    let backup = stage.await_backup(&fleet).await?;
    let rebuilt = read_all(&stage.nodes.orchestrators())?;
    tokio::time::sleep(SETTLE).await;
    let settled = stage.readings()?;

    let (status, leader) = stage.status().await?;
    eprintln!("listing the clients");
    let list = stage.list(fleet.clients).await?;
    let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != leader).collect();
    let [follower, lost, ..] = others[..] else {
        return Err(Trouble(format!("no orchestrator of {NAMES:?} is the leader {leader:?}")));
    };
    eprintln!("restarting {follower}");
    let restart = stage.restart(follower).await?;
    eprintln!("replacing {lost}");
    let replace = stage.replace(lost).await?;
    tokio::time::sleep(SETTLE).await;
    eprintln!("watching the idle orchestrators for {} s", arguments.idle);
    let (began, before) = (Instant::now(), read_all(&stage.nodes.orchestrators())?);
    tokio::time::sleep(Duration::from_secs(arguments.idle)).await;
    let after = read_all(&stage.nodes.orchestrators())?;
    let idle = after.cpu.saturating_sub(before.cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    let (image, log) = stage.files(&leader)?;
    Ok(Report {
        clients: fleet.clients,
        snapshots: fleet.snapshots,
        listed: arguments.listed.min(fleet.snapshots),
        cores: benches::process::cores(),
        rebuild,
        memory: settled.map(|reading| reading.resident),
        peak: rebuilt.peak,
        image,
        log,
        backup,
        status,
        list,
        restart,
        replace,
        idle,
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn named(candidate: &Candidate) -> String {
    let key = candidate.key.as_ref().map(|key| format!("#{key}")).unwrap_or_default();
    format!("{}={}{key}", candidate.name, candidate.address)
}

fn disk(nodes: &Nodes, name: &str) -> Result<DataDir, Trouble> {
    let path = nodes.directory(name);
    DataDir::open(&path).map_err(|error| Trouble::about("open", &path, &error))
}

/// The words that name the storage and its credential.
fn place(nodes: &Nodes, work: &Path) -> Vec<String> {
    let storage = nodes.storage(RepositoryId([0; 16]));
    let mut place = words(&["--endpoint", &storage.endpoint, "--bucket", &storage.bucket]);
    place.extend(words(&["--prefix", &storage.prefix]));
    for (word, file) in [("--access-key-file", "access-key"), ("--secret-key-file", "secret-key")] {
        place.extend([word.into(), work.join(file).display().to_string()]);
    }
    place
}

fn orchestrators(nodes: &Nodes) -> impl Iterator<Item = String> {
    nodes.candidates().into_iter().flat_map(|candidate| ["--orchestrator".into(), named(&candidate)])
}

/// Makes a cluster with one storage and one domain.
async fn found(nodes: &Nodes, operator: &Operator, work: &Path) -> Result<(), Trouble> {
    let mut init = words(&["cluster", "init", "--name", "large"]);
    init.extend(operator.root().into_iter().chain(orchestrators(nodes)));
    operator.run(&init, SMALL).await?;
    let mut storage = words(&["storage", "add", "main"]);
    storage.extend(place(nodes, work));
    operator.run(&storage, SMALL).await?;
    operator.run(&words(&["domain", "create", "fleet", "--storage", "main"]), SMALL).await?;
    Ok(())
}

impl Stage {
    /// Waits for a backup that has the domain, and draws a fleet of it.
    async fn small_backup(&self, cluster: &ClusterId, arguments: &Arguments) -> Result<(Head, Fleet), Trouble> {
        let began = Instant::now();
        while began.elapsed() < SMALL {
            if let Some(Found { head, .. }) = self.backups.newest(1).await? {
                let kept = self.backups.read(&head).await?;
                if let Some(fleet) = Fleet::of(&kept, cluster, arguments.clients, arguments.snapshots) {
                    return Ok((head, fleet));
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Trouble(format!("the small cluster has not backed up its ledger within {} s", SMALL.as_secs())))
    }

    async fn rebuild(&self, work: &Path, fleet: &Fleet) -> Result<Step, Trouble> {
        let mut rebuild = words(&["cluster", "rebuild", "--yes"]);
        rebuild.extend(place(&self.nodes, work));
        rebuild.extend(self.operator.root().into_iter().chain(orchestrators(&self.nodes)));
        let done = self.operator.run(&rebuild, self.patience).await?;
        if (&done.said["clients"], &done.said["snapshots"]) != (&json!(fleet.clients), &json!(fleet.snapshots)) {
            return Err(Trouble(format!("the cluster began again with something else: {}", done.said)));
        }
        Ok(Step { took: done.took, peak: done.peak, bytes: 0 })
    }

    /// Waits until the new cluster has backed up its ledger.
    async fn await_backup(&self, fleet: &Fleet) -> Result<Step, Trouble> {
        eprintln!("waiting for the next backup");
        let began = Instant::now();
        while began.elapsed() < self.patience {
            if let Some(Found { head, bytes }) = self.backups.newest(REBUILT).await?
                && (head.clients, head.snapshots) == (fleet.clients, fleet.snapshots)
            {
                return Ok(Step { took: began.elapsed(), peak: 0, bytes });
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Trouble("the rebuilt cluster does not back up its ledger".into()))
    }

    fn readings(&self) -> Result<[Reading; 3], Trouble> {
        let all: Vec<Reading> = self.nodes.orchestrators().into_iter().filter_map(read).collect();
        all.try_into().map_err(|_| Trouble("an orchestrator has ended: see its log".into()))
    }

    fn resident(&self, name: &str) -> Result<u64, Trouble> {
        let reading = self.nodes.orchestrator(name).and_then(read);
        reading.map(|reading| reading.resident).ok_or_else(|| Trouble(format!("{name} has ended: see its log")))
    }

    /// Asks for the status. How long it took, and who leads.
    async fn status(&self) -> Result<(Step, String), Trouble> {
        let done = self.operator.run(&words(&["cluster", "status"]), self.patience).await?;
        let nodes = done.said["orchestrators"].as_array().cloned().unwrap_or_default();
        let leader = nodes.iter().find(|node| node["leader"] == true).and_then(|node| node["name"].as_str());
        let leader = leader.ok_or_else(|| Trouble(format!("nobody leads: {}", done.said)))?.to_owned();
        Ok((Step { took: done.took, peak: done.peak, bytes: done.said_bytes as u64 }, leader))
    }

    async fn list(&self, clients: u64) -> Result<Step, Trouble> {
        let done = self.operator.run(&words(&["client", "list"]), self.patience).await?;
        let listed = done.said["clients"].as_array().map_or(0, Vec::len) as u64;
        if listed != clients {
            return Err(Trouble(format!("{listed} of {clients} clients are listed")));
        }
        Ok(Step { took: done.took, peak: done.peak, bytes: done.said_bytes as u64 })
    }

    /// Asks for the status until all orchestrators are at work and have the whole log.
    async fn await_whole(&self) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            let (done, well) = self.operator.attempt(&words(&["cluster", "status"]), self.patience).await?;
            if well && is_whole(&done.said) {
                return Ok(());
            }
            if began.elapsed() > self.patience {
                return Err(Trouble(format!("the cluster is not whole again: {}", done.said)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn restart(&mut self, name: &str) -> Result<Step, Trouble> {
        self.nodes.stop(name);
        let began = Instant::now();
        self.nodes.again(name)?;
        self.await_whole().await?;
        Ok(Step { took: began.elapsed(), peak: 0, bytes: self.resident(name)? })
    }

    async fn replace(&mut self, name: &str) -> Result<Step, Trouble> {
        self.nodes.lose(name)?;
        self.nodes.again(name)?;
        let began = Instant::now();
        let candidates = self.nodes.candidates();
        let Some(candidate) = candidates.iter().find(|candidate| candidate.name == name) else {
            return Err(Trouble(format!("there is no orchestrator {name}")));
        };
        let mut add = words(&["orchestrator", "add", &named(candidate), "--replace", name, "--yes"]);
        add.extend(self.operator.root());
        self.operator.run(&add, self.patience).await?;
        self.await_whole().await?;
        Ok(Step { took: began.elapsed(), peak: 0, bytes: self.resident(name)? })
    }

    /// The bytes of a ledger's snapshot, and of the log, on an orchestrator's disk.
    fn files(&self, name: &str) -> Result<(u64, u64), Trouble> {
        let path = self.nodes.directory(name);
        let failed = |error| Trouble::about("look into", &path, &error);
        let (mut image, mut log) = (0, 0);
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (name, len) = (entry.file_name(), entry.metadata().map_err(failed)?.len());
            match name.to_str() {
                Some("log") => log = len,
                Some(name) if name.starts_with("ledger-") => image = len.max(image),
                _ => {}
            }
        }
        Ok((image, log))
    }
}

/// Whether all orchestrators of a status vote, and have applied the same.
fn is_whole(status: &Value) -> bool {
    let nodes = status["orchestrators"].as_array().cloned().unwrap_or_default();
    let well = |node: &Value| node["voter"] == true && node["applied"] == nodes[0]["applied"];
    nodes.len() == NAMES.len() && nodes.iter().all(well)
}
