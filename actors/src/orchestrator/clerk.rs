//! What an orchestrator does without being asked: while it leads the log, it
//! admits a newer keyset and closes leases that are overdue; always, it erases
//! expired release values and cuts connections whose key has no standing any more.

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
    /// The records changed: someone may have been revoked.
    Review,
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
        let (clock, mut changes) = (state.desk.env.clock.clone(), state.desk.records.changes());
        state.tasks.spawn(async move {
            loop {
                let message = tokio::select! {
                    () = clock.sleep(INTERVAL) => Message::Tick,
                    changed = changes.changed() => if changed.is_ok() { Message::Review } else { return },
                };
                if myself.cast(message).is_err() {
                    return;
                }
            }
        });
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Review => state.desk.connections.review(&*state.service),
            Message::Tick => {
                if state.desk.log.leads() {
                    state.lead().await;
                }
                state.desk.vault.sweep(state.desk.env.clock.now()).await.map_err(|failure| failure.message)?;
            }
        }
        Ok(())
    }
}

impl State {
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
            }
        }
    }
}
