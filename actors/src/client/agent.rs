//! The resident part of a client: present at an orchestrator, and informed.
//!
//! It is told of changes as they happen (`Watch`), and asks from time to time where nobody
//! tells it.
//!
//! Invariant: it writes nothing to the repository; backups are commands of their own. It is
//! one of very many: what all of them do on the same occasion, each does at a random moment.

use std::{sync::Arc, time::Duration};

use env::Env;
use protocol::{
    failure::{Code, Failure},
    ids::ClientId,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Client, Link, Profile};
use crate::{
    net::Pace,
    system::{Role, StartRole, start_error},
    tasks::Tasks,
};

/// Over which time a fleet spreads what it does after one event: a change that all hear of,
/// an orchestrator that all lose.
const SPREAD: Duration = Duration::from_secs(2);

/// Makes the role. Fails if this machine is not enrolled. `refresh` is how often it
/// asks for news where nobody tells it.
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
        let client = Client::open(&env, Pace::Idle)?;
        let (link, tasks) = (client.link().clone(), Tasks::new());
        tasks.spawn(attend(env, client, refresh));
        Ok(State { link, tasks })
    }

    async fn post_stop(&self, _: ActorRef<()>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.tasks.abort_all();
        state.link.close().await;
        Ok(())
    }
}

/// Asks how things are, and then waits to be told of every change. When that ends, it
/// asks again.
async fn attend(env: Env, mut client: Client, refresh: Duration) {
    let mut reached = true;
    loop {
        let refreshed = client.refresh().await;
        match &refreshed {
            Ok(()) if reached => {}
            Ok(()) => tracing::info!("an orchestrator answers again"),
            Err(failure) => tracing::warn!(%failure, "no news from the orchestrators"),
        }
        reached = client.link().report().connected.is_some();
        let pause = match refreshed {
            Ok(()) => follow(&env, &mut client, refresh).await,
            Err(_) => refresh,
        };
        env.clock.sleep(pause).await;
    }
}

/// Waits to be told of changes for as long as there is somebody who does. After which
/// time to ask instead: soon, if the orchestrator in use is gone; if it never told
/// anything, since it is of an older version or refuses, not sooner than before.
async fn follow(env: &Env, client: &mut Client, refresh: Duration) -> Duration {
    let began = env.clock.monotonic();
    loop {
        let asked = env.clock.monotonic();
        let watched = client.watch().await;
        let now = env.clock.monotonic();
        match watched {
            Ok(true) => {
                tracing::info!("the orchestrators have news for this client, and it works by them");
                env.clock.sleep(env.rng.part_of(SPREAD)).await;
            }
            // Each is told so at a moment of its own. One that did not wait is not asked in a loop.
            Ok(false) if now - asked < SPREAD => env.clock.sleep(SPREAD).await,
            Ok(false) => {}
            Err(failure) => {
                tracing::debug!(%failure, "nobody tells of changes");
                let again = failure.code == Code::Retry && now - began > SPREAD;
                return if again { env.rng.part_of(SPREAD.min(refresh)) } else { refresh };
            }
        }
    }
}
