//! What differs between two snapshots, and what finding it costs.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::sync::atomic::Ordering;

use env::files::Kind;
use repo::{DiffJob, DiffSummary, Difference, RepoError};
use support::{World, noise};

async fn diff(world: &World, path: &str) -> Result<(Vec<(Difference, String)>, DiffSummary), RepoError> {
    let [.., before, after] = &world.history[..] else { unreachable!("two backups were made") };
    let job = DiffJob {
        before: before.facts.object,
        after: after.facts.object,
        segments: world.segments(),
        path: path.into(),
    };
    let mut changes = Vec::new();
    let mut visit = |change: &repo::Change<'_>| {
        changes.push((change.difference, change.path.display().to_string()));
        true
    };
    let summary = repo::diff(&world.context, job, &mut visit).await?;
    Ok((changes, summary))
}

#[tokio::test]
async fn each_kind_of_difference_is_told_in_order() {
    let mut world = World::new();
    let files = world.files.clone();
    for name in ["same", "gone", "content", "mode", "label", "kind", "time"] {
        files.write(format!("/src/{name}"), noise(1, 20_000));
    }
    files.link("here", "/src/link");
    files.special("/src/tty", Kind::CharDevice);
    files.write("/src/dir-gone/a/f", noise(2, 30_000));
    files.write("/src/dir/kept", "kept");
    files.write("/src/dir/untouched/f", "kept");
    files.write("/src/grown", noise(3, 300_000));
    world.backup(&["/src"]).await;
    for path in ["gone", "kind", "link", "dir-gone/a/f", "dir-gone/a", "dir-gone"] {
        files.unlink(format!("/src/{path}"));
    }
    files.write("/src/content", noise(9, 25_000));
    files.change("/src/mode", |metadata| (metadata.mode, metadata.ctime.secs) = (0o600, 7));
    files.change("/src/time", |metadata| (metadata.mtime.secs, metadata.ctime.secs) = (7, 7));
    files.label("/src/label", "user.x", "y");
    files.link("there", "/src/kind");
    files.link("there", "/src/link");
    files.change("/src/tty", |metadata| metadata.rdev = 5);
    files.write("/src/dir/new/f", noise(4, 1000));
    files.write("/src/grown", [noise(3, 300_000), noise(5, 50_000)].concat());
    world.backup(&["/src"]).await;
    let (changes, summary) = diff(&world, "/").await.unwrap();
    use Difference::{Added, Metadata, Modified, Removed, Type};
    let expected = [
        (Modified, "content"),
        (Added, "dir/new"),
        (Added, "dir/new/f"),
        (Removed, "dir-gone"),
        (Removed, "dir-gone/a"),
        (Removed, "dir-gone/a/f"),
        (Removed, "gone"),
        (Modified, "grown"),
        (Type, "kind"),
        (Metadata, "label"),
        (Modified, "link"),
        (Metadata, "mode"),
        (Metadata, "time"),
        (Modified, "tty"),
    ];
    assert_eq!(changes, expected.map(|(difference, path)| (difference, format!("/src/{path}"))));
    assert_eq!((summary.added, summary.removed, summary.modified, summary.metadata, summary.types), (2, 4, 4, 3, 1));
    // The file that grew has its old bytes still, but for the chunk at the old end.
    let grown = 25_000 + 1000 + 50_000..=25_000 + 1000 + 50_000 + 64_000;
    assert!(grown.contains(&summary.bytes_added), "{summary:?}");
    let gone = 20_000 + 30_000 + 20_000 + 20_000..=90_000 + 64_000;
    assert!(gone.contains(&summary.bytes_removed), "{summary:?}");
    assert_eq!(summary.bytes_added - 76_000, summary.bytes_removed - 90_000, "the cut chunk counts on both sides");

    let (changes, summary) = diff(&world, "/src/dir").await.unwrap();
    assert_eq!((changes.len(), summary.added), (2, 2));
    let (changes, _) = diff(&world, "/src/content").await.unwrap();
    assert_eq!(changes, [(Modified, "/src/content".into())]);
    assert_eq!(diff(&world, "/src/dir-gone/a").await.unwrap().0.len(), 2);
    assert_eq!(diff(&world, "/src/nothing").await.unwrap_err().kind, repo::Kind::NotFound);
    world.backup(&["/src"]).await;
    assert_eq!(diff(&world, "/").await.unwrap(), (Vec::new(), DiffSummary::default()));
}

#[tokio::test]
async fn a_small_difference_in_a_large_tree_costs_little() {
    let mut world = World::new();
    for directory in 0..40 {
        for file in 0..100 {
            world.files.write(format!("/src/d{directory:02}/f{file:03}"), format!("{directory} {file}"));
        }
    }
    for number in 0..4000 {
        world.files.write(format!("/src/many/with-a-rather-long-name-{number:06}"), format!("{number}"));
    }
    world.backup(&["/src"]).await;
    world.files.write("/src/d20/f050", "changed");
    world.files.unlink("/src/many/with-a-rather-long-name-002000");
    world.files.write("/src/many/with-a-rather-long-name-002000-and-more", "new");
    world.backup(&["/src"]).await;
    world.cache.pages.lock().unwrap().clear();
    let read = world.objects.gets.load(Ordering::SeqCst);
    let (changes, summary) = diff(&world, "/").await.unwrap();
    assert_eq!((changes.len(), summary.added, summary.removed, summary.modified), (3, 1, 1, 1), "{changes:?}");
    let pages = world.cache.pages.lock().unwrap().len();
    let gets = world.objects.gets.load(Ordering::SeqCst) - read;
    // Of 40 directories one was read, and of the nodes of the large one those that differ:
    // the root, the sources' directory, one small and one large directory, on both sides.
    assert!(gets <= 20 && pages <= 40, "{gets} reads, {pages} pages");
    world.files.write("/src/d20/f051", "changed");
    world.backup(&["/src"]).await;
    let before = world.cache.pages.lock().unwrap().len();
    diff(&world, "/src/d20").await.unwrap();
    assert!(world.cache.pages.lock().unwrap().len() - before < 12);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_it() {
    let mut world = World::new();
    world.backup(&["/"]).await;
    for number in 0..50 {
        world.files.write(format!("/src/f{number}"), "x");
    }
    world.backup(&["/"]).await;
    let [before, after] = &world.history[..] else { unreachable!("two backups were made") };
    let (before, after) = (before.facts.object, after.facts.object);
    let job = DiffJob { before, after, segments: world.segments(), path: "/".into() };
    let mut told = 0;
    let mut visit = |_: &repo::Change<'_>| {
        told += 1;
        told < 3
    };
    repo::diff(&world.context, job, &mut visit).await.unwrap();
    assert_eq!(told, 3);
}
