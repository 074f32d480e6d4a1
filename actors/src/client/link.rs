//! The connection of a client, or an operator, to whichever orchestrator answers.
//!
//! Invariant: an orchestrator is believed to be one because a keyset that the root
//! signed, no older than any seen before, names its key. Calls are made so that
//! repeating them at another orchestrator loses and repeats nothing.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control::failover::{Candidates, Next};
use env::Env;
use probe::{Plant, Point};
use protocol::{
    failure::{Code, Failure},
    ids::{ClusterId, PublicKey},
    limits,
    records::{Keyset, Orchestrator, Payload, Record},
    sign::Signed,
    wire::{Call, Hello, Page},
};

use super::reach::Reach;
use crate::{
    AGENT,
    net::{Endpoint, Pace, Peer},
};

/// How long one orchestrator may take to answer a dial: two dead ones and the third
/// fit in five seconds.
const DIAL_PATIENCE: Duration = Duration::from_millis(1500);
/// How long one orchestrator may take to answer a call. A dead one is noticed
/// sooner, by the silence of its connection.
const CALL_PATIENCE: Duration = Duration::from_secs(15);
/// How long a call is tried at all orchestrators in turn.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long, if none has ever answered: each can be tried several times, and a person
/// who mistyped an address or is offline hears of it soon.
const PATIENCE_FIRST: Duration = Duration::from_secs(12);
/// After this time without an answer, a person is told what is waited for; and again
/// each time it has gone by.
const NOTICE: Duration = Duration::from_secs(5);
/// Between attempts after an orchestrator asked to try again.
const PAUSE: Duration = Duration::from_millis(150);

/// What a link believes before it has seen anything.
#[derive(Debug, Clone)]
pub struct Trust {
    /// The cluster's root key.
    pub root: PublicKey,
    /// The lowest keyset number that is believed.
    pub keyset_floor: u64,
    /// Where to look for orchestrators: `host:port`.
    pub addresses: Vec<String>,
}

/// How a link has fared.
#[derive(Debug, Clone, Default)]
pub struct LinkReport {
    /// The orchestrator in use.
    pub connected: Option<Orchestrator>,
    /// How often another orchestrator had to be found.
    pub failovers: u64,
    /// When the last of them had been found, by the monotonic clock.
    pub failover_done: Option<Duration>,
    /// Bytes sent to orchestrators in all, on the wire.
    pub bytes_sent: u64,
    /// Bytes received from orchestrators in all, on the wire.
    pub bytes_received: u64,
}

/// A connection that fails over. Clones share it.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    env: Env,
    endpoint: Endpoint,
    pace: Pace,
    cluster: ClusterId,
    trust: Mutex<Trust>,
    candidates: Mutex<Candidates>,
    /// Held while a connection is looked for, so that callers look together.
    current: tokio::sync::Mutex<Option<Connected>>,
    report: Mutex<Accounts>,
}

#[derive(Clone)]
struct Connected {
    address: String,
    peer: Peer,
}

#[derive(Default)]
struct Accounts {
    report: LinkReport,
    open: Option<Peer>,
    ever: bool,
}

impl Link {
    /// A link that connects when it is first used.
    pub fn new(env: &Env, endpoint: Endpoint, trust: Trust, pace: Pace) -> Self {
        let candidates = Candidates::new(&trust.addresses, u64::from_le_bytes(env.rng.array()));
        Self(Arc::new(Inner {
            env: env.clone(),
            endpoint,
            pace,
            cluster: ClusterId::of_root(&trust.root),
            trust: Mutex::new(trust),
            candidates: Mutex::new(candidates),
            current: tokio::sync::Mutex::new(None),
            report: Mutex::default(),
        }))
    }

    /// Calls an orchestrator, and others if it does not answer.
    pub async fn call<C: Call + Sync>(&self, call: C) -> Result<C::Reply, Failure> {
        self.exchange(|peer| {
            let call = call.clone();
            async move { peer.call(call, CALL_PATIENCE).await }
        })
        .await
    }

    /// Like `call`, for a call that is made anew for each connection.
    pub async fn exchange<T, F, A>(&self, attempt: F) -> Result<T, Failure>
    where
        F: Fn(Peer) -> A,
        A: Future<Output = Result<T, Failure>>,
    {
        let last = Mutex::new(Failure::retry("no orchestrator answers: check the network, and that they run"));
        let began = self.0.env.clock.monotonic();
        let hopeless = began + PATIENCE_FIRST;
        let attempts = async {
            loop {
                match self.once(&attempt).await {
                    Err(failure) if failure.code == Code::Retry => *lock(&last) = failure,
                    done => return Some(done),
                }
                if !lock(&self.0.report).ever && self.0.env.clock.monotonic() >= hopeless {
                    return None;
                }
                self.0.env.clock.sleep(PAUSE).await;
            }
        };
        let done = tokio::select! {
            done = tokio::time::timeout(PATIENCE, attempts) => done.ok().flatten(),
            never = self.tell_waiting(began, &last) => match never {},
        };
        match done {
            Some(done) => done,
            None => {
                let reach = self.reach().await;
                Err(reach.explain(lock(&last).clone()))
            }
        }
    }

    /// One attempt, at the orchestrator in use. One that asks to try again is left, and
    /// whether to try is the caller's to say: for calls that take longer than `call` would wait.
    pub(super) async fn once<T, F, A>(&self, attempt: F) -> Result<T, Failure>
    where
        F: Fn(Peer) -> A,
        A: Future<Output = Result<T, Failure>>,
    {
        let connected = self.connected().await?;
        let outcome = attempt(connected.peer.clone()).await;
        if matches!(&outcome, Err(failure) if failure.code == Code::Retry) {
            self.leave(connected).await;
        }
        outcome
    }

    /// Tells a person, now and then, what a call waits for.
    async fn tell_waiting(&self, began: Duration, last: &Mutex<Failure>) -> Infallible {
        loop {
            self.0.env.clock.sleep(NOTICE).await;
            // A resident client has nobody who waits, and a fleet of them must not
            // knock at what is left of the orchestrators.
            if matches!(self.0.pace, Pace::Idle) {
                continue;
            }
            let reach = self.reach().await;
            let patience = if lock(&self.0.report).ever { PATIENCE } else { PATIENCE_FIRST };
            let left = (began + patience).saturating_sub(self.0.env.clock.monotonic());
            tracing::warn!("{}; trying for another {} s", reach.waits_for(&lock(last)), left.as_secs());
        }
    }

    /// Looks which orchestrators can be reached, all at the same time.
    async fn reach(&self) -> Reach {
        let addresses: Vec<String> = lock(&self.0.candidates).addresses().map(str::to_owned).collect();
        let looks = addresses.into_iter().map(|address| async move {
            let reached = self.introduce(&address).await.map(|(peer, _)| peer.close());
            (address, reached)
        });
        Reach(futures_util::future::join_all(looks).await)
    }

    /// Fetches a whole list. `call` asks for the page after an item.
    pub async fn list<C, T>(&self, call: impl Fn(Option<&T>) -> C) -> Result<Vec<T>, Failure>
    where
        C: Call<Reply = Page<T>> + Sync,
    {
        let mut list: Vec<T> = Vec::new();
        loop {
            let page = self.call(call(list.last())).await?;
            let more = page.more && !page.items.is_empty();
            list.extend(page.items);
            if list.len() > limits::LIST_ITEMS_MAX {
                return Err(Failure::invalid(format!("a list has more than {} items", limits::LIST_ITEMS_MAX)));
            }
            if !more {
                return Ok(list);
            }
        }
    }

    /// How the link has fared.
    pub fn report(&self) -> LinkReport {
        let accounts = lock(&self.0.report);
        let mut report = accounts.report.clone();
        if let Some(peer) = &accounts.open {
            let stats = peer.connection().stats();
            report.bytes_sent += stats.udp_tx.bytes;
            report.bytes_received += stats.udp_rx.bytes;
        }
        report
    }

    /// What the link believes now: to be kept for the next time.
    pub fn trust(&self) -> Trust {
        lock(&self.0.trust).clone()
    }

    /// Says goodbye.
    pub async fn close(&self) {
        if let Some(connected) = self.0.current.lock().await.take() {
            self.settle();
            connected.peer.close();
        }
        self.0.endpoint.close().await;
    }

    /// The open connection, or a new one.
    async fn connected(&self) -> Result<Connected, Failure> {
        let mut current = self.0.current.lock().await;
        if let Some(connected) = current.as_ref() {
            if connected.peer.is_open() && !probe::buggify(Point::LinkLeaves) {
                return Ok(connected.clone());
            }
            self.failed(&connected.address);
            *current = None;
        }
        self.settle();
        let address = self.next_address().await?;
        match self.introduce(&address).await {
            Ok((peer, orchestrator)) => {
                lock(&self.0.candidates).worked(&address);
                let connected = Connected { address, peer };
                *current = Some(connected.clone());
                self.note(&connected, orchestrator);
                Ok(connected)
            }
            Err(failure) => {
                self.failed(&address);
                Err(failure)
            }
        }
    }

    /// Gives up a connection, unless someone else already has.
    async fn leave(&self, from: Connected) {
        let mut current = self.0.current.lock().await;
        if current.as_ref().is_some_and(|now| now.peer.connection().stable_id() == from.peer.connection().stable_id()) {
            self.failed(&from.address);
            *current = None;
            self.settle();
            from.peer.close();
        }
    }

    fn failed(&self, address: &str) {
        let jitter = u64::from_le_bytes(self.0.env.rng.array());
        lock(&self.0.candidates).failed(address, self.0.env.clock.monotonic(), jitter);
    }

    async fn next_address(&self) -> Result<String, Failure> {
        loop {
            let now = self.0.env.clock.monotonic();
            let wait = match lock(&self.0.candidates).next(now) {
                Next::Try(address) => return Ok(address.to_owned()),
                Next::WaitUntil(when) => when.saturating_sub(now),
                Next::Nobody => return Err(Failure::invalid("no orchestrator's address is known")),
            };
            self.0.env.clock.sleep(wait).await;
        }
    }

    /// Dials, says hello, and checks that the callee is an orchestrator.
    async fn introduce(&self, address: &str) -> Result<(Peer, Orchestrator), Failure> {
        let peer = self.0.endpoint.dial(address, None, self.0.pace, DIAL_PATIENCE).await?;
        // TLS succeeds for the dialer even if the callee then refuses it: only a first
        // reply shows that the connection stands.
        let welcome = peer.call(Hello { agent: AGENT.into() }, DIAL_PATIENCE).await?;
        let keyset = welcome
            .keyset
            .ok_or_else(|| Failure::retry(format!("the node at {address} does not belong to a cluster yet")))?;
        let keyset = self.believe(keyset)?;
        let orchestrator = keyset.orchestrators.into_iter().find(|orchestrator| orchestrator.key == *peer.key());
        let orchestrator = orchestrator.ok_or_else(|| {
            Failure::retry(format!("the node at {address} is not an orchestrator of this cluster: it is not used"))
        })?;
        Ok((peer, orchestrator))
    }

    /// Remembers a keyset that came another way, if it is newer than the last.
    pub(crate) fn learn(&self, keyset: Signed) -> Result<(), Failure> {
        self.believe(keyset).map(drop)
    }

    /// Checks a keyset, and remembers it if it is newer than the last.
    fn believe(&self, keyset: Signed) -> Result<Keyset, Failure> {
        let record = Record::open(keyset, &self.0.cluster)?;
        let mut trust = lock(&self.0.trust);
        let Payload::Keyset(keyset) = record.payload() else {
            return Err(Failure::retry("the orchestrator showed something that is not a keyset"));
        };
        if *record.author() != trust.root {
            return Err(Failure::retry("the orchestrator's keyset is not signed by this cluster's root key"));
        }
        if record.version() < trust.keyset_floor && !probe::planted(Plant::KeysetRollsBack) {
            return Err(Failure::retry(format!(
                "the orchestrator showed keyset {} although {} is known: it lags, or lies",
                record.version(),
                trust.keyset_floor
            )));
        }
        if record.version() > trust.keyset_floor || trust.addresses.is_empty() {
            trust.addresses = keyset.orchestrators.iter().map(|orchestrator| orchestrator.address.clone()).collect();
            lock(&self.0.candidates).replace(&trust.addresses);
        }
        trust.keyset_floor = record.version();
        Ok(keyset.clone())
    }

    /// Books what a connection that is no longer used has carried.
    fn settle(&self) {
        let mut accounts = lock(&self.0.report);
        if let Some(peer) = accounts.open.take() {
            let stats = peer.connection().stats();
            accounts.report.bytes_sent += stats.udp_tx.bytes;
            accounts.report.bytes_received += stats.udp_rx.bytes;
            accounts.report.connected = None;
        }
    }

    fn note(&self, connected: &Connected, orchestrator: Orchestrator) {
        let mut accounts = lock(&self.0.report);
        accounts.open = Some(connected.peer.clone());
        accounts.report.connected = Some(orchestrator);
        if accounts.ever {
            probe::sometimes("a client fails over");
            accounts.report.failovers += 1;
            accounts.report.failover_done = Some(self.0.env.clock.monotonic());
        }
        accounts.ever = true;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
