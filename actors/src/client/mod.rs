//! The client role: joins, backs up, restores, verifies.
//!
//! Invariant: what a client works by - domain, storage - comes from records that
//! an admin of the newest keyset signed, no older than any it has seen (I1).

mod agent;
pub mod enroll;
pub mod link;
mod objects;
pub mod profile;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use control::RecordSet;
use env::{Env, disk::Guard};
use protocol::{
    commands::{Enrollment, Lease, SnapshotRecord},
    failure::{Code, Failure},
    ids::ClusterId,
    records::{Domain, Record, Storage, Subject},
    sign::Signed,
    token::Welcome,
    wire,
};
use repo::{
    BackupJob, CancellationToken, Context, Keys, ListJob, Outcome, Progress, RepoError, RestoreJob, RestoreOutcome,
    Segments, Snapshot, VerifyJob, VerifyReport,
};

use self::objects::TicketedObjects;
pub use self::{
    agent::agent,
    enroll::enroll,
    link::{Link, LinkReport, Trust},
    profile::Profile,
};
use crate::{
    AGENT,
    net::{Endpoint, Pace},
};

/// How long an orchestrator may take to have a redemption decided.
pub(crate) const REDEEM_PATIENCE: Duration = Duration::from_secs(15);

/// How long an orchestrator may take to show its records: it looks them up in memory.
const CONFIGURE_PATIENCE: Duration = Duration::from_secs(5);

/// A machine that is enrolled.
pub struct Client {
    env: Env,
    profile: Profile,
    enrollment: Enrollment,
    welcome: Welcome,
    link: Link,
}

/// How much a job may use.
#[derive(Debug, Clone, Copy)]
pub struct Means {
    /// Memory for file contents on their way, in bytes.
    pub memory_bytes: usize,
    /// Requests to the storage at the same time.
    pub transfers: usize,
}

impl Default for Means {
    fn default() -> Self {
        Self { memory_bytes: 96 << 20, transfers: 4 }
    }
}

/// What a person asks to be backed up.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// Absolute paths.
    pub sources: Vec<PathBuf>,
    /// The machine's name.
    pub host: String,
    /// For people.
    pub description: String,
    /// For people and policies.
    pub tags: Vec<String>,
    /// How much it may use.
    pub means: Means,
}

/// What a person asks to be restored.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Which snapshot.
    pub snapshot: SnapshotRecord,
    /// What of it: everything if none.
    pub path: Option<PathBuf>,
    /// Where to: an absolute path.
    pub target: PathBuf,
    /// Whether what is in the way is replaced.
    pub overwrite: bool,
    /// How much it may use.
    pub means: Means,
}

impl Client {
    /// Opens the client of this data directory. Connects when it is first needed; the
    /// pace says how soon it must notice that an orchestrator is gone.
    pub fn open(env: &Env, pace: Pace) -> Result<Self, Failure> {
        let (profile, enrollment, welcome) = Profile::enrolled(&*env.disk)?;
        let trust = profile.trust();
        let endpoint = Endpoint::bind(env, &profile.identity(), any_port(&trust.addresses), false)?;
        let link = Link::new(env, endpoint, trust, pace);
        Ok(Self { env: env.clone(), profile, enrollment, welcome, link })
    }

    /// How the log knows this machine.
    pub fn enrollment(&self) -> &Enrollment {
        &self.enrollment
    }

    /// Its connection to the orchestrators.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Says goodbye, and keeps what was learnt about the orchestrators.
    pub async fn close(mut self) -> Result<(), Failure> {
        self.link.close().await;
        if self.profile.learn(self.link.trust()) {
            self.profile.keep(&*self.env.disk)?;
        }
        Ok(())
    }

    /// Backs up. One backup of a client runs at a time.
    pub async fn backup(
        &mut self,
        request: BackupRequest,
        progress: Arc<Progress>,
        cancel: CancellationToken,
    ) -> Result<Outcome, RepoError> {
        let _guard = lock(&self.env, "backup")?;
        let configuration = self.configure().await?;
        let lineage = self.keys(&configuration)?.lineage(&request.sources);
        let grant = wire::Grant { repository: configuration.storage.repository, lineage };
        let lease = self.link.call(grant).await?;
        let done = tokio::select! {
            done = self.backup_under(&lease, &configuration, request, progress, cancel.clone()) => done,
            () = cancel.cancelled() => Err(RepoError::cancelled()),
        };
        if done.is_err() {
            // Best effort: a lease that nobody closes ends by itself.
            let close = self.link.call(wire::Close { lease: lease.id });
            let _ = tokio::time::timeout(Duration::from_secs(3), close).await;
        }
        done
    }

    async fn backup_under(
        &self,
        lease: &Lease,
        configuration: &Configuration,
        request: BackupRequest,
        progress: Arc<Progress>,
        cancel: CancellationToken,
    ) -> Result<Outcome, RepoError> {
        let context = self.context(configuration, Some(lease))?;
        let job = BackupJob {
            sources: request.sources,
            lease: lease.clone(),
            host: request.host,
            description: request.description,
            tags: request.tags,
            program: AGENT.into(),
            started: self.env.clock.now(),
            memory_bytes: request.means.memory_bytes,
            uploads: request.means.transfers,
            cancel,
        };
        let outcome = repo::backup(context, job, progress).await?;
        let commit = wire::Commit { repository: lease.repository, commit: outcome.facts.clone() };
        let decided = self.link.call(commit).await?;
        if decided != outcome.snapshot {
            return Err(RepoError::internal("the orchestrators decided another snapshot than was committed"));
        }
        Ok(outcome)
    }

    /// The decided snapshots of this client, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotRecord>, Failure> {
        let page =
            |last: Option<&SnapshotRecord>| wire::ListSnapshots { client: None, after: last.map(|last| last.id) };
        self.link.list(page).await
    }

    /// Reads what a snapshot says of itself.
    pub async fn show(&mut self, snapshot: &SnapshotRecord) -> Result<Snapshot, RepoError> {
        let context = self.reading().await?;
        repo::show(&context, snapshot.commit.object).await
    }

    /// Reads what several snapshots say of themselves.
    pub async fn show_all(
        &mut self,
        snapshots: &[SnapshotRecord],
    ) -> Result<Vec<Result<Snapshot, RepoError>>, RepoError> {
        let context = self.reading().await?;
        let mut shown = Vec::with_capacity(snapshots.len());
        for snapshot in snapshots {
            shown.push(repo::show(&context, snapshot.commit.object).await);
        }
        Ok(shown)
    }

    /// Lists what is in a snapshot at a path.
    pub async fn ls(
        &mut self,
        snapshot: &SnapshotRecord,
        path: PathBuf,
        recursive: bool,
        visit: &mut (dyn FnMut(&std::path::Path, &protocol::format::tree::Entry) -> bool + Send),
    ) -> Result<(), RepoError> {
        let context = self.reading().await?;
        let segments = self.segments(snapshot).await?;
        repo::ls(&context, ListJob { snapshot: snapshot.commit.object, segments, path, recursive }, visit).await
    }

    /// Restores.
    pub async fn restore(
        &mut self,
        request: RestoreRequest,
        progress: Arc<Progress>,
        cancel: CancellationToken,
    ) -> Result<RestoreOutcome, RepoError> {
        let context = self.reading().await?;
        let job = RestoreJob {
            segments: self.segments(&request.snapshot).await?,
            snapshot: request.snapshot.commit.object,
            path: request.path,
            target: request.target,
            overwrite: request.overwrite,
            memory_bytes: request.means.memory_bytes,
            downloads: request.means.transfers,
            cancel: cancel.clone(),
        };
        tokio::select! {
            done = repo::restore(context, job, progress) => done,
            () = cancel.cancelled() => Err(RepoError::cancelled()),
        }
    }

    /// Verifies snapshots: their structure, and with `read_data` every byte.
    pub async fn verify(
        &mut self,
        snapshots: &[SnapshotRecord],
        read_data: bool,
        means: Means,
        progress: Arc<Progress>,
        cancel: CancellationToken,
    ) -> Result<VerifyReport, RepoError> {
        let Some(any) = snapshots.first() else { return Ok(VerifyReport::default()) };
        let context = self.reading().await?;
        let job = VerifyJob {
            snapshots: snapshots.iter().map(|snapshot| snapshot.commit.object).collect(),
            segments: self.segments(any).await?,
            read_data,
            memory_bytes: means.memory_bytes,
            downloads: means.transfers,
            cancel: cancel.clone(),
        };
        tokio::select! {
            done = repo::verify(context, job, progress) => done,
            () = cancel.cancelled() => Err(RepoError::cancelled()),
        }
    }

    /// The segments in which a snapshot's chunks are: all that this client wrote.
    async fn segments(&self, snapshot: &SnapshotRecord) -> Result<Segments, Failure> {
        let all = self.snapshots().await?;
        Ok(Segments::of_snapshots(&all, &snapshot.client, &snapshot.repository))
    }

    async fn reading(&mut self) -> Result<Context, RepoError> {
        let configuration = self.configure().await?;
        self.context(&configuration, None)
    }

    fn context(&self, configuration: &Configuration, lease: Option<&Lease>) -> Result<Context, RepoError> {
        let keys = self.keys(configuration)?;
        let storage = &configuration.storage;
        let carrier = self.env.storages.carrier(storage)?;
        let lease = lease.map(|lease| lease.id);
        let objects = TicketedObjects::new(&self.env, self.link.clone(), carrier, storage.repository, lease);
        Ok(Context::new(&self.env, Arc::new(objects), Arc::new(keys)))
    }

    fn keys(&self, configuration: &Configuration) -> Result<Keys, RepoError> {
        Keys::new(
            configuration.domain.clone(),
            self.profile.client(),
            self.profile.commit_signer(),
            &self.welcome.convergence,
            self.welcome.index_key,
            *self.profile.secret(),
        )
    }

    /// Fetches and checks the records that the client works by, and keeps what was
    /// learnt about the orchestrators.
    pub async fn refresh(&mut self) -> Result<(), Failure> {
        self.configure().await?;
        if self.profile.learn(self.link.trust()) {
            self.profile.keep(&*self.env.disk)?;
        }
        Ok(())
    }

    /// Fetches the records that the client works by, and checks them. An orchestrator
    /// that lags or lies is left for another.
    async fn configure(&mut self) -> Result<Configuration, Failure> {
        let (link, this) = (&self.link, &*self);
        let fetched = link.exchange(|peer| async move {
            let signed = peer.call(wire::Configure {}, CONFIGURE_PATIENCE).await?;
            this.read_configuration(signed).map_err(|failure| Failure::retry(failure.message))
        });
        let (configuration, versions) = fetched.await?;
        if self.profile.raise_floors(&versions)? {
            self.profile.keep(&*self.env.disk)?;
        }
        Ok(configuration)
    }

    /// Reads domain and storage from an orchestrator's records, with their versions.
    fn read_configuration(&self, signed: Vec<Signed>) -> Result<(Configuration, [(Subject, u64); 2]), Failure> {
        let root = self.profile.trust().root;
        let cluster = ClusterId::of_root(&root);
        let mut set = RecordSet::new(cluster, root);
        for record in signed {
            set.insert(Record::open(record, &cluster)?);
        }
        if set.keyset().is_none_or(|(number, _)| number < self.link.trust().keyset_floor) {
            return Err(Failure::denied("the orchestrator answered with an old keyset: it lags, or lies"));
        }
        let domain = set.domain(&self.enrollment.domain).cloned();
        let domain = domain.ok_or_else(|| forged("the domain of this client"))?;
        let storage = set.storage(&domain.repository).cloned().ok_or_else(|| forged("the domain's storage"))?;
        let subjects = [Subject::Domain(domain.id), Subject::Storage(storage.repository)];
        let versions = subjects.map(|subject| (subject, set.winner(&subject).map_or(0, Record::version)));
        self.profile.check_floors(&versions)?;
        Ok((Configuration { domain, storage }, versions))
    }
}

/// What a client works by.
struct Configuration {
    domain: Domain,
    storage: Storage,
}

fn forged(what: &str) -> Failure {
    Failure::new(
        Code::Denied,
        format!("the orchestrator sent no valid record of {what}: no admin of the newest keyset signed one"),
    )
}

/// Takes one of the client's locks, or says who has it.
fn lock(env: &Env, name: &str) -> Result<Box<dyn Guard>, Failure> {
    env.disk.lock(name).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Failure::retry(format!(
            "another nuthatch process is at work (lock {name} in {}): wait for it to finish",
            env.disk.place()
        )),
        _ => crate::small_file::failure("lock", &*env.disk, &error),
    })
}

/// Any port, in the address family of the first address that is literal.
pub(crate) fn any_port(addresses: &[String]) -> SocketAddr {
    match addresses.iter().find_map(|address| address.parse::<SocketAddr>().ok()) {
        Some(SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        _ => (Ipv4Addr::UNSPECIFIED, 0).into(),
    }
}
