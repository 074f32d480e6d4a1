//! What an orchestrator does without being asked: while it leads the log, it admits a
//! newer keyset, brings the voters in line with it, raises the log's level and closes leases
//! that are overdue;
//! always, it seals shared secrets for newcomers and hands release values to them,
//! erases release values that nobody needs any more, cuts connections whose key has
//! no standing any more, and wakes the clients that wait for news.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use protocol::{commands::Command, ids::NodeId};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};

use super::desk::Desk;
use crate::{net::Service, tasks::Tasks};

const INTERVAL: Duration = Duration::from_secs(1);
/// Leases closed in one round.
const CLOSES_MAX: usize = 64;
/// Rounds after which the others are asked for their keyset.
const ROUNDS_PER_KEYSET: u64 = 8;
/// Rounds after which the others are asked what they speak.
const ROUNDS_PER_LEVEL: u64 = 4;

/// Starts the clerk.
pub async fn start(desk: Desk, service: Arc<dyn Service>, supervisor: &ActorCell) -> Result<(), ractor::SpawnErr> {
    let state = State { desk, service, rounds: 0, handed: BTreeSet::new(), tasks: Tasks::new() };
    Actor::spawn_linked(None, Clerk, state, supervisor.clone()).await.map(|_| ())
}

enum Message {
    Tick,
    /// A node did not take the release values.
    NotHanded(NodeId),
}

struct Clerk;

struct State {
    desk: Desk,
    service: Arc<dyn Service>,
    rounds: u64,
    /// Who has been given the release values since it came.
    handed: BTreeSet<NodeId>,
    tasks: Tasks,
}

impl Actor for Clerk {
    type Msg = Message;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, myself: ActorRef<Message>, state: State) -> Result<State, ActorProcessingErr> {
        // Beside the chores, which wait for a majority: a revocation must not.
        let (desk, service) = (state.desk.clone(), state.service.clone());
        let mut changes = desk.records.changes();
        state.tasks.spawn(async move {
            while changes.changed().await.is_ok() {
                desk.connections.review(&*service);
                desk.editions.update(&desk.records.set().read());
            }
        });
        // Likewise: it waits for a majority, and nothing waits for it.
        let desk = state.desk.clone();
        state.tasks.spawn(async move {
            loop {
                // What fails is tried again.
                let _ = desk.enter_acts().await;
                desk.env.clock.sleep(INTERVAL).await;
            }
        });
        state.tick_later(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let Message::NotHanded(node) = message {
            state.handed.remove(&node);
            return Ok(());
        }
        if state.desk.log.leads() {
            state.lead().await;
        }
        state.desk.sweep_vault().await.map_err(|failure| failure.message)?;
        state.share(&myself).await;
        state.tick_later(&myself);
        Ok(())
    }
}

impl State {
    /// The next round comes a while after this one is done, however long it took.
    fn tick_later(&self, myself: &ActorRef<Message>) {
        let (clock, myself) = (self.desk.env.clock.clone(), myself.clone());
        self.tasks.spawn(async move {
            clock.sleep(INTERVAL).await;
            let _ = myself.cast(Message::Tick);
        });
    }

    /// One round of what all do for those that joined or came back.
    async fn share(&mut self, myself: &ActorRef<Message>) {
        self.rounds += 1;
        if self.rounds.is_multiple_of(ROUNDS_PER_KEYSET)
            && let Err(failure) = self.desk.ask_for_keyset().await
        {
            tracing::warn!(%failure, "a keyset could not be kept");
        }
        if let Err(failure) = self.desk.seal_for_newcomers().await {
            tracing::warn!(%failure, "secrets were not sealed for a newcomer");
        }
        let alive = self.desk.gossip.alive();
        self.handed.retain(|node| alive.contains(node));
        for node in self.desk.peers.others().iter().map(|other| other.id()).filter(|node| alive.contains(node)) {
            if self.handed.insert(node) {
                let (desk, myself) = (self.desk.clone(), myself.clone());
                self.tasks.spawn(async move {
                    if desk.hand_over_releases(node).await.is_err() {
                        let _ = myself.cast(Message::NotHanded(node));
                    }
                });
            }
        }
    }

    /// One round of the leader's chores. What fails is tried again in the next.
    async fn lead(&self) {
        let now = self.desk.env.clock.now();
        let commands: Vec<Command> = {
            let ledger = self.desk.log.ledger().read();
            let overdue = ledger.overdue_leases(now).take(CLOSES_MAX);
            overdue.map(|lease| Command::Close { client: lease.client, lease: lease.id }).collect()
        };
        if let Err(failure) = self.desk.admit_newest().await {
            tracing::warn!(%failure, "the newest keyset was not admitted");
        }
        if let Err(failure) = self.desk.follow_roster().await {
            tracing::warn!(%failure, "the voters do not follow the roster yet");
        }
        if self.rounds.is_multiple_of(ROUNDS_PER_LEVEL)
            && let Err(failure) = self.desk.raise_level().await
        {
            tracing::warn!(%failure, "the log was not raised to its next level");
        }
        for command in commands {
            probe::sometimes("a lease is closed, since its time is over");
            if let Err(failure) = self.desk.log.propose(command).await {
                tracing::warn!(%failure, "an overdue lease was not closed");
                return;
            }
        }
    }
}
