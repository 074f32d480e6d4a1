//! The resident part of a client: present at an orchestrator, and informed.
//!
//! Invariant: it writes nothing to the repository; backups are commands of their own.

use std::{sync::Arc, time::Duration};

use env::Env;
use protocol::{failure::Failure, ids::ClientId};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Client, Link, Profile};
use crate::{
    net::Pace,
    system::{Role, StartRole, start_error},
    tasks::Tasks,
};

/// Makes the role. Fails if this machine is not enrolled. `refresh` is how often it
/// asks for news.
pub fn agent(env: &Env, refresh: Duration) -> Result<(ClientId, Role), Failure> {
    let (_, enrollment, _) = Profile::enrolled(&*env.disk)?;
    let env = env.clone();
    let start: StartRole = Arc::new(move |supervisor| {
        let arguments = (env.clone(), refresh);
        Box::pin(async move {
            let (actor, _) = Actor::spawn_linked(None, Agent, arguments, supervisor)
                .await
                .map_err(|error| Failure::internal(format!("cannot start the client: {}", start_error(&error))))?;
            Ok(actor.get_cell())
        })
    });
    Ok((enrollment.client, Role { name: "client", start }))
}

struct Agent;

struct State {
    link: Link,
    tasks: Tasks,
}

impl Actor for Agent {
    type Msg = ();
    type State = State;
    type Arguments = (Env, Duration);

    async fn pre_start(&self, _: ActorRef<()>, (env, refresh): (Env, Duration)) -> Result<State, ActorProcessingErr> {
        let mut client = Client::open(&env, Pace::Idle)?;
        let (link, tasks) = (client.link().clone(), Tasks::new());
        tasks.spawn(async move {
            let mut reached = true;
            loop {
                match client.refresh().await {
                    Ok(()) if reached => {}
                    Ok(()) => tracing::info!("an orchestrator answers again"),
                    Err(failure) => tracing::warn!(%failure, "no news from the orchestrators"),
                }
                reached = client.link().report().connected.is_some();
                env.clock.sleep(refresh).await;
            }
        });
        Ok(State { link, tasks })
    }

    async fn post_stop(&self, _: ActorRef<()>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.tasks.abort_all();
        state.link.close().await;
        Ok(())
    }
}
