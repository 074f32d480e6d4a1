//! What clients share through published index segments, and how they get on with what
//! others lost or lied about.

#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    commands::{CondemnedObject, SharedSegment},
    format::{
        pack::{self, PackWriter, TRAILER_LEN, Trailer},
        segment::{self, PackRow, Row},
    },
    ids::{ChunkId, ClientId, DomainId, LeaseId, LineageId, PublicKey, RepositoryId, Sha256},
    names::{ObjectKey, ObjectName, Place},
    records::{Chunker, Trust},
    sign::Signer,
};
use repo::{BackupJob, Context, Keys, Kind, Outcome, Progress, RepoError, RestoreJob, Segments};
use sha2::Digest as _;
use support::{World, domain, noise};

const INDEX_KEY: [u8; 32] = [6; 32];
const CHUNKER: Chunker = Chunker { min: 64 << 10, average: 256 << 10, max: 512 << 10 };
const SOURCE: &[&str] = &["/src"];
const DOMAIN: DomainId = DomainId([2; 16]);

/// A world with three megabytes in three files, so old that they are taken over.
fn world() -> World {
    let world = World::with_chunker(CHUNKER);
    for number in 0..3 {
        world.files.write(format!("/src/f{number}"), noise(number, 1 << 20));
    }
    world
}

/// Another client on the same machine, with its own keys and an empty cache.
fn other(world: &World, trust: Trust) -> World {
    let client = ClientId::of_key(&PublicKey([33; 32]));
    let domain = protocol::records::Domain { trust, ..domain(CHUNKER) };
    let keys = Keys::new(domain, client, Signer::from_seed(&[44; 32]), &[(0, [5; 32])], INDEX_KEY, [77; 32]).unwrap();
    let cache = Arc::new(support::MemoryCache::default());
    let context =
        Context { cache: cache.clone(), keys: Arc::new(keys), distrust: Arc::default(), ..world.context.clone() };
    World {
        files: world.files.clone(),
        objects: world.objects.clone(),
        clock: Arc::new(support::StillClock(AtomicU64::new(support::START_MS + 1_000_000))),
        cache,
        context,
        history: Vec::new(),
    }
}

/// What stands in the packs of the store, as their tables say.
fn packs(world: &World) -> Vec<(PackRow, Vec<pack::Row>)> {
    let objects = world.objects.objects.lock().unwrap();
    let of = |(path, bytes): (&String, &Bytes)| {
        let key: ObjectKey = path.parse().unwrap();
        let trailer = Trailer::decode(&bytes[bytes.len() - TRAILER_LEN..], bytes.len() as u64).unwrap();
        let tail_len = bytes.len() as u32 - trailer.table.start as u32;
        (PackRow { name: key.name, len: bytes.len() as u32, tail_len }, pack::open(&INDEX_KEY, bytes).unwrap())
    };
    objects.iter().filter(|(path, _)| path.contains("/pack/")).map(of).collect()
}

/// Publishes these packs' rows in one segment, as a verifier does.
fn publish(world: &World, packs: &[(PackRow, Vec<pack::Row>)]) -> SharedSegment {
    let by_name: BTreeMap<ObjectName, &(PackRow, Vec<pack::Row>)> = packs.iter().map(|one| (one.0.name, one)).collect();
    let mut rows = Vec::new();
    for (number, (_, table)) in by_name.values().enumerate() {
        rows.extend(table.iter().map(|row| Row { id: row.id, pack: number as u32, offset: row.offset, len: row.len }));
    }
    rows.sort();
    let table: Vec<PackRow> = by_name.values().map(|(pack, _)| *pack).collect();
    put_segment(world, &table, &rows)
}

fn put_segment(world: &World, table: &[PackRow], rows: &[Row]) -> SharedSegment {
    static SALT: AtomicU64 = AtomicU64::new(0);
    let mut object_id = [9; 32];
    object_id[..8].copy_from_slice(&SALT.fetch_add(1, Ordering::SeqCst).to_le_bytes());
    let verifier = Signer::from_seed(&[55; 32]);
    let repository = RepositoryId([1; 16]);
    let bytes = segment::encode(repository, DOMAIN, table, rows, &INDEX_KEY, &object_id, &verifier);
    let hash = Sha256(sha2::Sha256::digest(&bytes).into());
    let name = ObjectName { lease: LeaseId { incarnation: 1, index: 9_000 }, hash };
    world.objects.objects.lock().unwrap().insert(Place::Index(DOMAIN).object(name).to_string(), bytes.into());
    let leading = |id: &ChunkId| u32::from_be_bytes(id.0[..4].try_into().unwrap());
    SharedSegment { name, first: leading(&rows[0].id), last: leading(&rows[rows.len() - 1].id), private: false }
}

/// A first backup that may reuse these segments, under a lease of its own.
fn job(world: &World, lease: u64, shared: &[SharedSegment]) -> BackupJob {
    let mut job = world.job(SOURCE);
    job.lease.id = LeaseId { incarnation: 1, index: lease };
    job.lease.lineage = LineageId([8; 16]);
    job.lease.view.shared = shared.to_vec();
    job
}

async fn restores(world: &World, outcome: &Outcome, segments: Segments, target: &str) {
    let options = world_options();
    let job = RestoreJob {
        snapshot: outcome.facts.object,
        segments,
        path: None,
        target: target.into(),
        options,
        memory_bytes: 96 << 20,
        downloads: 4,
        cancel: repo::CancellationToken::new(),
    };
    let done = repo::restore(world.context.clone(), job, Arc::new(Progress::default())).await.unwrap();
    assert_eq!(done.problems.count, 0, "{:?}", done.problems);
    for number in 0..3 {
        let restored = world.files.read(format!("{target}/src/f{number}"));
        assert!(restored == noise(number, 1 << 20), "f{number} is another");
    }
}

fn world_options() -> repo::RestoreOptions {
    repo::RestoreOptions::default()
}

/// What a client reads by: its own segments and the published ones.
fn reading(outcome: &Outcome, shared: &[SharedSegment]) -> Segments {
    Segments { own: outcome.facts.segments.clone(), shared: shared.to_vec(), ..Segments::default() }
}

#[tokio::test]
async fn what_another_member_stored_is_not_stored_again() {
    let mut first = world();
    first.backup(SOURCE).await;
    let shared = [publish(&first, &packs(&first))];
    let second = other(&first, Trust::Trusting);
    let outcome = second.try_backup(job(&second, 500, &shared)).await.unwrap();
    assert_eq!(outcome.stats.bytes_read, 3 << 20);
    assert!(outcome.stats.bytes_stored < 30_000, "{:?}", outcome.stats);
    restores(&second, &outcome, reading(&outcome, &shared), "/target").await;
}

#[tokio::test]
async fn a_member_that_lies_is_noticed_before_the_commit() {
    let mut honest = world();
    honest.backup(SOURCE).await;
    // A liar claims the same chunks, and has garbage in their place.
    let true_packs = packs(&honest);
    let mut writer = PackWriter::new(0);
    let ids = true_packs.iter().flat_map(|(_, rows)| rows).map(|row| row.id);
    ids.enumerate().for_each(|(number, id)| writer.push(id, &noise(100 + number as u64, 5_000)));
    let lie = writer.finish(&INDEX_KEY, &[3; 32]);
    let name = ObjectName {
        lease: LeaseId { incarnation: 1, index: 666 },
        hash: Sha256(sha2::Sha256::digest(&lie.bytes).into()),
    };
    let row = PackRow { name, len: lie.bytes.len() as u32, tail_len: lie.tail_len };
    let key = Place::Pack(DOMAIN).object(name);
    honest.objects.objects.lock().unwrap().insert(key.to_string(), lie.bytes.into());
    let shared = [publish(&honest, &[(row, lie.rows)])];

    let victim = other(&honest, Trust::Trusting);
    let error = victim.try_backup(job(&victim, 500, &shared)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Poisoned, "{error:?}");
    assert!(error.message.contains(&key.to_string()), "the pack is named: {error:?}");
    assert_eq!(victim.context.distrust.keys(), [key]);
    assert!(honest.objects.paths("client/").iter().filter(|path| path.contains("snapshot")).count() == 1, "no commit");
    // Again, without it: all is stored.
    let outcome = victim.try_backup(job(&victim, 501, &shared)).await.unwrap();
    assert!(outcome.stats.bytes_new >= 3 << 20, "{:?}", outcome.stats);
    restores(&victim, &outcome, reading(&outcome, &shared), "/target").await;
}

#[tokio::test]
async fn a_chunk_is_read_from_whatever_home_is_left() {
    let mut first = world();
    first.backup(SOURCE).await;
    let one = packs(&first);
    let second = other(&first, Trust::Trusting);
    let outcome = second.try_backup(job(&second, 500, &[])).await.unwrap();
    let both = packs(&first);
    assert!(both.len() > one.len());
    // Both homes stand in one published segment, and in two.
    let whole = publish(&first, &both);
    let reading = |shared: &[SharedSegment]| Segments { shared: shared.to_vec(), ..Segments::default() };
    for (pack, _) in &one {
        first.objects.remove(&Place::Pack(DOMAIN).object(pack.name).to_string());
    }
    restores(&second, &outcome, reading(&[whole]), "/whole").await;
    let (older, newer) = (publish(&first, &one), publish(&first, &both[..]));
    restores(&second, &outcome, reading(&[newer, older]), "/apart").await;
}

#[tokio::test]
async fn what_was_lost_since_is_stored_again_though_no_file_changed() {
    let mut world = world();
    let first = world.backup(SOURCE).await;
    let unchanged = world.backup(SOURCE).await;
    assert_eq!(unchanged.stats.bytes_read, 0, "taken over: {:?}", unchanged.stats);
    let largest = packs(&world).into_iter().max_by_key(|(pack, _)| pack.len).unwrap().0;
    world.objects.remove(&Place::Pack(DOMAIN).object(largest.name).to_string());
    let condemned = |epoch| vec![CondemnedObject { name: largest.name, epoch }];

    // A snapshot that was made when the loss was known does not need it.
    let mut known = world.job(SOURCE);
    known.lease.view.condemned = condemned(0);
    known.lease.id.index = 700;
    assert_eq!(world.try_backup(known).await.unwrap().stats.bytes_read, 0);

    let mut job = world.job(SOURCE);
    job.lease.view.condemned = condemned(1);
    let mended = world.try_backup(job).await.unwrap();
    assert_eq!(mended.stats.bytes_read, 3 << 20, "{:?}", mended.stats);
    assert!(mended.stats.bytes_new >= 2 << 20, "{:?}", mended.stats);
    let segments = Segments {
        own: [first.facts.segments, mended.facts.segments.clone()].concat(),
        condemned: [largest.name].into(),
        last_resort: true,
        ..Segments::default()
    };
    restores(&world, &mended, segments.clone(), "/target").await;
    let job = repo::VerifyJob {
        snapshots: vec![mended.facts.object],
        segments,
        read: repo::ReadData::All,
        memory_bytes: 96 << 20,
        downloads: 4,
        cancel: repo::CancellationToken::new(),
    };
    let report = repo::verify(world.context.clone(), job, Arc::new(Progress::default())).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.damages);
}

#[tokio::test]
async fn strangers_keep_short_files_to_themselves() {
    let plain = world();
    plain.files.write("/src/short", b"what anyone could guess ".repeat(100));
    let mut first = other(&plain, Trust::Strangers);
    let keys = |secret: u8| {
        let domain = protocol::records::Domain { trust: Trust::Strangers, ..domain(CHUNKER) };
        let client = ClientId::of_key(&PublicKey([secret; 32]));
        Keys::new(domain, client, Signer::from_seed(&[secret; 32]), &[(0, [5; 32])], INDEX_KEY, [secret; 32]).unwrap()
    };
    first.context.keys = Arc::new(keys(1));
    first.try_backup(job(&first, 500, &[])).await.unwrap();
    let shared = [publish(&first, &packs(&first))];
    let second = World {
        context: Context { keys: Arc::new(keys(2)), ..first.context.clone() },
        ..other(&plain, Trust::Strangers)
    };
    let outcome = second.try_backup(job(&second, 501, &shared)).await.unwrap();
    // The three long files are shared; the short one and the trees are not.
    assert!(outcome.stats.bytes_new > 2_000 && outcome.stats.bytes_new < 20_000, "{:?}", outcome.stats);
    restores(&second, &outcome, reading(&outcome, &shared), "/target").await;
}

#[derive(Debug)]
struct Names(Vec<ObjectName>);

#[async_trait]
impl repo::Attic for Names {
    async fn names(&self) -> Result<Vec<ObjectName>, RepoError> {
        Ok(self.0.clone())
    }

    async fn published(&self) -> Result<Vec<SharedSegment>, RepoError> {
        Ok(Vec::new())
    }
}

/// Has no names, and publishes this, one after the other.
#[derive(Debug)]
struct Press {
    waiting: Mutex<Vec<SharedSegment>>,
    asked: AtomicUsize,
}

#[async_trait]
impl repo::Attic for Press {
    async fn names(&self) -> Result<Vec<ObjectName>, RepoError> {
        Ok(Vec::new())
    }

    async fn published(&self) -> Result<Vec<SharedSegment>, RepoError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.waiting.lock().unwrap().pop().into_iter().collect())
    }
}

impl Press {
    fn new(waiting: Vec<SharedSegment>) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::new(waiting), asked: AtomicUsize::default() })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_chunk_that_is_in_no_segment_yet_is_waited_for() {
    let mut world = world();
    let outcome = world.backup(SOURCE).await;
    // Two segments of every other row.
    let part = |odd: usize| {
        let every_other = |rows: Vec<pack::Row>| rows.into_iter().skip(odd).step_by(2).collect();
        let packs: Vec<_> = packs(&world).into_iter().map(|(pack, rows)| (pack, every_other(rows))).collect();
        publish(&world, &packs)
    };
    let press = Press::new(vec![part(0), part(1)]);
    restores(&world, &outcome, Segments::default().reading(press.clone()), "/target").await;
    assert_eq!(press.asked(), 2);

    // One that never comes is lost, and is waited for once.
    let press = Press::new(vec![part(0)]);
    let job = repo::VerifyJob {
        snapshots: vec![outcome.facts.object],
        segments: Segments::default().reading(press.clone()),
        read: repo::ReadData::All,
        memory_bytes: 96 << 20,
        downloads: 4,
        cancel: repo::CancellationToken::new(),
    };
    let report = repo::verify(world.context.clone(), job, Arc::new(Progress::default())).await.unwrap();
    assert!(!report.is_sound());
    assert_eq!(press.asked(), 2);
}

#[tokio::test]
async fn own_segments_stand_in_for_a_published_one_that_is_lost() {
    let mut world = world();
    let outcome = world.backup(SOURCE).await;
    let published = publish(&world, &packs(&world));
    let view = protocol::commands::View { shared: vec![published], ..Default::default() };
    let attic = || Arc::new(Names(outcome.facts.segments.clone()));
    restores(&world, &outcome, Segments::of_view(&view).reading(attic()), "/before").await;
    world.objects.remove(&Place::Index(DOMAIN).object(published.name).to_string());
    world.cache.pages.lock().unwrap().clear();
    restores(&world, &outcome, Segments::of_view(&view).reading(attic()), "/after").await;
    assert_eq!(world.context.distrust.keys(), [Place::Index(DOMAIN).object(published.name)], "it is told of");
}

/// What the store is asked for during a job: how often, and for how many bytes.
async fn asked(world: &World, job: BackupJob) -> (usize, Outcome) {
    let before = world.objects.gets.load(Ordering::SeqCst);
    let outcome = world.try_backup(job).await.unwrap();
    (world.objects.gets.load(Ordering::SeqCst) - before, outcome)
}

/// The whole index of a domain that holds much: a thousand segments, each of a part of
/// the ids, as a merge leaves them.
fn thousand(world: &World) -> Vec<SharedSegment> {
    let pack = PackRow {
        name: ObjectName { lease: LeaseId { incarnation: 1, index: 1 }, hash: Sha256([1; 32]) },
        len: 9,
        tail_len: 9,
    };
    let segment = |number: u32| {
        let id = |at: u32| {
            let mut id = *blake3::hash(&number.to_le_bytes()).as_bytes();
            id[..4].copy_from_slice(&(number * (u32::MAX / 1000) + at).to_be_bytes());
            ChunkId(id)
        };
        let rows = [0, u32::MAX / 1000 - 1].map(|at| Row { id: id(at), pack: 0, offset: 16, len: 100 });
        put_segment(world, &[pack], &rows)
    };
    (0..1000).map(segment).collect()
}

#[tokio::test]
async fn starting_costs_the_same_whatever_the_domain_holds() {
    let mut world = world();
    world.backup(SOURCE).await;
    world.backup(SOURCE).await;
    let held = thousand(&world);
    let with = |world: &World, lease, shared: &[SharedSegment]| {
        let mut job = world.job(SOURCE);
        job.lease.id.index = lease;
        job.lease.view.shared = shared.to_vec();
        job
    };
    let (alone, outcome) = asked(&world, with(&world, 801, &[])).await;
    assert_eq!(outcome.stats.bytes_read, 0);
    let (among_many, _) = asked(&world, with(&world, 802, &held)).await;
    assert_eq!(alone, among_many, "an unchanged backup looks nothing up");

    world.files.write("/src/new", noise(50, 1 << 20));
    let (alone, _) = asked(&world, with(&world, 803, &[])).await;
    world.files.write("/src/new", noise(51, 1 << 20));
    let (among_many, outcome) = asked(&world, with(&world, 804, &held)).await;
    let chunks = outcome.stats.chunks_new as usize;
    assert!(chunks < 20, "{:?}", outcome.stats);
    // Each chunk is in the range of one segment: its head, and at worst a block for nothing.
    assert!(among_many <= alone + 2 * chunks, "{among_many} requests, {alone} without them");
}
