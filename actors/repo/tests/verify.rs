//! Each kind of damage to what is stored is found, named, and says what it costs.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{collections::BTreeSet, sync::Arc};

use protocol::{format::HEADER_LEN, limits, records::Chunker};
use repo::{Cost, Progress, ReadData, RepoError, VerifyJob, VerifyReport};
use support::{World, noise};

async fn sample() -> World {
    let mut world = World::new();
    for number in 0..30 {
        world.files.write(format!("/src/f{number:02}"), noise(number, 40_000));
    }
    world.backup(&["/src"]).await;
    world
}

fn data_pack(world: &World) -> String {
    let packs = world.objects.paths("/pack/");
    packs.into_iter().max_by_key(|path| world.objects.bytes(path)).unwrap()
}

fn tree_pack(world: &World) -> String {
    let packs = world.objects.paths("/pack/");
    packs.into_iter().min_by_key(|path| world.objects.bytes(path)).unwrap()
}

async fn verify_as(world: &World, read: ReadData) -> Result<VerifyReport, RepoError> {
    let job = VerifyJob {
        snapshots: world.history.iter().map(|outcome| outcome.facts.object).collect(),
        segments: world.segments(),
        read,
        memory_bytes: limits::MEMORY_BYTES_MIN,
        downloads: 4,
        cancel: repo::CancellationToken::new(),
    };
    repo::verify(world.context.clone(), job, Arc::new(Progress::default())).await
}

/// The one damage found, and what it costs.
fn only(report: &VerifyReport) -> (&str, Cost, &[String]) {
    assert_eq!(report.damages_count, 1, "{report:?}");
    let damage = &report.damages[0];
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(report.damaged[0].to_string(), damage.object);
    (&damage.object, damage.cost, &damage.files)
}

#[tokio::test]
async fn both_ends_of_every_pack_are_checked() {
    for pack in [data_pack, tree_pack] {
        // The magic, the length, the table, the random id, the trailer's numbers, its magic.
        for at in [0, 9, 13, -100, -60, -30, -20, -12, -9, -1_i64] {
            let world = sample().await;
            let path = pack(&world);
            world.objects.damage(&path, |bytes| {
                let place = if at < 0 { bytes.len() - at.unsigned_abs() as usize } else { at as usize };
                bytes[place] ^= 4;
            });
            let report = world.verify(false).await;
            assert_eq!(only(&report), (path.as_str(), Cost::Nothing, only(&report).2), "at {at}");
            assert!(!report.damages[0].files.is_empty());
            assert_eq!(world.restore(None, "/out").await.unwrap().problems.count, 0, "nothing was lost by it");
        }
    }
}

#[tokio::test]
async fn packs_that_were_cut_or_swapped_are_found() {
    let mut world = sample().await;
    world.files.write("/src/more", noise(99, 500_000));
    world.backup(&["/src"]).await;
    let path = data_pack(&world);
    let whole = world.objects.objects.lock().unwrap()[&path].clone();
    world.objects.damage(&path, |bytes| bytes.truncate(bytes.len() / 2));
    let report = world.verify(true).await;
    let (object, cost, files) = only(&report);
    assert_eq!((object, cost), (path.as_str(), Cost::Files), "{report:?}");
    assert!(!files.is_empty());
    // Another pack of the same client under its name.
    let other = world.objects.paths("/pack/").into_iter().find(|other| *other != path).unwrap();
    let swapped = world.objects.objects.lock().unwrap()[&other].clone();
    world.objects.damage(&path, |bytes| *bytes = swapped.to_vec());
    assert_eq!(only(&world.verify(true).await).0, path);
    world.objects.damage(&path, |bytes| *bytes = [&whole[..], b"more"].concat());
    assert!(world.verify(true).await.is_sound(), "what stands behind a pack is never read");
    world.objects.damage(&path, |bytes| *bytes = whole[..HEADER_LEN].to_vec());
    assert_eq!(only(&world.verify(false).await).0, path);
}

#[tokio::test]
async fn damaged_data_is_found_by_reading_it_and_named_by_file() {
    let world = sample().await;
    let path = data_pack(&world);
    world.objects.damage(&path, |bytes| bytes[300_000] ^= 1);
    assert!(world.verify(false).await.is_sound());
    let report = world.verify(true).await;
    assert_eq!((only(&report).0, only(&report).1, only(&report).2.len()), (path.as_str(), Cost::Files, 1));
    assert_eq!(report.packs_read, 1);
    assert_eq!(report.packs_read_named, std::slice::from_ref(&path));
    // A second snapshot, made without knowing of the first, stored it again.
    let mut second = world.job(&["/src"]);
    (second.lease.view.own, second.lease.parent) = (Vec::new(), None);
    let second = world.try_backup(second).await.unwrap();
    let mut own = [world.segments().own, second.facts.segments.clone()].concat();
    let verify = async |own: &[protocol::names::ObjectName]| {
        let job = VerifyJob {
            snapshots: vec![second.facts.object],
            segments: repo::Segments { own: own.to_vec(), ..Default::default() },
            read: ReadData::All,
            memory_bytes: limits::MEMORY_BYTES_MIN,
            downloads: 1,
            cancel: repo::CancellationToken::new(),
        };
        repo::verify(world.context.clone(), job, Arc::default()).await.unwrap()
    };
    // The newest segment is asked first.
    assert!(verify(&own).await.is_sound());
    own.reverse();
    let report = verify(&own).await;
    assert_eq!((only(&report).0, only(&report).1), (path.as_str(), Cost::Nothing), "{report:?}");
}

#[tokio::test]
async fn what_only_keeps_the_books_costs_no_file() {
    let world = sample().await;
    for (part, at) in [("/refs/", 40), ("/index/", 200)] {
        for path in world.objects.paths(part) {
            let whole = world.objects.objects.lock().unwrap()[&path].clone();
            for change in [0, 1, 2] {
                world.objects.damage(&path, |bytes| match change {
                    0 => bytes[at] ^= 1,
                    1 => bytes.truncate(at),
                    _ => bytes.clear(),
                });
                let report = world.verify(false).await;
                let damage = report.damages.iter().find(|damage| damage.object == path);
                let damage = damage.unwrap_or_else(|| panic!("{path} {change}: {report:?}"));
                assert!(report.damaged.iter().any(|key| key.to_string() == path));
                assert_eq!(damage.cost, Cost::Nothing, "{report:?}");
                // Without the index nothing can be found; without the list everything.
                let most = report.damages.iter().map(|damage| damage.cost).max().unwrap();
                assert_eq!(most == Cost::Files, part == "/index/", "{report:?}");
                world.objects.damage(&path, |bytes| *bytes = whole.to_vec());
            }
        }
    }
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn a_lost_segment_is_one_damage_however_many_chunks_it_knew() {
    let world = sample().await;
    let path = world.objects.paths("/index/").remove(0);
    world.objects.remove(&path);
    let report = world.verify(true).await;
    assert!(report.damages.iter().any(|damage| damage.object == path), "{report:?}");
    assert!(report.damages_count <= 2, "{report:?}");
    world.cache.pages.lock().unwrap().clear();
    let outcome = world.restore(None, "/out").await.unwrap();
    assert!(outcome.is_empty() && outcome.problems.count == 1, "{outcome:?}");
    let name = path.rsplit('/').next().unwrap();
    assert!(outcome.problems.named[0].reason.contains(name), "{outcome:?}");
}

#[tokio::test]
async fn a_lost_commit_costs_its_snapshot() {
    let mut world = sample().await;
    world.files.write("/src/more", "more");
    world.backup(&["/src"]).await;
    let path = world.objects.paths("/snapshot/").remove(0);
    world.objects.remove(&path);
    let report = world.verify(false).await;
    assert_eq!((only(&report).0, only(&report).1), (path.as_str(), Cost::Snapshot));
    assert_eq!(report.snapshots, 2);
}

#[tokio::test]
async fn a_sample_reads_some_packs_and_says_which() {
    let chunker = Chunker { min: 64 << 10, average: 256 << 10, max: 1 << 20 };
    let mut world = World::with_chunker(chunker);
    for number in 0..6 {
        world.files.write(format!("/src/f{number}"), noise(number, 300_000));
        world.backup(&["/src"]).await;
    }
    let data: BTreeSet<String> =
        world.objects.paths("/pack/").into_iter().filter(|path| world.objects.bytes(path) > 290_000).collect();
    assert_eq!(data.len(), 6);
    let all = verify_as(&world, ReadData::All).await.unwrap();
    assert_eq!((all.packs_read, all.packs, all.bytes_read), (6, 12, 1_800_000));
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let report = verify_as(&world, ReadData::Sample(0.25)).await.unwrap();
        assert!(report.is_sound() && report.packs == 12);
        assert!((1..=2).contains(&report.packs_read), "{report:?}");
        let read: BTreeSet<String> = report.packs_read_named.into_iter().collect();
        assert_eq!(report.bytes_read, 300_000 * read.len() as u64);
        seen.extend(read);
    }
    assert!(data.is_subset(&seen), "in the long run all are read");
    // However small the part, something is read.
    let report = verify_as(&world, ReadData::Sample(0.0001)).await.unwrap();
    assert_eq!((report.packs_read, report.packs, report.snapshots), (1, 12, 6));
    // And what is read is checked.
    for path in &data {
        world.objects.damage(path, |bytes| bytes[100_000] ^= 1);
    }
    let report = verify_as(&world, ReadData::Sample(0.9)).await.unwrap();
    assert!(report.damages_count >= 4, "{report:?}");
}
