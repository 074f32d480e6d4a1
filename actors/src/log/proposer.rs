//! Gathers proposals into entries, one entry under way at a time, and watches over
//! replication.
//!
//! Invariant: a proposal whose caller has gone is not proposed (again). If
//! replication dies, this actor fails with it, and its supervisor starts the log
//! from disk.

use std::{collections::VecDeque, time::Duration};

use probe::{Plant, Point};
use protocol::{
    codec,
    commands::{Command, Outcome},
    failure::Failure,
    limits, wire,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::OwnedSemaphorePermit;

use super::Core;
use crate::tasks::Tasks;

/// How long a proposer waits that has no reason to: several round trips.
const RARE_WAIT: Duration = Duration::from_millis(300);

/// A command that waits to be decided.
pub struct Pending {
    command: Command,
    reply: RpcReplyPort<Result<(u64, Outcome), Failure>>,
    /// Bounds how many wait: given back when this is dropped.
    _permit: OwnedSemaphorePermit,
}

impl Pending {
    /// A command that waits, and where its outcome goes.
    pub fn new(
        command: Command,
        reply: RpcReplyPort<Result<(u64, Outcome), Failure>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { command, reply, _permit: permit }
    }
}

/// What the proposer is told.
pub enum Message {
    /// Have this decided.
    Propose(Box<Pending>),
    /// What became of an entry.
    Finished(Vec<Pending>, Result<wire::Decision, Failure>),
    /// Replication has ended, and why.
    Died(String),
}

/// The actor.
pub struct Proposer;

/// Its state.
pub struct State {
    core: Core,
    waiting: VecDeque<Pending>,
    busy: bool,
    tasks: Tasks,
}

impl Actor for Proposer {
    type Msg = Message;
    type State = State;
    type Arguments = Core;

    async fn pre_start(&self, myself: ActorRef<Message>, core: Core) -> Result<State, ActorProcessingErr> {
        let tasks = Tasks::new();
        let mut metrics = core.raft.metrics();
        tasks.spawn(async move {
            // The channel itself ends if replication panics.
            let died = match metrics.wait_for(|metrics| metrics.running_state.is_err()).await {
                Ok(metrics) => metrics.running_state.as_ref().err().map(ToString::to_string),
                Err(_) => None,
            };
            let _ = myself.cast(Message::Died(died.unwrap_or_else(|| "it panicked".to_owned())));
        });
        Ok(State { core, waiting: VecDeque::new(), busy: false, tasks })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Propose(pending) => state.waiting.push_back(*pending),
            Message::Finished(batch, decision) => {
                state.busy = false;
                answer(batch, decision);
            }
            Message::Died(reason) => return Err(format!("the log's replication ended: {reason}").into()),
        }
        state.waiting.retain(|pending| !pending.reply.is_closed());
        if !state.busy && !state.waiting.is_empty() {
            state.busy = true;
            let batch = state.next_batch();
            if batch.len() > 1 {
                probe::sometimes("an entry of the log has several commands");
            }
            let core = state.core.clone();
            state.tasks.spawn(async move {
                if probe::buggify(Point::ProposerWaits) {
                    core.env.clock.sleep(RARE_WAIT).await;
                }
                let commands = batch.iter().map(|pending| pending.command.clone()).collect();
                let decision = core.decide(commands).await;
                let _ = myself.cast(Message::Finished(batch, decision));
            });
        }
        Ok(())
    }

    /// ractor hands the state to the supervisor, which may itself be waiting for those who
    /// wait here: they are let go now.
    async fn post_stop(&self, _: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.waiting.clear();
        state.tasks.abort_all();
        Ok(())
    }
}

impl State {
    /// As many waiting commands as fit in one entry, and at least one.
    fn next_batch(&mut self) -> Vec<Pending> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(pending) = self.waiting.front() {
            bytes += codec::encode(&pending.command).len();
            let full = batch.len() == limits::COMMANDS_PER_ENTRY_MAX
                || bytes > limits::ENTRY_BYTES_MAX
                || probe::buggify(Point::EntryOfOne);
            if full && !batch.is_empty() {
                break;
            }
            batch.extend(self.waiting.pop_front());
        }
        batch
    }
}

/// Gives each proposer its outcome. One that has gone is of no concern.
fn answer(batch: Vec<Pending>, decision: Result<wire::Decision, Failure>) {
    match decision {
        Ok(wire::Decision { index, outcomes }) if outcomes.len() == batch.len() => {
            let mut batch = batch;
            if probe::planted(Plant::AnswersSwapped) {
                batch.reverse();
            }
            for (pending, outcome) in batch.into_iter().zip(outcomes) {
                let _ = pending.reply.send(Ok((index, outcome)));
            }
        }
        Ok(_) => fail(batch, &Failure::internal("the leader answered for another number of commands")),
        Err(failure) => fail(batch, &failure),
    }
}

fn fail(batch: Vec<Pending>, failure: &Failure) {
    for pending in batch {
        let _ = pending.reply.send(Err(failure.clone()));
    }
}
