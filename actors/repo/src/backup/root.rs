//! The supervisor of a backup: starts its parts, and reports how it ended.
//!
//! Invariant: exactly one result is reported, whichever part fails and however;
//! when the root ends, its children do.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use crate::{
    backup::{
        Outcome,
        reader::{Reader, ReaderArguments},
        writer::{Writer, WriterArguments, WriterMessage},
    },
    error::RepoError,
};

/// What the root is told.
pub enum RootMessage {
    /// The commit object is stored.
    Done(Box<Outcome>),
}

/// How the parts are started, once the root is there.
pub struct RootArguments {
    pub writer: Box<dyn FnOnce(ActorRef<RootMessage>) -> WriterArguments + Send>,
    pub reader: Box<dyn FnOnce(ActorRef<WriterMessage>) -> ReaderArguments + Send>,
    pub result: oneshot::Sender<Result<Outcome, RepoError>>,
}

/// The actor.
pub struct Root;

/// Where the result goes; none once it is reported.
pub struct RootState {
    result: Option<oneshot::Sender<Result<Outcome, RepoError>>>,
}

impl RootState {
    fn report(&mut self, result: Result<Outcome, RepoError>) {
        if let Some(sender) = self.result.take() {
            // Whoever does not wait any more does not want to know.
            let _ = sender.send(result);
        }
    }
}

impl Actor for Root {
    type Msg = RootMessage;
    type State = RootState;
    type Arguments = RootArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RootMessage>,
        arguments: RootArguments,
    ) -> Result<RootState, ActorProcessingErr> {
        let RootArguments { writer, reader, result } = arguments;
        let (writer, _) = Actor::spawn_linked(None, Writer, writer(myself.clone()), myself.get_cell()).await?;
        Actor::spawn_linked(None, Reader, reader(writer), myself.get_cell()).await?;
        Ok(RootState { result: Some(result) })
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMessage>,
        message: RootMessage,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMessage::Done(outcome) => state.report(Ok(*outcome)),
        }
        myself.stop(None);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMessage>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, error) => {
                let error = match error.downcast::<RepoError>() {
                    Ok(error) => *error,
                    Err(error) => RepoError::internal(format!("a part of the backup failed: {error}")),
                };
                state.report(Err(error));
                myself.stop(None);
            }
            SupervisionEvent::ActorTerminated(..) => {
                state.report(Err(RepoError::internal("a part of the backup ended before its time")));
                myself.stop(None);
            }
            _ => {}
        }
        Ok(())
    }
}
