//! The client role: joins, backs up, restores, verifies.
//!
//! Invariant: what a client works by - domain, storage - comes from records that
//! an admin of the newest keyset signed, no older than any it has seen (I1).

mod agent;
mod backup;
mod chain;
mod damage;
pub mod enroll;
mod journal;
pub mod link;
mod objects;
pub mod profile;
mod reach;
mod turn;

use std::{
    collections::BTreeMap,
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use control::RecordSet;
use env::Env;
use probe::Plant;
use protocol::{
    commands::{Enrollment, SnapshotRecord},
    failure::{Code, Failure},
    ids::{ClusterId, Hash},
    names::ObjectKey,
    records::{Domain, Record, Storage, Subject},
    sign::Signed,
    token::Welcome,
    wire,
};
use repo::{
    CancellationToken, Change, Context, DiffJob, DiffSummary, Keys, ListJob, Progress, ReadData, RepoError, RestoreJob,
    RestoreOptions, RestoreOutcome, Segments, Snapshot, VerifyJob, VerifyReport,
};

use self::objects::{TicketedObjects, Writing};
pub use self::{
    agent::agent,
    backup::{BackupRequest, Stamina},
    enroll::enroll,
    link::{Link, LinkReport, Trust},
    profile::Profile,
    turn::Contention,
};
use crate::net::{Endpoint, Pace};

/// How long an orchestrator may take to have a redemption decided.
pub(crate) const REDEEM_PATIENCE: Duration = Duration::from_secs(15);

/// How long an orchestrator may take to show its records: it looks them up in memory.
const CONFIGURE_PATIENCE: Duration = Duration::from_secs(5);

/// How long an orchestrator may keep a client waiting for news: less than it works on any
/// request, and each time costs both of them a little.
const WATCH_PATIENCE: Duration = Duration::from_secs(50);

/// A machine that is enrolled.
pub struct Client {
    env: Env,
    profile: Profile,
    enrollment: Enrollment,
    welcome: Welcome,
    link: Link,
    /// The edition of the newest configuration that it has seen.
    seen: Hash,
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

/// What a person asks to be restored.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Which snapshot.
    pub snapshot: SnapshotRecord,
    /// What of it: everything if none.
    pub path: Option<PathBuf>,
    /// Where to: an absolute path.
    pub target: PathBuf,
    /// How.
    pub options: RestoreOptions,
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
        Ok(Self { env: env.clone(), profile, enrollment, welcome, link, seen: Hash([0; 32]) })
    }

    /// How the log knows this machine.
    pub fn enrollment(&self) -> &Enrollment {
        &self.enrollment
    }

    /// The version of each record that it works by.
    pub fn works_by(&self) -> &BTreeMap<Subject, u64> {
        self.profile.works_by()
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
        let objects: Vec<_> = snapshots.iter().map(|snapshot| snapshot.commit.object).collect();
        Ok(repo::show_all(&context, &objects).await)
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
        let (repository, distrust) = (request.snapshot.repository, context.distrust.clone());
        let job = RestoreJob {
            segments: self.segments(&request.snapshot).await?,
            snapshot: request.snapshot.commit.object,
            path: request.path,
            target: request.target,
            options: request.options,
            memory_bytes: request.means.memory_bytes,
            downloads: request.means.transfers,
            cancel: cancel.clone(),
        };
        let done = tokio::select! {
            done = repo::restore(context, job, progress) => done,
            () = cancel.cancelled() => Err(RepoError::cancelled()),
        };
        self.report(repository, &distrust.keys()).await;
        done
    }

    /// Tells what differs between two snapshots at a path, until `visit` returns false.
    pub async fn diff(
        &mut self,
        before: &SnapshotRecord,
        after: &SnapshotRecord,
        path: PathBuf,
        visit: &mut (dyn FnMut(&Change<'_>) -> bool + Send),
    ) -> Result<DiffSummary, RepoError> {
        let context = self.reading().await?;
        let segments = self.segments(after).await?;
        let job = DiffJob { before: before.commit.object, after: after.commit.object, segments, path };
        repo::diff(&context, job, visit).await
    }

    /// Verifies snapshots: their structure, and as much data as `read` says.
    pub async fn verify(
        &mut self,
        snapshots: &[SnapshotRecord],
        read: ReadData,
        means: Means,
        progress: Arc<Progress>,
        cancel: CancellationToken,
    ) -> Result<VerifyReport, RepoError> {
        let Some(any) = snapshots.first() else { return Ok(VerifyReport::default()) };
        let context = self.reading().await?;
        let distrust = context.distrust.clone();
        let job = VerifyJob {
            snapshots: snapshots.iter().map(|snapshot| snapshot.commit.object).collect(),
            segments: self.segments(any).await?,
            read,
            memory_bytes: means.memory_bytes,
            downloads: means.transfers,
            cancel: cancel.clone(),
        };
        let report = tokio::select! {
            done = repo::verify(context, job, progress) => done?,
            () = cancel.cancelled() => return Err(RepoError::cancelled()),
        };
        let damaged: BTreeSet<ObjectKey> = report.damaged.iter().copied().chain(distrust.keys()).collect();
        self.report(any.repository, &damaged.into_iter().collect::<Vec<_>>()).await;
        Ok(report)
    }

    /// The segments in which a snapshot's chunks are: what the client could reuse now.
    async fn segments(&self, snapshot: &SnapshotRecord) -> Result<Segments, Failure> {
        let view = self.link.call(wire::Survey { repository: snapshot.repository }).await?;
        let attic = damage::Attic::new(self.link.clone(), self.env.clock.clone(), snapshot, &view);
        Ok(Segments::of_view(&view).reading(Arc::new(attic)))
    }

    async fn reading(&mut self) -> Result<Context, RepoError> {
        let configuration = self.configure().await?;
        self.context(&configuration, None)
    }

    fn context(&self, configuration: &Configuration, writing: Option<Writing>) -> Result<Context, RepoError> {
        let keys = self.keys(configuration)?;
        let storage = &configuration.storage;
        let carrier = self.env.storages.carrier(storage)?;
        let objects = TicketedObjects::new(&self.env, self.link.clone(), carrier, storage.repository, writing);
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
        self.keep_trust()
    }

    /// Waits until the orchestrator in use has other records for this client than it has
    /// seen, and takes them over as `refresh` does; or until there was no news for a
    /// while. Whether there was. One attempt: `Retry` says that it can be made elsewhere.
    pub async fn watch(&mut self) -> Result<bool, Failure> {
        let (link, this) = (&self.link, &*self);
        let watched = link.once(|peer| async move {
            let news = peer.call(wire::Watch { seen: this.seen }, WATCH_PATIENCE).await?;
            news.map(|signed| this.read_answer(signed)).transpose()
        });
        let Some(read) = watched.await? else { return Ok(false) };
        self.take_over(read)?;
        self.keep_trust()?;
        Ok(true)
    }

    fn keep_trust(&mut self) -> Result<(), Failure> {
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
            this.read_answer(signed)
        });
        let read = fetched.await?;
        self.take_over(read)
    }

    fn read_answer(&self, signed: Vec<Signed>) -> Result<Read, Failure> {
        let edition = wire::Watch::edition(&signed);
        let read = self.read_configuration(signed).map_err(|failure| Failure::retry(failure.message));
        read.map(|(configuration, versions)| Read { configuration, versions, edition })
    }

    /// From now on the client works by this, and by nothing older.
    fn take_over(&mut self, read: Read) -> Result<Configuration, Failure> {
        if self.profile.raise_floors(&read.versions)? {
            self.profile.keep(&*self.env.disk)?;
        }
        self.seen = read.edition;
        Ok(read.configuration)
    }

    /// Reads domain and storage from an orchestrator's records, with their versions.
    fn read_configuration(&self, signed: Vec<Signed>) -> Result<(Configuration, [(Subject, u64); 2]), Failure> {
        let root = self.profile.trust().root;
        let cluster = ClusterId::of_root(&root);
        let mut set = RecordSet::new(cluster, root);
        for record in signed {
            set.insert(Record::open(record, &cluster)?);
        }
        let is_old = |number| number < self.link.trust().keyset_floor && !probe::planted(Plant::KeysetRollsBack);
        if set.keyset().is_none_or(|(number, _)| is_old(number)) {
            return Err(Failure::denied("the orchestrator answered with an old keyset: it lags, or lies"));
        }
        // A connection may outlive every orchestrator that it began with.
        if let Some(keyset) = set.keyset_record() {
            self.link.learn(keyset.signed().clone())?;
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

/// A configuration as it came, and was found good.
struct Read {
    configuration: Configuration,
    versions: [(Subject, u64); 2],
    edition: Hash,
}

fn forged(what: &str) -> Failure {
    Failure::new(
        Code::Denied,
        format!("the orchestrator sent no valid record of {what}: no admin of the newest keyset signed one"),
    )
}

/// Any port, in the address family of the first address that is literal.
pub(crate) fn any_port(addresses: &[String]) -> SocketAddr {
    match addresses.iter().find_map(|address| address.parse::<SocketAddr>().ok()) {
        Some(SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        _ => (Ipv4Addr::UNSPECIFIED, 0).into(),
    }
}
