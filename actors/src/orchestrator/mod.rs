//! The orchestrator role.
//!
//! Before its adoption a node answers `Hello` and `Adopt` only. Adopted, it opens
//! its seat: records, log, gossip, vault, and a desk that answers with them. A keyset
//! that does not name it any more closes the seat for good.
//!
//! Invariant: a seat is whole or it is not there. If one of its actors fails, all
//! of them end, what callers had under way ends, and the seat is opened again from
//! disk; callers meanwhile are told to retry.

mod archivist;
mod began;
mod clerk;
mod commits;
mod desk;
mod editions;
mod front;
mod gossip;
mod judge;
mod records;
mod same_disk;
mod seat;
mod stewards;
mod vault;
mod verifier;

use std::{sync::Arc, time::Duration};

use control::RecordSet;
use env::Env;
use protocol::{failure::Failure, ids::NodeId, levels::Levels, sign::Signed, wire};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

#[cfg(fuzzing)]
pub use self::gossip::read as read_gossip;
pub use self::same_disk::vouch;
use self::{
    desk::{Acts, Desk},
    front::Front,
    same_disk::Verdict,
};
use crate::{
    identity::Identity,
    log::Log,
    net::{Connections, Endpoint, Meter, server},
    small_file,
    system::start_error,
    tasks::Tasks,
};

/// Holds the root's public key and the keyset of the adoption: what a node needs
/// to know which cluster it belongs to.
const CLUSTER_FILE: &str = "cluster";
/// Between the end of a seat and the attempt to open it again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// Starts the role: serves on `endpoint` from now on.
pub async fn start(
    env: &Env,
    identity: &Identity,
    endpoint: Endpoint,
    levels: Levels,
    supervisor: &ActorCell,
) -> Result<ActorRef<Message>, Failure> {
    let arguments = Arguments { env: env.clone(), identity: identity.clone(), endpoint, levels };
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
    /// Another voter remembers what this disk has forgotten.
    Forgotten(String),
}

struct Orchestrator;

/// What it is started with.
struct Arguments {
    env: Env,
    identity: Identity,
    endpoint: Endpoint,
    levels: Levels,
}

struct State {
    env: Env,
    identity: Identity,
    endpoint: Endpoint,
    /// Which levels of the log the program speaks.
    levels: Levels,
    front: Arc<Front>,
    connections: Connections,
    client_bytes: Arc<Meter>,
    acts: Acts,
    membership: Option<wire::Adopt>,
    /// The log of the seat that is open, or being opened: it is stopped before its actors.
    log: Option<Log>,
    /// Whether the newest keyset does not name this node.
    removed: bool,
    /// Whether its disk is not one to vote with.
    unfit: bool,
    /// Serving ends with these.
    tasks: Tasks,
}

impl Actor for Orchestrator {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Message>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { env, identity, endpoint, levels } = arguments;
        let client_bytes = Arc::new(Meter::default());
        let front = Arc::new(Front::new(identity.clone(), levels, client_bytes.clone(), myself.clone()));
        let mut state = State {
            membership: small_file::read(&*env.disk, CLUSTER_FILE)?,
            env,
            identity,
            endpoint: endpoint.clone(),
            levels,
            front: front.clone(),
            connections: Connections::default(),
            client_bytes,
            acts: Acts::default(),
            log: None,
            removed: false,
            unfit: false,
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
                    && !state.unfit
                    && let Err(failure) = state.open_seat(&myself).await
                {
                    tracing::error!(%failure, "cannot open the orchestrator's state; trying again");
                    state.front.unfit(format!("{}; it tries again by itself", failure.message));
                    state.reopen_later(&myself);
                }
            }
            Message::Removed => state.leave(&myself).await,
            Message::Forgotten(why) => {
                // Without this note it would vote the next time that nobody else is there.
                same_disk::condemn(&state.env, &why).map_err(|failure| failure.message)?;
                let why = match same_disk::check(&state.env).map_err(|failure| failure.message)? {
                    Verdict::Old(why) => why,
                    _ => why,
                };
                state.stand_aside(&myself, why).await;
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
            Some(_) if self.unfit => {
                return Err(Failure::denied(
                    "this node's disk is not one to vote with, as its log says: start it with an empty data directory",
                ));
            }
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
        if self.unfit {
            return Err(Failure::denied("this node's disk is not one to vote with, as its log says"));
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

    /// Closes the seat, since this node's voter may have forgotten what it promised. The
    /// node goes on to say so.
    async fn stand_aside(&mut self, myself: &ActorRef<Message>, why: String) {
        tracing::error!("{why}");
        self.unfit = true;
        self.front.unfit(why);
        self.close_seat(myself).await;
    }

    /// Tells this actor when another voter remembers what this one has forgotten; and once
    /// none does, notes that this disk is the newest.
    fn watch_memory(&self, myself: &ActorRef<Message>, log: &Log) {
        let (env, mut doubt) = (self.env.clone(), log.doubt());
        if *doubt.borrow() {
            tracing::warn!(
                "the files of the data directory were changed from outside: this node takes part in the log once \
                 all other orchestrators were asked what they remember of it"
            );
            self.tasks.spawn(async move {
                if doubt.wait_for(|doubt| !*doubt).await.is_ok() {
                    match same_disk::settle(&env) {
                        Ok(()) => tracing::info!("no other orchestrator remembers more: this disk is the newest"),
                        Err(failure) => tracing::warn!(%failure, "it will be asked again at the next start"),
                    }
                }
            });
        }
        let (myself, mut verdict) = (myself.clone(), log.verdict());
        self.tasks.spawn(async move {
            if let Ok(why) = verdict.wait_for(Option::is_some).await
                && let Some(why) = &*why
            {
                let _ = myself.cast(Message::Forgotten(why.clone()));
            }
        });
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
}

/// The newest keyset, if it does not name this node.
fn not_naming(records: &RecordSet, me: NodeId) -> Option<Signed> {
    let (_, keyset) = records.keyset()?;
    let named = keyset.orchestrators.iter().any(|orchestrator| orchestrator.id() == me);
    if named { None } else { records.keyset_record().map(|record| record.signed().clone()) }
}
