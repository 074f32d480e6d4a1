//! A second backup reads, seals and stores what changed.

mod support;

use std::sync::atomic::Ordering;

use protocol::format::tree::{Entry, What};
use support::{START_MS, World, files::Happening, noise};

const SOURCE: &[&str] = &["/src"];

#[tokio::test]
async fn unchanged_files_are_not_opened_and_little_is_fetched() {
    let mut world = World::new();
    for number in 0..200 {
        world.files.write(format!("/src/d{}/f{number}", number % 7), noise(number, 5000));
    }
    world.backup(SOURCE).await;
    let (opens, puts, gets) =
        (world.files.opens(), world.objects.puts.load(Ordering::SeqCst), world.objects.gets.load(Ordering::SeqCst));
    let second = world.backup(SOURCE).await;
    assert_eq!(world.files.opens(), opens);
    assert_eq!((second.stats.files_unchanged, second.stats.bytes_read, second.stats.chunks_new), (200, 0, 0));
    // Only the commit is written; only the parent's commit and list are read.
    assert_eq!(world.objects.puts.load(Ordering::SeqCst) - puts, 2, "root page of the list, and commit");
    assert_eq!(world.objects.gets.load(Ordering::SeqCst) - gets, 2, "commit, and root page of the list");
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn one_change_costs_one_change() {
    let mut world = World::new();
    for number in 0..100 {
        world.files.write(format!("/src/f{number:03}"), noise(number, 20_000));
    }
    let first = world.backup(SOURCE).await;
    let opens = world.files.opens();
    world.files.write("/src/f050", noise(1000, 20_000));
    world.files.unlink("/src/f051");
    let second = world.backup(SOURCE).await;
    assert_eq!(world.files.opens() - opens, 1);
    assert_eq!(second.stats.files_unchanged, 98);
    assert!(second.stats.bytes_stored < first.stats.bytes_stored / 20, "{:?}", second.stats);
    world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn without_cache_the_second_backup_is_the_same() {
    let mut world = World::new();
    for number in 0..50 {
        world.files.write(format!("/src/f{number}"), noise(number, 9000));
    }
    world.backup(SOURCE).await;
    world.cache.pages.lock().unwrap().clear();
    let opens = world.files.opens();
    let second = world.backup(SOURCE).await;
    assert_eq!((world.files.opens() - opens, second.stats.chunks_new), (0, 0));
}

#[tokio::test]
async fn a_damaged_cache_changes_nothing() {
    let mut world = World::new();
    let large = noise(1, 6 << 20);
    world.files.write("/src/large", large.clone());
    world.backup(SOURCE).await;
    for page in world.cache.pages.lock().unwrap().values_mut() {
        let mut bytes = page.to_vec();
        bytes[40] ^= 1;
        *page = bytes.into();
    }
    world.files.write("/src/large", [b"x", &large[..]].concat());
    let second = world.backup(SOURCE).await;
    assert!(second.stats.chunks_new < 10, "{:?}", second.stats);
    world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
}

#[tokio::test]
async fn a_large_file_that_changed_is_stored_by_its_changes() {
    let mut world = World::new();
    let mut large = noise(1, 20 << 20);
    world.files.write("/src/large", large.clone());
    let first = world.backup(SOURCE).await;
    large.splice((9 << 20)..(9 << 20), noise(2, 3000));
    world.files.write("/src/large", large);
    let second = world.backup(SOURCE).await;
    assert_eq!(second.stats.bytes_read, (20 << 20) + 3000);
    assert!(second.stats.bytes_new < first.stats.bytes_new / 50, "{:?}", second.stats);
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn the_same_content_is_stored_once() {
    let mut world = World::new();
    for number in 0..20 {
        world.files.write(format!("/src/copy{number}"), noise(7, 500_000));
    }
    let outcome = world.backup(SOURCE).await;
    assert!(world.objects.bytes("/pack/") < 600_000);
    assert_eq!(outcome.stats.bytes_read, 20 * 500_000);
    // Known to the index alone: another path, no hints, no parent.
    world.cache.pages.lock().unwrap().clear();
    world.files.write("/other/copy", noise(7, 500_000));
    let mut job = world.job(&["/other"]);
    job.lease.parent = None;
    let other = world.try_backup(job).await.unwrap();
    // Only the tree is new.
    assert!(other.stats.bytes_new < 5000, "{:?}", other.stats);
}

#[tokio::test]
async fn only_what_the_view_names_is_reused() {
    let mut world = World::new();
    world.files.write("/src/file", noise(7, 500_000));
    world.backup(SOURCE).await;
    let mut job = world.job(SOURCE);
    job.lease.parent = None;
    job.lease.view.own.clear();
    let outcome = world.try_backup(job).await.unwrap();
    assert!(outcome.stats.bytes_new >= 500_000);
}

#[tokio::test]
async fn a_file_that_changed_just_now_is_read_again() {
    let mut world = World::new();
    world.files.write("/src/fresh", "one");
    let now = START_MS as i64 / 1000;
    world.files.change("/src/fresh", |metadata| metadata.ctime.secs = now - 1);
    world.backup(SOURCE).await;
    let opens = world.files.opens();
    world.backup(SOURCE).await;
    assert_eq!(world.files.opens() - opens, 1, "it may have changed again within the same tick");
    world.backup(SOURCE).await;
    assert_eq!(world.files.opens() - opens, 1, "by now it has settled");
}

#[tokio::test]
async fn files_that_cannot_be_read_are_named_and_no_more() {
    let mut world = World::new();
    for number in 0..10 {
        world.files.write(format!("/src/f{number}"), noise(number, 5000));
    }
    world.files.deny("/src/f3");
    world.files.dir("/src/locked");
    world.files.deny("/src/locked");
    world.files.when_read("/src/f5", 3, Happening::Touched);
    let outcome = world.backup(&["/src", "/missing"]).await;
    let named: Vec<_> = outcome.problems.named.iter().map(|problem| problem.path.as_str()).collect();
    // The walk is in order of names.
    assert_eq!(named, ["/missing", "/src/f3", "/src/f5", "/src/locked"]);
    assert_eq!((outcome.problems.count, outcome.stats.problems, outcome.stats.files), (4, 4, 9));
    // What changed while it was read is not trusted next time.
    let opens = world.files.opens();
    world.backup(SOURCE).await;
    assert_eq!(world.files.opens() - opens, 2, "the denied one and the one that changed");
}

#[tokio::test]
async fn hard_links_are_read_once_and_linked_again() {
    let mut world = World::new();
    world.files.write("/src/a", noise(1, 100_000));
    env::Files::hard_link(&*world.files, "/src/a".as_ref(), "/src/b".as_ref()).unwrap();
    env::Files::hard_link(&*world.files, "/src/a".as_ref(), "/src/c".as_ref()).unwrap();
    let outcome = world.backup(SOURCE).await;
    assert_eq!((world.files.opens(), outcome.stats.bytes_source), (1, 100_000));
    let restored = world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!((restored.files, restored.others, restored.bytes), (1, 2, 100_000));
    assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
    let mut entries: Vec<Entry> = Vec::new();
    let job = repo::ListJob {
        snapshot: outcome.facts.object,
        segments: world.segments(),
        path: "/src".into(),
        recursive: false,
    };
    repo::ls(&world.context, job, &mut |_, entry| {
        entries.push(entry.clone());
        true
    })
    .await
    .unwrap();
    // Each name has the content, so that each can be restored alone.
    assert!(
        entries
            .iter()
            .all(|entry| matches!(&entry.what, What::File { len: 100_000, content } if !content.refs.is_empty()))
    );
}

#[tokio::test]
async fn the_same_source_gives_the_same_bytes() {
    let mut objects = Vec::new();
    for _ in 0..2 {
        let mut world = World::new();
        for number in 0..300 {
            world.files.write(format!("/src/d{}/f{number}", number % 9), noise(number % 50, 30_000));
        }
        world.backup(SOURCE).await;
        world.files.write("/src/new", "new");
        world.backup(SOURCE).await;
        objects.push(world.objects.objects.lock().unwrap().clone());
    }
    assert_eq!(objects[0], objects[1]);
}
