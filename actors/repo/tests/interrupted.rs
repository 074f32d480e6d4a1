//! A backup that was interrupted, or that is too long for one lease, is gone on with:
//! nothing is stored twice, and what comes back is whole.

#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod support;

use std::sync::{Arc, Mutex};

use protocol::{ids::LeaseId, limits, records::Chunker};
use repo::{BackupJob, Journal, Kind, Outcome, RepoError, StoredPack};
use support::{World, noise};

const SOURCE: &[&str] = &["/src"];
const FILES: u64 = 20;
const FILE_LEN: usize = 1 << 20;

/// Large enough that tests are quick, small enough that there is more than one in a file.
const CHUNKER: Chunker = Chunker { min: 64 << 10, average: 256 << 10, max: 512 << 10 };

/// Two packs of contents, and one of trees.
fn world() -> World {
    let world = World::with_chunker(CHUNKER);
    for number in 0..FILES {
        world.files.write(format!("/src/d{}/f{number:02}", number / 10), noise(number, FILE_LEN));
    }
    world
}

#[derive(Default)]
struct Recorder(Mutex<Vec<StoredPack>>);

impl Journal for Recorder {
    fn stored(&self, pack: StoredPack) {
        self.0.lock().unwrap().push(pack);
    }
}

/// Backs up until the store fails at the PUT of this number, from 0. Returns what is left.
async fn interrupt(world: &World, lease: u64, put: usize) -> Vec<StoredPack> {
    let journal = Arc::new(Recorder::default());
    let mut job = job_under(world, lease, &[]);
    job.journal = journal.clone();
    job.uploads = 1;
    let puts = world.objects.puts.load(std::sync::atomic::Ordering::SeqCst);
    *world.objects.fail_put_from.lock().unwrap() = Some((puts + put, RepoError::new(Kind::Retry, "gone")));
    assert_eq!(world.try_backup(job).await.unwrap_err().kind, Kind::Retry);
    *world.objects.fail_put_from.lock().unwrap() = None;
    let left = journal.0.lock().unwrap().clone();
    assert_eq!(left.len(), put.min(3));
    left
}

fn lease_id(number: u64) -> LeaseId {
    LeaseId { incarnation: 1, index: 1000 + number }
}

/// A job under the lease of this number, whose view names those that left something.
fn job_under(world: &World, lease: u64, left: &[u64]) -> BackupJob {
    let mut job = world.job(SOURCE);
    job.lease.id = lease_id(lease);
    job.lease.view.left = left.iter().copied().map(lease_id).collect();
    job
}

async fn same_as_source(world: &World, target: &str) {
    assert_eq!(world.restore(Some("/src"), target).await.unwrap().problems.count, 0);
    assert_eq!(world.files.seen("/src"), world.files.seen(target));
}

fn packs_len(world: &World) -> usize {
    world.objects.bytes("/pack/")
}

async fn packs_len_of_one_backup() -> usize {
    let mut world = world();
    world.backup(SOURCE).await;
    packs_len(&world)
}

#[tokio::test]
async fn what_dead_leases_left_is_not_stored_again() {
    let whole = packs_len_of_one_backup().await;
    // Dead after one pack of contents, and just before the commit.
    for put in [1, 5] {
        let mut world = world();
        let mut left = interrupt(&world, 1, put).await;
        left.extend(interrupt(&world, 2, 0).await);
        let stored = packs_len(&world);
        let mut job = job_under(&world, 3, &[1, 2]);
        job.left = left;
        let outcome = world.try_backup(job).await.unwrap();
        world.history.push(outcome.clone());
        // A pack that was torn apart has a table, a trailer and chunk borders of its own.
        let extra = packs_len(&world).abs_diff(whole);
        assert!(extra < FILE_LEN / 2, "after {put} packs: {extra} bytes more than one backup takes");
        assert_eq!(outcome.stats.bytes_read, FILES * FILE_LEN as u64);
        if put >= 3 {
            assert_eq!((packs_len(&world), outcome.stats.packs), (stored, 0), "everything was there, trees too");
        }
        same_as_source(&world, "/out").await;
        assert!(world.verify(true).await.is_sound());
    }
}

#[tokio::test]
async fn what_a_commit_adopted_is_there_for_the_next() {
    let mut world = world();
    let left = interrupt(&world, 1, 2).await;
    let mut job = job_under(&world, 2, &[1]);
    job.left = left;
    let outcome = world.try_backup(job).await.unwrap();
    world.history.push(outcome);
    world.cache.pages.lock().unwrap().clear();
    world.files.write("/other", noise(7, FILE_LEN));
    let other = world.backup(&["/other"]).await;
    assert!(other.stats.bytes_new < 5000, "{:?}", other.stats);
}

#[tokio::test]
async fn only_leases_of_the_view_are_gone_on_from() {
    let world = world();
    let left = interrupt(&world, 1, 2).await;
    let mut job = job_under(&world, 2, &[7]);
    job.left = left.clone();
    assert!(world.try_backup(job).await.unwrap().stats.bytes_new >= FILES * FILE_LEN as u64);

    let mut job = job_under(&world, 3, &[1]);
    job.lease.view.condemned =
        left.iter().map(|left| protocol::commands::CondemnedObject { name: left.pack.name, epoch: 1 }).collect();
    job.left = left;
    let outcome = world.try_backup(job).await.unwrap();
    assert!(outcome.stats.bytes_new >= FILES * FILE_LEN as u64, "condemned beats all");
}

#[tokio::test]
async fn packs_that_are_lost_or_damaged_are_stored_again() {
    let mut world = world();
    let mut left = interrupt(&world, 1, 3).await;
    let path = |left: &StoredPack| {
        let hash = left.pack.name.hash.to_string();
        world.objects.paths("/pack/").into_iter().find(|path| path.ends_with(&hash)).unwrap()
    };
    world.objects.remove(&path(&left[0]));
    world.objects.damage(&path(&left[1]), |bytes| {
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
    });
    left[2].pack.tail_len += 1;
    let mut invented = left[0];
    invented.pack.len = invented.pack.tail_len - 1;
    left.push(invented);
    let mut job = job_under(&world, 2, &[1]);
    job.left = left;
    let outcome = world.try_backup(job).await.unwrap();
    assert!(outcome.stats.bytes_new >= FILES * FILE_LEN as u64);
    world.history.push(outcome);
    same_as_source(&world, "/out").await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_for_what_is_left_ends_the_backup() {
    let world = world();
    let left = interrupt(&world, 1, 2).await;
    *world.objects.fail_gets.lock().unwrap() = Some(RepoError::new(Kind::Retry, "no answer"));
    let mut job = job_under(&world, 2, &[1]);
    job.left = left;
    assert_eq!(world.try_backup(job).await.unwrap_err().kind, Kind::Retry);
}

/// Backs up in parts until it is complete.
async fn in_parts(world: &mut World, part_bytes: u64) -> Vec<Outcome> {
    let mut parts = Vec::new();
    while parts.last().is_none_or(|part: &Outcome| !part.facts.complete) {
        let mut job = world.job(SOURCE);
        job.part_bytes = part_bytes;
        let part = world.try_backup(job).await.unwrap();
        world.history.push(part.clone());
        parts.push(part);
        assert!(parts.len() < 100, "it gets nowhere");
    }
    parts
}

#[tokio::test]
async fn a_long_backup_is_a_chain_of_parts() {
    let whole = packs_len_of_one_backup().await;
    let mut world = world();
    let opens = world.files.opens();
    let parts = in_parts(&mut world, 5 << 20).await;
    assert!(parts.len() > 2, "{} parts", parts.len());
    let read: u64 = parts.iter().map(|part| part.stats.bytes_read).sum();
    // A file that is being read when a part ends is read again.
    let again = parts.len() as u64 * FILE_LEN as u64;
    assert!(read <= FILES * FILE_LEN as u64 + again, "{read}");
    assert!(world.files.opens() - opens <= FILES as usize + parts.len());
    // Each part adds its own part of the trees, and tables.
    assert!(packs_len(&world) < whole + FILE_LEN, "{} instead of {whole}", packs_len(&world));
    let reach: Vec<u64> = parts.iter().map(|part| part.stats.bytes_source).collect();
    assert!(reach.is_sorted_by(|a, b| a < b), "{reach:?}");
    same_as_source(&world, "/out").await;
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn a_part_can_be_restored_as_far_as_it_goes() {
    let mut world = world();
    let mut job = world.job(SOURCE);
    job.part_bytes = 5 << 20;
    let part = world.try_backup(job).await.unwrap();
    assert!(!part.facts.complete && part.stats.files > 0);
    world.history.push(part.clone());
    let restored = world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!((restored.files, restored.problems.count), (part.stats.files, 0));
    for number in 0..part.stats.files {
        let name = format!("d{}/f{number:02}", number / 10);
        assert_eq!(world.files.read(format!("/out/{name}")), noise(number, FILE_LEN), "{name}");
    }
}

#[tokio::test]
async fn the_walk_finds_what_is_unchanged_in_both_parents() {
    let mut world = world();
    world.backup(SOURCE).await;
    // Changed at the start: the part ends before it comes to the rest.
    for number in 0..12 {
        world.files.write(format!("/src/d0/g{number:02}"), noise(1000 + number, FILE_LEN));
    }
    let mut job = world.job(SOURCE);
    job.part_bytes = 8 << 20;
    let part = world.try_backup(job).await.unwrap();
    assert!(!part.facts.complete);
    world.history.push(part.clone());
    let opens = world.files.opens();
    let rest = in_parts(&mut world, u64::MAX).await;
    let added = part.stats.files - 10;
    assert_eq!((rest.len(), world.files.opens() - opens), (1, 12 - added as usize), "only what neither parent has");
    assert_eq!(rest[0].stats.files_unchanged, FILES + added);
    same_as_source(&world, "/out").await;
}

#[tokio::test]
async fn a_file_that_is_longer_than_a_part_is_stored_once() {
    let mut world = World::with_chunker(CHUNKER);
    world.files.write("/src/huge", noise(1, 24 << 20));
    let mut stored = 0;
    for part_bytes in [8 << 20, 16 << 20, u64::MAX] {
        let mut job = world.job(SOURCE);
        job.part_bytes = part_bytes;
        let part = world.try_backup(job).await.unwrap();
        assert!(part.stats.bytes_new > 4 << 20, "each part brings it on: {:?}", part.stats);
        stored += part.stats.bytes_new;
        assert_eq!(part.facts.complete, part_bytes == u64::MAX);
        world.history.push(part);
    }
    assert!(stored < (24 << 20) + FILE_LEN as u64, "{stored}");
    same_as_source(&world, "/out").await;
}

#[tokio::test]
async fn a_backup_can_be_asked_to_wind_up() {
    let mut world = world();
    let job = world.job(SOURCE);
    job.wind_up.cancel();
    let part = world.try_backup(job).await.unwrap();
    assert_eq!((part.facts.complete, part.stats.files, part.stats.bytes_read), (false, 0, 0));
    world.history.push(part);
    let rest = in_parts(&mut world, u64::MAX).await;
    assert_eq!((rest.len(), rest[0].stats.files), (1, FILES));
    same_as_source(&world, "/out").await;
}

#[test]
fn a_commit_has_room_for_what_is_on_its_way_when_it_winds_up() {
    // Each item of a batch takes 256 bytes of the credit; an open pack of the tiniest
    // chunks has a row for about 26 bytes.
    let on_the_way = limits::MEMORY_BYTES_MAX / 256;
    let open = (limits::PACK_BYTES_TARGET + limits::TREE_PACK_BYTES_TARGET) / 26;
    let segments = limits::SEGMENTS_WIND_UP + (on_the_way + open).div_ceil(limits::SEGMENT_ROWS_MAX) + 1;
    assert!(segments < limits::SEGMENTS_PER_COMMIT_MAX, "{segments}");
    const { assert!(limits::LEFT_SEGMENTS_MAX < limits::SEGMENTS_WIND_UP) };
}
