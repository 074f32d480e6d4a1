//! What goes wrong is a clear error, or a named problem, and never a hang.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::{limits, names::ObjectKey, records::Chunker};
use repo::{Kind, Objects, Progress, RepoError};
use support::{World, noise};

fn sample(world: &World) {
    for number in 0..60 {
        world.files.write(format!("/src/f{number:02}"), noise(number, 40_000));
    }
}

#[tokio::test]
async fn a_store_that_fails_ends_the_backup_with_its_error() {
    // The pack, the tree pack, the pages, the segment, the commit: each in turn.
    for number in 0..6 {
        let world = World::new();
        sample(&world);
        let error = RepoError::new(Kind::Denied, "the storage has no room");
        *world.objects.fail_put_from.lock().unwrap() = Some((number, error));
        let error = world.try_backup(world.job(&["/src"])).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (Kind::Denied, "the storage has no room"), "PUT {number}");
        assert!(world.objects.paths("/snapshot/").is_empty());
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_ends_a_restore() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/src"]).await;
    *world.objects.fail_gets.lock().unwrap() = Some(RepoError::new(Kind::Retry, "no answer"));
    let error = world.restore(None, "/out").await.unwrap_err();
    assert_eq!(error.kind, Kind::Retry);
    let error = world.try_backup(world.job(&["/src"])).await.unwrap_err();
    assert_eq!(error.kind, Kind::Retry);
}

#[tokio::test]
async fn nothing_to_back_up_is_said_so() {
    let world = World::new();
    assert_eq!(world.try_backup(world.job(&["/missing"])).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(world.try_backup(world.job(&["relative"])).await.unwrap_err().kind, Kind::NotFound);
    world.files.dir("/there");
    assert_eq!(world.try_backup(world.job(&["/there/.."])).await.unwrap_err().kind, Kind::NotFound);
    assert_eq!(world.try_backup(world.job(&["/there", "/there/.."])).await.unwrap_err().kind, Kind::Invalid);
}

#[tokio::test]
async fn sources_that_do_not_exist_are_named_as_they_were_given() {
    let mut world = World::new();
    sample(&world);
    let outcome = world.backup(&["/src", "/no/such/place", "/src-too"]).await;
    assert_eq!(outcome.stats.files, 60);
    let named: Vec<_> = outcome.problems.named.iter().map(|problem| (&*problem.path, &*problem.reason)).collect();
    assert_eq!(named, [("/no/such/place", "it does not exist"), ("/src-too", "it does not exist")]);
}

#[tokio::test]
async fn cancelling_ends_a_backup_at_once() {
    let world = World::new();
    sample(&world);
    world.objects.hang_puts.store(true, Ordering::SeqCst);
    let job = world.job(&["/src"]);
    let cancel = job.cancel.clone();
    let (ended, ()) = tokio::join!(world.try_backup(job), async {
        while world.objects.puts.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(ended.unwrap_err().kind, Kind::Cancelled);
}

#[tokio::test]
async fn dropping_a_backup_stops_its_actors() {
    let world = World::new();
    sample(&world);
    world.objects.hang_puts.store(true, Ordering::SeqCst);
    {
        let backup = world.try_backup(world.job(&["/src"]));
        tokio::pin!(backup);
        tokio::select! {
            biased;
            _ = &mut backup => unreachable!("the store does not answer"),
            () = async {
                while world.objects.puts.load(Ordering::SeqCst) == 0 {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }
    // The actors hold the store; when the last has ended, only the world does.
    let alive = || Arc::strong_count(&world.objects);
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(alive(), 2, "the world's own and its context's");
}

fn flip(bytes: &mut [u8]) {
    let at = bytes.len() / 2;
    bytes[at] ^= 0x40;
}

#[tokio::test]
async fn a_damaged_commit_is_named() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/src"]).await;
    let path = world.objects.paths("/snapshot/").remove(0);
    world.objects.damage(&path, |bytes| flip(bytes));
    let error = world.restore(None, "/out").await.unwrap_err();
    assert_eq!(error.kind, Kind::Corrupt);
    assert!(error.message.contains(&path), "{error:?}");
    let report = world.verify(false).await;
    assert_eq!((report.damages_count, report.damages[0].object.as_str()), (1, path.as_str()));
    // The next backup reads everything again, and is whole.
    let second = world.backup(&["/src"]).await;
    assert_eq!((second.stats.files_unchanged, second.stats.files), (0, 60));
    assert_eq!(world.restore(Some("/src"), "/again").await.unwrap().problems.count, 0);
}

#[tokio::test]
async fn a_damaged_segment_is_named() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/src"]).await;
    world.cache.pages.lock().unwrap().clear();
    let path = world.objects.paths("/index/").remove(0);
    world.objects.damage(&path, |bytes| bytes[200] ^= 1);
    let report = world.verify(false).await;
    assert!(report.damages.iter().any(|damage| damage.object == path), "{report:?}");
    let outcome = world.restore(None, "/out").await.unwrap();
    assert!(outcome.problems.count > 0);
    let name = path.rsplit('/').next().unwrap();
    assert!(outcome.problems.named[0].reason.contains(name), "{:?}", outcome.problems);
}

#[tokio::test]
async fn a_damaged_block_of_a_segment_costs_savings_but_no_backup() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/src"]).await;
    world.cache.pages.lock().unwrap().clear();
    let path = world.objects.paths("/index/").remove(0);
    world.objects.damage(&path, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let report = world.verify(false).await;
    assert!(report.damages.iter().any(|damage| damage.object == path), "{report:?}");
    // Without its index the parent cannot be read either: everything is stored again.
    let second = world.backup(&["/src"]).await;
    assert!(second.stats.bytes_new >= 60 * 40_000, "{:?}", second.stats);
    let outcome = world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!((outcome.files, outcome.problems.count), (60, 0));
}

#[tokio::test]
async fn a_damaged_pack_costs_the_files_in_it_and_no_others() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/src"]).await;
    let packs = world.objects.paths("/pack/");
    let data = packs.iter().max_by_key(|path| world.objects.bytes(path)).unwrap().clone();
    world.objects.damage(&data, |bytes| flip(bytes));

    let structure = world.verify(false).await;
    assert!(structure.is_sound(), "the structure is whole: {structure:?}");
    let report = world.verify(true).await;
    assert_eq!((report.damages_count, report.damages[0].object.as_str()), (1, data.as_str()));
    assert_eq!(report.damages[0].files.len(), 1, "{report:?}");

    let outcome = world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!((outcome.files, outcome.problems.count), (59, 1));
    let problem = &outcome.problems.named[0];
    assert!(problem.path.ends_with(report.damages[0].files[0].rsplit('/').next().unwrap()));
    assert!(problem.reason.contains(&data), "{problem:?}");

    world.objects.remove(&data);
    let report = world.verify(false).await;
    assert!(report.damages.iter().any(|damage| damage.object == data && damage.files.len() > 1));
    let outcome = world.restore(Some("/src"), "/out2").await.unwrap();
    assert_eq!((outcome.files, outcome.problems.count), (0, 60));
}

#[tokio::test]
async fn a_file_is_replaced_only_by_a_whole_one() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/src"]).await;
    world.files.write("/src/f07", noise(99, 50_000));
    let mut job = world.restore_job(Some("/src"), "/src");
    job.options.overwrite = repo::Overwrite::IfChanged;
    let outcome = repo::restore(world.context.clone(), job, Arc::new(Progress::default())).await.unwrap();
    assert_eq!((outcome.files, outcome.unchanged, outcome.problems.count), (1, 59, 0));
    assert_eq!(world.files.read("/src/f07"), noise(7, 40_000));

    let packs = world.objects.paths("/pack/");
    let data = packs.iter().max_by_key(|path| world.objects.bytes(path)).unwrap().clone();
    world.objects.remove(&data);
    let other = |number: u64| noise(number + 100, 40_000);
    for number in 0..60 {
        world.files.write(format!("/src/f{number:02}"), other(number));
    }
    let mut job = world.restore_job(Some("/src"), "/src");
    job.options.overwrite = repo::Overwrite::IfChanged;
    let outcome = repo::restore(world.context.clone(), job, Arc::new(Progress::default())).await.unwrap();
    assert_eq!((outcome.files, outcome.problems.count), (0, 60));
    assert!(outcome.problems.named[0].reason.contains("is kept"), "{:?}", outcome.problems.named[0]);
    for number in 0..60 {
        assert_eq!(world.files.read(format!("/src/f{number:02}")), other(number));
    }
    let names = env::Files::read_dir(&*world.files, "/src".as_ref()).unwrap();
    assert_eq!(names.len(), 60, "nothing else is left behind: {names:?}");
}

#[tokio::test]
async fn a_damaged_tree_is_reported_and_the_rest_restored() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/src"]).await;
    world.files.write("/other/file", "fine");
    world.backup(&["/other"]).await;
    world.cache.pages.lock().unwrap().clear();
    let packs = world.objects.paths("/pack/");
    // The first backup's tree pack is the smaller of its two.
    let first = packs.iter().filter(|path| path.contains("/000000010000000000000001-"));
    let tree = first.min_by_key(|path| world.objects.bytes(path)).unwrap().clone();
    world.objects.damage(&tree, |bytes| bytes[100] ^= 1);
    assert!(!world.verify(false).await.is_sound());
    assert_eq!(world.restore(None, "/out").await.unwrap().problems.count, 0);
    assert_eq!(world.files.read("/out/other/file"), b"fine");
}

#[tokio::test]
async fn a_list_that_lacks_a_chunk_is_found() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/src"]).await;
    let pages = world.objects.paths("/refs/");
    assert_eq!(pages.len(), 2);
    for path in &pages {
        world.objects.damage(path, |bytes| flip(bytes));
    }
    let report = world.verify(false).await;
    assert!(pages.iter().any(|path| report.damages.iter().any(|damage| damage.object == *path)), "{report:?}");
}

/// Counts the bytes that are being written at one time; answers only when asked to.
struct Slow {
    inner: Arc<support::MemoryObjects>,
    held: Arc<tokio::sync::Semaphore>,
    open: AtomicBool,
}

#[async_trait]
impl Objects for Slow {
    async fn put(&self, key: ObjectKey, body: Bytes) -> Result<(), RepoError> {
        if !self.open.load(Ordering::SeqCst) {
            let _turn = self.held.acquire().await;
        }
        self.inner.put(key, body).await
    }
    async fn get(&self, key: &ObjectKey, range: Option<std::ops::Range<u64>>) -> Result<Bytes, RepoError> {
        self.inner.get(key, range).await
    }
}

#[tokio::test]
async fn a_slow_store_holds_the_reader_back() {
    let chunker = Chunker { min: 256 << 10, average: 1 << 20, max: 4 << 20 };
    let mut world = World::with_chunker(chunker);
    for number in 0..14 {
        world.files.write(format!("/src/f{number:02}"), noise(number, 8 << 20));
    }
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    let slow = Arc::new(Slow { inner: world.objects.clone(), held: held.clone(), open: AtomicBool::new(false) });
    world.context.objects = slow.clone();
    let mut job = world.job(&["/src"]);
    job.memory_bytes = limits::MEMORY_BYTES_MIN;
    let progress = Arc::new(Progress::default());
    let backup = repo::backup(world.context.clone(), job, progress.clone());
    let (outcome, ()) = tokio::join!(backup, async {
        // Goes on until nothing moves any more: the credit is used up.
        let mut still = 0;
        let mut before = 0;
        while still < 200 {
            tokio::task::yield_now().await;
            let read = progress.bytes.get();
            still = if read == before { still + 1 } else { 0 };
            before = read;
        }
        assert!(before > 16 << 20, "{before}");
        assert!(before <= limits::MEMORY_BYTES_MIN as u64, "{before} bytes were read ahead of the store");
        slow.open.store(true, Ordering::SeqCst);
        held.add_permits(1 << 20);
    });
    assert_eq!(outcome.unwrap().stats.bytes_read, 14 * (8 << 20));
}
