//! A node: one endpoint, one supervision tree, and the roles that its settings name.
//!
//! Invariant: the root actor outlives its roles. A role that fails is started
//! again; one that fails again and again ends the node, whose service manager decides.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use env::Env;
use futures_util::future::BoxFuture;
use protocol::{failure::Failure, ids::PublicKey, levels::Levels};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::{identity::Identity, net::Endpoint, orchestrator, tasks::Tasks};

/// Starts that one role may need within `RESTARTS_WINDOW`.
const RESTARTS_MAX: usize = 20;
/// What failed longer ago does not count: a node runs for years.
const RESTARTS_WINDOW: Duration = Duration::from_secs(10 * 60);
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Starts a role under the given supervisor.
pub type StartRole = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, Failure>> + Send + Sync>;

/// One role of a node.
#[derive(Clone)]
pub struct Role {
    /// For people.
    pub name: &'static str,
    /// Starts it, again if it fails.
    pub start: StartRole,
}

/// A running node.
pub struct System {
    root: ActorRef<Message>,
    handle: Option<tokio::task::JoinHandle<()>>,
}

/// An orchestrator that is about to run.
pub struct Seat {
    /// The role.
    pub role: Role,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its key: what an operator compares before adopting it.
    pub key: PublicKey,
}

/// Binds `listen`, and makes the orchestrator role, which speaks these levels of the log:
/// fewer than its own are those of an older program.
pub fn orchestrator(env: &Env, listen: SocketAddr, levels: Levels) -> Result<Seat, Failure> {
    let identity = Identity::load_or_create(&*env.disk, &*env.rng)?;
    let endpoint = Endpoint::bind(env, &identity, listen, true)?;
    let (address, key) = (endpoint.address()?, identity.key());
    let env = env.clone();
    let start: StartRole = Arc::new(move |supervisor| {
        let (env, identity, endpoint) = (env.clone(), identity.clone(), endpoint.clone());
        Box::pin(async move {
            let actor = orchestrator::start(&env, &identity, endpoint, levels, &supervisor).await?;
            Ok(actor.get_cell())
        })
    });
    Ok(Seat { role: Role { name: "orchestrator", start }, address, key })
}

impl System {
    /// Starts the roles. Fails if one of them cannot start.
    pub async fn start(env: &Env, roles: Vec<Role>) -> Result<Self, Failure> {
        let (root, handle) = Actor::spawn(None, Root, (env.clone(), roles))
            .await
            .map_err(|error| Failure::internal(start_error(&error)))?;
        Ok(Self { root, handle: Some(handle) })
    }

    /// Waits until the node has ended by itself.
    pub async fn ended(&mut self) {
        if let Some(handle) = &mut self.handle {
            let _ = handle.await;
            self.handle = None;
        }
    }

    /// Ends all roles, in order, and waits for them.
    pub async fn stop(mut self) {
        self.root.stop(None);
        self.ended().await;
    }
}

/// ractor wraps the error of a start twice; a person wants the innermost.
pub(crate) fn start_error(error: &ractor::SpawnErr) -> String {
    match error {
        ractor::SpawnErr::StartupFailed(reason) => reason.to_string(),
        other => other.to_string(),
    }
}

enum Message {
    Restart(usize),
}

struct Root;

struct Running {
    role: Role,
    actor: Option<ActorId>,
    restarts: Restarts,
}

/// When a role was started again, by the monotonic clock, as far as it still counts.
#[derive(Debug, Default)]
struct Restarts(VecDeque<Duration>);

impl Restarts {
    /// Counts one more. False if that is one too many.
    fn add(&mut self, now: Duration) -> bool {
        self.0.retain(|at| now.saturating_sub(*at) < RESTARTS_WINDOW);
        self.0.push_back(now);
        self.0.len() <= RESTARTS_MAX
    }
}

struct State {
    env: Env,
    roles: Vec<Running>,
    tasks: Tasks,
}

impl Actor for Root {
    type Msg = Message;
    type State = State;
    type Arguments = (Env, Vec<Role>);

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        (env, roles): (Env, Vec<Role>),
    ) -> Result<State, ActorProcessingErr> {
        let mut running = Vec::new();
        for role in roles {
            let actor = (role.start)(myself.get_cell()).await?;
            running.push(Running { role, actor: Some(actor.get_id()), restarts: Restarts::default() });
        }
        Ok(State { env, roles: running, tasks: Tasks::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        Message::Restart(place): Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some(running) = state.roles.get_mut(place) else { return Ok(()) };
        match (running.role.start)(myself.get_cell()).await {
            Ok(actor) => running.actor = Some(actor.get_id()),
            Err(failure) => {
                tracing::error!(role = running.role.name, %failure, "cannot start a role again");
                state.restart_later(&myself, place)?;
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
        let (ended, reason) = match event {
            SupervisionEvent::ActorFailed(actor, reason) => (actor, reason.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, reason) => (actor, reason.unwrap_or_default()),
            _ => return Ok(()),
        };
        let place = state.roles.iter().position(|running| running.actor == Some(ended.get_id()));
        if let Some(place) = place {
            tracing::error!(role = state.roles[place].role.name, reason, "a role ended; starting it again");
            state.restart_later(&myself, place)?;
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Message>, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.roles.iter_mut().for_each(|running| running.actor = None);
        myself.stop_children_and_wait(None, None).await;
        Ok(())
    }
}

impl State {
    fn restart_later(&mut self, myself: &ActorRef<Message>, place: usize) -> Result<(), ActorProcessingErr> {
        let running = &mut self.roles[place];
        running.actor = None;
        if !running.restarts.add(self.env.clock.monotonic()) {
            return Err(format!("the role {} keeps failing: see the errors above", running.role.name).into());
        }
        let (clock, myself) = (self.env.clock.clone(), myself.clone());
        self.tasks.spawn(async move {
            clock.sleep(RESTART_PAUSE).await;
            let _ = myself.cast(Message::Restart(place));
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_failed_lately_counts() {
        let (mut restarts, second) = (Restarts::default(), Duration::from_secs(1));
        for number in 0..RESTARTS_MAX as u32 {
            assert!(restarts.add(second * number));
        }
        assert!(!restarts.add(second * RESTARTS_MAX as u32), "it fails again and again");

        let mut restarts = Restarts::default();
        let seldom = RESTARTS_WINDOW / RESTARTS_MAX as u32;
        assert!((0..10 * RESTARTS_MAX as u32).all(|number| restarts.add(seldom * number)));
        assert!(restarts.0.len() <= RESTARTS_MAX);
    }
}
