//! The orchestrator role.
//!
//! Before its adoption a node answers `Hello` and `Adopt` only. Adopted, it opens
//! its seat: records, log, gossip, vault, and a desk that answers with them. A keyset
//! that does not name it any more closes the seat for good.
//!
//! Invariant: a seat is whole or it is not there. If one of its actors fails, all
//! of them end, what callers had under way ends, and the seat is opened again from
//! disk; callers meanwhile are told to retry.

mod began;
mod clerk;
mod commits;
mod desk;
mod front;
mod gossip;
mod judge;
mod records;
mod stewards;
mod vault;
mod verifier;

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use control::{Ledger, RecordSet};
use env::Env;
use protocol::{
    failure::Failure,
    ids::{ClusterId, NodeId},
    records::{Payload, Record},
    sign::Signed,
    wire,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::Semaphore;

#[cfg(fuzzing)]
pub use self::gossip::read as read_gossip;
use self::{
    began::Began,
    desk::{Desk, Reports},
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
const GENERATION_FILE: &str = "generation";
/// Commit objects read at the same time.
const COMMIT_FETCHES_MAX: usize = 8;
/// Objects said to be damaged that are looked at at the same time.
const LOOKS_MAX: usize = 2;
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
    /// The newest keyset does not name this node.
    Removed,
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
    /// Whether the newest keyset does not name this node.
    removed: bool,
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
            removed: false,
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
                    && !state.removed
                    && let Err(failure) = state.open_seat(&myself).await
                {
                    tracing::error!(%failure, "cannot open the orchestrator's state; trying again");
                    state.reopen_later(&myself);
                }
            }
            Message::Removed => state.leave(&myself).await,
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
            Some(_) if !self.removed => {
                return Err(Failure::retry(
                    "this node is adopted, but its state does not open yet: try again, and if it stays so, see its log",
                ));
            }
            // A cluster that removed this node may take it back as it is.
            Some(_) | None => {}
        }
        self.removed = false;
        small_file::write(&*self.env.disk, CLUSTER_FILE, &adopt)?;
        self.membership = Some(adopt);
        let opened = self.open_seat(myself).await;
        if opened.is_err() {
            self.reopen_later(myself);
        }
        opened?;
        if self.removed {
            return Err(Failure::denied("a newer keyset than this one does not name this node"));
        }
        Ok(())
    }

    /// Closes the seat, since the cluster goes on without this node.
    async fn leave(&mut self, myself: &ActorRef<Message>) {
        tracing::error!(
            data_dir = self.env.disk.place(),
            "the cluster has removed this orchestrator: stop it; with an empty data directory it can join again"
        );
        self.removed = true;
        self.close_seat(myself).await;
    }

    /// Tells this actor when a keyset comes that does not name this node.
    fn watch_roster(&self, myself: &ActorRef<Message>, desk: &Desk) {
        let (myself, front) = (myself.clone(), self.front.clone());
        let (mut changes, me, set) = (desk.records.changes(), desk.me, desk.records.set().clone());
        self.tasks.spawn(async move {
            loop {
                let keyset = not_naming(&set.read(), me);
                if let Some(keyset) = keyset {
                    front.removed(keyset);
                    let _ = myself.cast(Message::Removed);
                    return;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
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

        let loaded = Loaded::load(env, adoption.root).await?;
        let set = loaded.set.clone();
        let peers = Peers::new(self.endpoint.clone(), set.clone(), me);
        let records = Records::start(env, loaded, me, peers.clone(), &supervisor).await?;
        let keyset = Record::open(adoption.keyset.clone(), &cluster)?;
        records.insert(vec![keyset.clone()]).await?;
        let other = not_naming(&records.set().read(), me);
        if let Some(keyset) = other {
            self.front.removed(keyset);
            self.leave(myself).await;
            return Ok(());
        }

        let empty = Ledger::new(cluster, adoption.root, FIRST_INCARNATION);
        let log = Log::start(env, self.identity.voter(), empty, peers.clone(), &supervisor).await?;
        self.log = Some(log.clone());
        // Nothing reaches the log before this was asked.
        let began = Began::check(env, &log).await?;
        let start = gossip::Start { cluster, me, generation: next_generation(env)? };
        let gossip = Gossip::start(env, start, peers.clone(), records.clone(), &supervisor).await?;
        let desk = Desk {
            env: env.clone(),
            me,
            identity: self.identity.clone(),
            began: began.clone(),
            stewards: Stewards::new(env, self.identity.clone(), set),
            vault: Vault::open(env).await?,
            records,
            log: log.clone(),
            gossip,
            peers,
            fetches: Arc::new(Semaphore::new(COMMIT_FETCHES_MAX)),
            reports: Reports::default(),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            connections: self.connections.clone(),
            client_bytes: self.client_bytes.clone(),
        };
        clerk::start(desk.clone(), self.front.clone(), &supervisor)
            .await
            .map_err(|error| Failure::internal(format!("cannot start the clerk: {error}")))?;
        verifier::start(desk.clone(), &supervisor)
            .await
            .map_err(|error| Failure::internal(format!("cannot start the verifier: {error}")))?;
        if let (true, Payload::Keyset(keyset)) = (adoption.genesis, keyset.payload()) {
            let members: BTreeMap<u64, NodeId> =
                keyset.orchestrators.iter().map(|member| (member.voter, member.id())).collect();
            log.begin(members).await?;
        }
        began.note(&log).await?;
        self.watch_roster(myself, &desk);
        self.front.open(desk);
        // Who came while there was nobody to judge them is looked at now.
        self.connections.review(&*self.front);
        Ok(())
    }
}

/// The newest keyset, if it does not name this node.
fn not_naming(records: &RecordSet, me: NodeId) -> Option<Signed> {
    let (_, keyset) = records.keyset()?;
    let named = keyset.orchestrators.iter().any(|orchestrator| orchestrator.id() == me);
    if named { None } else { records.keyset_record().map(|record| record.signed().clone()) }
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
