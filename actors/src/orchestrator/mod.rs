//! The orchestrator role.
//!
//! Before its adoption a node answers `Hello` and `Adopt` only. Adopted, it opens
//! its seat: records, log, gossip, vault, and a desk that answers with them.
//!
//! Invariant: a seat is whole or it is not there. If one of its actors fails, all
//! of them end, what callers had under way ends, and the seat is opened again from
//! disk; callers meanwhile are told to retry.

mod clerk;
mod commits;
mod desk;
mod front;
mod gossip;
mod records;
mod stewards;
mod vault;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use control::Ledger;
use env::Env;
use protocol::{
    failure::Failure,
    ids::{ClusterId, NodeId},
    records::{Payload, Record},
    wire,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::Semaphore;

use self::{
    desk::Desk,
    front::Front,
    gossip::Gossip,
    records::{Loaded, Records},
    stewards::Stewards,
    vault::Vault,
};
use crate::{
    identity::Identity,
    log::Log,
    net::{Connections, Endpoint, Meter, Peers, server},
    small_file,
    system::start_error,
    tasks::Tasks,
};

/// Holds the root's public key and the keyset of the adoption: what a node needs
/// to know which cluster it belongs to.
const CLUSTER_FILE: &str = "cluster";
/// Exists once the log has begun here: from then on an empty log is a lost one.
const LOG_BEGAN_FILE: &str = "log-began";
const GENERATION_FILE: &str = "generation";
/// Commit objects read at the same time.
const COMMIT_FETCHES_MAX: usize = 8;
/// Between the end of a seat and the attempt to open it again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// The incarnation of a ledger that was never rebuilt.
const FIRST_INCARNATION: u32 = 1;

/// Starts the role: serves on `endpoint` from now on.
pub async fn start(
    env: &Env,
    identity: &Identity,
    endpoint: Endpoint,
    supervisor: &ActorCell,
) -> Result<ActorRef<Message>, Failure> {
    let arguments = Arguments { env: env.clone(), identity: identity.clone(), endpoint };
    let (actor, _) = Actor::spawn_linked(None, Orchestrator, arguments, supervisor.clone())
        .await
        .map_err(|error| Failure::internal(format!("cannot start the orchestrator: {}", start_error(&error))))?;
    Ok(actor)
}

/// What the orchestrator is told.
pub enum Message {
    /// Join a cluster.
    Adopt(wire::Adopt, RpcReplyPort<Result<(), Failure>>),
    /// Open the seat again after one of its actors failed.
    Reopen,
}

struct Orchestrator;

/// What it is started with.
struct Arguments {
    env: Env,
    identity: Identity,
    endpoint: Endpoint,
}

struct State {
    env: Env,
    identity: Identity,
    endpoint: Endpoint,
    front: Arc<Front>,
    connections: Connections,
    client_bytes: Arc<Meter>,
    membership: Option<wire::Adopt>,
    /// The log of the seat that is open, or being opened: it is stopped before its actors.
    log: Option<Log>,
    /// Serving ends with these.
    tasks: Tasks,
}

impl Actor for Orchestrator {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { env, identity, endpoint } = arguments;
        let client_bytes = Arc::new(Meter::default());
        let front = Arc::new(Front::new(identity.clone(), client_bytes.clone(), myself.clone()));
        let mut state = State {
            membership: small_file::read(&*env.disk, CLUSTER_FILE)?,
            env,
            identity,
            endpoint: endpoint.clone(),
            front: front.clone(),
            connections: Connections::default(),
            client_bytes,
            log: None,
            tasks: Tasks::new(),
        };
        if state.membership.is_some() {
            state.open_seat(&myself).await?;
        }
        state.tasks.spawn(server::serve(endpoint, front, state.connections.clone()));
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Adopt(adopt, reply) => {
                let _ = reply.send(state.adopt(&myself, adopt).await);
            }
            Message::Reopen => {
                if state.log.is_none()
                    && let Err(failure) = state.open_seat(&myself).await
                {
                    tracing::error!(%failure, "cannot open the orchestrator's state; trying again");
                    state.reopen_later(&myself);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, reason) = event {
            tracing::error!(%reason, "a part of the orchestrator failed; starting it again from disk");
            state.close_seat(&myself).await;
            state.reopen_later(&myself);
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.close_seat(&myself).await;
        state.endpoint.close().await;
        Ok(())
    }
}

impl State {
    async fn adopt(&mut self, myself: &ActorRef<Message>, adopt: wire::Adopt) -> Result<(), Failure> {
        match &self.membership {
            Some(known) if known.root != adopt.root => {
                return Err(Failure::denied(
                    "this node belongs to another cluster: give it an empty data directory to move it",
                ));
            }
            Some(_) if self.log.is_some() => return Ok(()),
            Some(_) => {
                return Err(Failure::retry(
                    "this node is adopted, but its state does not open yet: try again, and if it stays so, see its log",
                ));
            }
            None => {}
        }
        small_file::write(&*self.env.disk, CLUSTER_FILE, &adopt)?;
        self.membership = Some(adopt);
        let opened = self.open_seat(myself).await;
        if opened.is_err() {
            self.reopen_later(myself);
        }
        opened
    }

    fn reopen_later(&self, myself: &ActorRef<Message>) {
        let (clock, myself) = (self.env.clock.clone(), myself.clone());
        self.tasks.spawn(async move {
            clock.sleep(REOPEN_PAUSE).await;
            let _ = myself.cast(Message::Reopen);
        });
    }

    /// Ends what callers have under way and the seat's actors, so that its databases
    /// are closed.
    async fn close_seat(&mut self, myself: &ActorRef<Message>) {
        self.front.close().await;
        if let Some(log) = self.log.take() {
            log.stop().await;
        }
        myself.stop_children_and_wait(None, None).await;
    }

    async fn open_seat(&mut self, myself: &ActorRef<Message>) -> Result<(), Failure> {
        let opened = self.try_open_seat(myself).await;
        if opened.is_err() {
            self.close_seat(myself).await;
        }
        opened
    }

    async fn try_open_seat(&mut self, myself: &ActorRef<Message>) -> Result<(), Failure> {
        let adoption = self.membership.clone().ok_or_else(|| Failure::internal("not adopted"))?;
        let (env, me, supervisor) = (&self.env, self.identity.node(), myself.get_cell());
        let cluster = ClusterId::of_root(&adoption.root);

        let loaded = Loaded::load(env, adoption.root)?;
        let set = loaded.set.clone();
        let peers = Peers::new(self.endpoint.clone(), set.clone(), me);
        let records = Records::start(env, loaded, peers.clone(), &supervisor).await?;
        let keyset = Record::open(adoption.keyset.clone(), &cluster)?;
        records.insert(vec![keyset.clone()]).await?;

        let empty = Ledger::new(cluster, adoption.root, FIRST_INCARNATION);
        let log = Log::start(env, self.identity.voter(), empty, peers.clone(), &supervisor).await?;
        self.log = Some(log.clone());
        check_log_is_there(env, &log).await?;
        let start = gossip::Start {
            cluster,
            me,
            generation: next_generation(env)?,
            addresses: Arc::new(resolve_roster(env, &records).await?),
        };
        let gossip = Gossip::start(env, start, peers.clone(), records.clone(), &supervisor).await?;
        let desk = Desk {
            env: env.clone(),
            me,
            stewards: Stewards::new(env, self.identity.clone(), set),
            vault: Vault::open(env)?,
            records,
            log: log.clone(),
            gossip,
            peers,
            fetches: Arc::new(Semaphore::new(COMMIT_FETCHES_MAX)),
            connections: self.connections.clone(),
            client_bytes: self.client_bytes.clone(),
        };
        clerk::start(desk.clone(), self.front.clone(), &supervisor)
            .await
            .map_err(|error| Failure::internal(format!("cannot start the clerk: {error}")))?;
        if let (true, Payload::Keyset(keyset)) = (adoption.genesis, keyset.payload()) {
            let members: BTreeMap<u64, NodeId> =
                keyset.orchestrators.iter().map(|member| (member.voter, member.id())).collect();
            log.begin(members).await?;
        }
        if log.has_begun().await {
            note_log_began(env)?;
        }
        self.front.open(desk);
        // Who came while there was nobody to judge them is looked at now.
        self.connections.review(&*self.front);
        Ok(())
    }
}

/// A voter that has lost its log must not vote again under its old id: it could
/// forget what it promised (I3). Nothing reaches the log before this was asked.
async fn check_log_is_there(env: &Env, log: &Log) -> Result<(), Failure> {
    let disk = &*env.disk;
    let began = match disk.read(LOG_BEGAN_FILE) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(small_file::failure("read", disk, &error)),
    };
    if began && !log.has_begun().await {
        return Err(Failure::corrupt(format!(
            "the log in {} is lost, so this node may not vote any more: replace it by a node with an empty data directory",
            disk.place()
        )));
    }
    Ok(())
}

fn note_log_began(env: &Env) -> Result<(), Failure> {
    let disk = &*env.disk;
    if disk.read(LOG_BEGAN_FILE).is_ok() {
        return Ok(());
    }
    disk.replace(LOG_BEGAN_FILE, b"").map_err(|error| small_file::failure("write", disk, &error))
}

/// Counts the starts of this node, durably: gossip tells its lives apart by it.
fn next_generation(env: &Env) -> Result<u64, Failure> {
    let disk = &*env.disk;
    let last = match disk.read(GENERATION_FILE) {
        Ok(bytes) => bytes.try_into().map(u64::from_le_bytes).unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(small_file::failure("read", disk, &error)),
    };
    // The wall clock joins in, so that a lost count does not bring back an old life.
    let next = last.max(env.clock.now().0) + 1;
    disk.replace(GENERATION_FILE, &next.to_le_bytes()).map_err(|error| small_file::failure("write", disk, &error))?;
    Ok(next)
}

async fn resolve_roster(env: &Env, records: &Records) -> Result<BTreeMap<NodeId, SocketAddr>, Failure> {
    let roster = records.set().read().keyset().map(|(_, keyset)| keyset.orchestrators.clone()).unwrap_or_default();
    let mut addresses = BTreeMap::new();
    for orchestrator in roster {
        let resolved = env.net.resolve(&orchestrator.address).await;
        match resolved.ok().and_then(|found| found.first().copied()) {
            Some(address) => {
                addresses.insert(orchestrator.id(), address);
            }
            None => tracing::warn!(address = orchestrator.address, "cannot resolve an orchestrator's address"),
        }
    }
    Ok(addresses)
}
