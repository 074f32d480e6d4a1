//! The clients: each with keys, a socket and a connection of its own, and the product's
//! own code.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use actors::{
    client::{Profile, agent, enroll},
    system::System,
};
use benches::{machine::Seeded, trouble::Trouble};
use env::Env;
use protocol::{ids::DomainId, records::Subject, token::Token};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    PROGRESS,
    disk::{Drive, MemoryDisk},
    report::Change,
};

/// How often a client would ask for news if nobody told it: longer than any run takes, so
/// that what reaches it was told.
const REFRESH: Duration = Duration::from_secs(3600);
/// Between two looks at whether clients have something.
const LOOK: Duration = Duration::from_millis(20);
/// How long a client may take to be connected and configured, or to hear of a change.
const PATIENCE: Duration = Duration::from_secs(120);

/// The fleet.
pub struct Fleet {
    crew: Arc<Crew>,
    /// The resident clients that run.
    systems: Vec<System>,
}

/// What it takes to be one of the fleet.
struct Crew {
    env: Env,
    seed: u64,
    /// The disks of those that are to be live.
    drives: Vec<Drive>,
}

impl Crew {
    /// The disk of a client: that of one which is to be live is kept.
    fn drive(&self, number: u32) -> Drive {
        let kept = self.drives.get(number as usize).cloned();
        kept.unwrap_or_else(|| Drive(Arc::new(MemoryDisk::default())))
    }

    /// The world of a client.
    fn env(&self, number: u32, drive: Drive) -> Env {
        let rng = Seeded::new(self.seed, &format!("client {number}"));
        Env { rng: Arc::new(rng), disk: Arc::new(drive), ..self.env.clone() }
    }
}

/// Who has joined so far.
struct Joining {
    began: Instant,
    patience: Duration,
    clients: u32,
    next: AtomicU32,
    done: AtomicU32,
}

impl Joining {
    /// Enrolls one client after the other, while there are any and there is time.
    async fn work(&self, crew: &Crew, token: &Token) -> Result<(), Trouble> {
        while self.began.elapsed() < self.patience {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.clients {
                break;
            }
            let env = crew.env(number, crew.drive(number));
            let joined = enroll(&env, token, &format!("client-{number}")).await;
            joined.map_err(|failure| Trouble(format!("client {number} cannot join: {failure}")))?;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn done(&self) -> u32 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Fleet {
    /// A fleet of which nobody has joined, and so many are to be live.
    pub fn new(env: &Env, seed: u64, live: u32) -> Self {
        let drives = (0..live).map(|_| Drive(Arc::new(MemoryDisk::default()))).collect();
        Self { crew: Arc::new(Crew { env: env.clone(), seed, drives }), systems: Vec::new() }
    }

    /// How many are to be live.
    pub fn live(&self) -> u32 {
        self.crew.drives.len() as u32
    }

    /// Enrolls so many clients, `at_once` at a time, until time is up. Returns how many
    /// did: those that are to be live first.
    pub async fn enroll(&self, token: &Token, clients: u32, at_once: u32, patience: Duration) -> Result<u32, Trouble> {
        let (began, next, done) = (Instant::now(), AtomicU32::new(0), AtomicU32::new(0));
        let joining = Arc::new(Joining { began, patience, clients, next, done });
        // The first failure ends them all: they end with this set.
        let mut workers = JoinSet::new();
        for _ in 0..at_once {
            let (joining, crew, token) = (joining.clone(), self.crew.clone(), token.clone());
            workers.spawn(async move { joining.work(&crew, &token).await });
        }
        let mut told = Instant::now();
        loop {
            tokio::select! {
                ended = workers.join_next() => match ended {
                    None => break,
                    Some(Ok(outcome)) => outcome?,
                    Some(Err(error)) => return Err(Trouble(format!("a client ended: {error}"))),
                },
                () = tokio::time::sleep(PROGRESS.saturating_sub(told.elapsed())) => {
                    told = Instant::now();
                    let (done, seconds) = (joining.done(), began.elapsed().as_secs_f64());
                    eprintln!("{done} of {clients} enrolled, {:.0} a second", f64::from(done) / seconds);
                }
            }
        }
        if joining.done() < self.live() {
            return Err(Trouble(format!(
                "only {} clients could join in time, fewer than are to be live",
                joining.done()
            )));
        }
        Ok(joining.done())
    }

    /// Starts the resident client of those that are to be live, `at_once` at a time.
    pub async fn go_live(&mut self, at_once: u32) -> Result<(), Trouble> {
        let credit = Arc::new(Semaphore::new(at_once as usize));
        let mut starting = JoinSet::new();
        for (number, drive) in (0..).zip(self.crew.drives.clone()) {
            let env = self.crew.env(number, drive.clone());
            let credit = credit.clone();
            starting.spawn(async move {
                // It fails only if the semaphore is closed, which nobody does.
                let _turn = credit.acquire().await;
                let before = drive.0.replaced();
                let (_, role) = agent(&env, REFRESH)?;
                let system = System::start(&env, vec![role]).await?;
                let began = Instant::now();
                // It keeps the versions of the records that it is given first.
                while drive.0.replaced() == before {
                    if began.elapsed() > PATIENCE {
                        return Err(Trouble(format!("live client {number} was not configured in {PATIENCE:?}")));
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Ok(system)
            });
        }
        let mut told = Instant::now();
        while let Some(started) = starting.join_next().await {
            self.systems.push(started.map_err(|error| Trouble(format!("a client ended: {error}")))??);
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                eprintln!("{} of {} live", self.systems.len(), self.live());
            }
        }
        Ok(())
    }

    /// Waits until all live clients work by this version of their domain's record, which
    /// was signed at `began` and taken by the orchestrators `decided` later.
    pub async fn await_policy(
        &self,
        domain: DomainId,
        version: u64,
        began: Instant,
        decided: Duration,
    ) -> Result<Change, Trouble> {
        let subject = Subject::Domain(domain);
        let mut waiting: Vec<&Drive> = self.crew.drives.iter().collect();
        let mut took: Vec<Duration> = Vec::new();
        while !waiting.is_empty() {
            let mut still = Vec::new();
            for drive in waiting {
                // Only what was written since can hold it: most looks end here.
                let Some(at) = drive.0.replaced().filter(|at| *at >= began) else {
                    still.push(drive);
                    continue;
                };
                let (profile, ..) = Profile::enrolled(drive)?;
                match profile.check_floors(&[(subject, version - 1)]) {
                    Err(_) => took.push(at - began),
                    Ok(()) => still.push(drive),
                }
            }
            waiting = still;
            if began.elapsed() > PATIENCE {
                let (had, all) = (took.len(), self.crew.drives.len());
                return Err(Trouble(format!("after {PATIENCE:?} only {had} of {all} live clients have the change")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Change::of(decided, took))
    }
}
