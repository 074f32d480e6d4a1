//! The simulator's own exercise: servers that keep values on redb, clients that
//! write to them over QUIC and to the object storage with tickets, and everything
//! that can go wrong with machines, links, disks and storage.
//!
//! What must hold: a value acknowledged after a sync is never lost; a value that
//! is there is the one that was written; an object is there, whole, if the storage
//! said so, and no changed ticket stored anything; once the faults stop, every
//! client finishes.

mod client;
mod server;
mod tls;
mod wire;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use client::{Ledger, SharedLedger, Work};
use protocol::{
    ids::RepositoryId,
    records::{Storage, StorageCredential},
};

use redb::ReadableDatabase;

use super::{
    Scenario,
    swarm::{LAPSES_ALL, OF_MACHINES, OF_STORAGE, Swarm, Trouble, millis, nodes},
};
use crate::{
    env::store::{address, sha256},
    kernel::{
        fault::{Fault, Node, Plan, Planned, Weather},
        lock,
        rng::Stream,
    },
    world::{Machine, Options, World, open_durable},
};

/// The same on disks that lie about syncs: it must fail, or the checks are blind.
pub const LYING_DISKS: Scenario = Scenario {
    name: "lying-disks",
    about: "the scenario network on disks that lose what they synced: must fail",
    options,
    plan: |seed| {
        let liars = (0..SERVERS).map(|node| Planned { at: Duration::ZERO, fault: Fault::DiskLies(Node(node)) });
        liars.chain(plan(seed)).collect()
    },
    panics: &[],
    play,
};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "network",
    about: "values on redb over QUIC and objects by ticket, under all faults",
    options,
    plan,
    panics: &[],
    play,
};

const SERVERS: u32 = 3;
const CLIENTS: u32 = 2;
/// Operations of each client: at about ten a second they last as long as the faults.
const OPERATIONS: u64 = 300;
/// When faults begin and end.
const FAULTS: std::ops::Range<Duration> = millis(2_000, 30_000);
/// When all is right again. Not on the list of faults, which may be shortened.
const CALM: Duration = Duration::from_secs(40);
/// When everyone must have finished: a storage that does not answer costs a client
/// 20 seconds each time, and virtual time costs little.
const DEADLINE: Duration = Duration::from_secs(600);

fn options(seed: u64) -> Options {
    Options { weather: Weather::drawn(&mut Stream::new(seed, "network options", 0)), ..Options::default() }
}

/// Everything that can go wrong.
fn plan(seed: u64) -> Vec<Planned> {
    let (mut plan, everyone) = (Plan::default(), nodes(0..SERVERS + CLIENTS));
    let swarm = Swarm {
        strikes: &everyone,
        machines: SERVERS + CLIENTS,
        times: 15..30,
        during: FAULTS,
        lasts: millis(100, 4_000),
        allowed: &[OF_MACHINES, OF_STORAGE, &[Trouble::DiskFull, Trouble::StorageCut]].concat(),
        lapses: LAPSES_ALL,
    };
    swarm.add(&mut plan, &mut Stream::new(seed, "network plan", 0));
    plan.finish()
}

fn storage() -> Storage {
    Storage {
        repository: RepositoryId([7; 16]),
        name: "main".to_owned(),
        endpoint: "http://storage:9000".to_owned(),
        region: "sim".to_owned(),
        bucket: "bucket".to_owned(),
        prefix: "nuts".to_owned(),
        virtual_host: false,
        authorities: Vec::new(),
    }
}

fn play(world: &mut World) -> anyhow::Result<()> {
    let key = StorageCredential::new("minter", "secret");
    world.store().allow(&key, false);
    let names: Vec<String> = (0..SERVERS).map(|number| format!("server{number}")).collect();
    let ledger = SharedLedger::default();
    lock(&ledger).done = vec![0; CLIENTS as usize];
    for (number, name) in (0..).zip(&names) {
        let machine = Machine::new(name, IpAddr::V4(Ipv4Addr::new(10, 0, 0, number + 1)));
        let key = key.clone();
        world.add_node(machine, move |env, info| server::serve(env, info, storage(), key.clone()));
    }
    for number in 0..CLIENTS {
        let machine = Machine::new(format!("client{number}"), IpAddr::V4(Ipv4Addr::new(10, 0, 1, number as u8 + 1)));
        let work = Work {
            number: number as usize,
            servers: names.clone(),
            operations: OPERATIONS,
            storage: storage(),
            ledger: Arc::clone(&ledger),
        };
        let stream = world.stream(&format!("client {number}"));
        world.add_node(machine, move |env, info| {
            // Each life works on its own part of the stream.
            let mut stream = stream.clone();
            let stream = (0..info.life).map(|_| Stream::new(stream.number(), "life", info.life)).last();
            let work = work.clone();
            async move { client::work(env, info, stream.context("lives count from 1")?, work).await }
        });
    }
    world.boot_all();
    world.schedule(CALM, Fault::Calm);
    let finished = world.run_until(DEADLINE, |world| {
        let ledger = lock(&ledger);
        ledger.done.iter().all(|done| *done >= OPERATIONS) || !ledger.broken.is_empty() || unexplained(world).is_some()
    });
    let ledger = lock(&ledger).clone();
    world.note(format_args!(
        "promised {} lazy {} stored {} forged {}",
        ledger.kept.len(),
        ledger.lazy.len(),
        ledger.stored.len(),
        ledger.forged.len()
    ));
    ensure!(finished, "clients are stuck at {:?} of {OPERATIONS} operations", ledger.done);
    check(world, &ledger)
}

/// Why a process ended, if not for want of room on its disk.
fn unexplained(world: &World) -> Option<&str> {
    let errors = world.exits().iter().filter_map(|exit| exit.error.as_deref());
    let mut errors = errors.filter(|error| !error.contains("no storage space"));
    errors.next()
}

fn check(world: &World, ledger: &Ledger) -> anyhow::Result<()> {
    if let Some(broken) = ledger.broken.first() {
        bail!("{broken}");
    }
    if let Some(error) = unexplained(world) {
        bail!("a process ended: {error}");
    }
    for server in 0..SERVERS {
        let drive = world.disk(Node(server)).context("a server without a disk")?;
        let database = open_durable(drive, server::DATABASE)?;
        let index = server as usize;
        for ((_, key), value) in ledger.kept.range((index, 0)..(index + 1, 0)) {
            let database = database.as_ref().context("a server lost its database")?;
            let found = server::read(&database.begin_read()?, *key)?;
            ensure!(found.as_ref() == Some(value), "server {server} lost {key:x}, which it had acknowledged");
        }
        for ((_, key), value) in ledger.lazy.range((index, 0)..(index + 1, 0)) {
            let found = match &database {
                Some(database) => server::read(&database.begin_read()?, *key)?,
                None => None,
            };
            ensure!(found.is_none_or(|found| found == *value), "server {server} has garbage under {key:x}");
        }
    }
    for (path, hash) in &ledger.stored {
        let object = world.store().object(&address(&storage(), path));
        let object = object.with_context(|| format!("{path} was stored and is not there"))?;
        ensure!(sha256(&object) == *hash, "{path} is not what was stored");
    }
    for path in &ledger.forged {
        for path in [path.clone(), format!("{path}-elsewhere")] {
            ensure!(world.store().object(&address(&storage(), &path)).is_none(), "{path} was forged");
        }
    }
    Ok(())
}
