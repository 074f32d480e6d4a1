//! What an orchestrator does without being asked: while it leads the log, it
//! admits a newer keyset and closes leases that are overdue; always, it erases
//! release values that nobody needs any more and cuts connections whose key has no standing any more.

use std::{sync::Arc, time::Duration};

use protocol::commands::Command;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};

use super::desk::Desk;
use crate::{net::Service, tasks::Tasks};

const INTERVAL: Duration = Duration::from_secs(1);
/// Leases closed in one round.
const CLOSES_MAX: usize = 64;

/// Starts the clerk.
pub async fn start(desk: Desk, service: Arc<dyn Service>, supervisor: &ActorCell) -> Result<(), ractor::SpawnErr> {
    let state = State { desk, service, tasks: Tasks::new() };
    Actor::spawn_linked(None, Clerk, state, supervisor.clone()).await.map(|_| ())
}

enum Message {
    Tick,
}

struct Clerk;

struct State {
    desk: Desk,
    service: Arc<dyn Service>,
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
            }
        });
        state.tick_later(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        Message::Tick: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.desk.log.leads() {
            state.lead().await;
        }
        state.desk.sweep_vault().await.map_err(|failure| failure.message)?;
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
        for command in commands {
            if let Err(failure) = self.desk.log.propose(command).await {
                tracing::warn!(%failure, "an overdue lease was not closed");
                return;
            }
        }
    }
}
