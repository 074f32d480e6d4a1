//! Restoring over what is there, parts of a snapshot, and what is not a plain file.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use env::{
    Files as _,
    files::{FileTime, Kind},
};
use protocol::{names::ObjectKey, records::Chunker};
use repo::{Deed, Listing, Objects, Overwrite, Progress, RepoError, RestoreOutcome, Selection};
use support::{MemoryObjects, World, noise};

fn inode(world: &World, path: &str) -> u64 {
    world.files.metadata(path.as_ref()).unwrap().inode
}

fn mtime(world: &World, path: &str) -> FileTime {
    world.files.metadata(path.as_ref()).unwrap().mtime
}

fn set_mtime(world: &World, path: &str, secs: i64) {
    world.files.change(path, |metadata| metadata.mtime = FileTime { secs, nanos: 9 });
}

/// Bytes that compress well, so that there can be many of them; no two KiB are the same.
fn soft(len: usize) -> Vec<u8> {
    let block = |number: usize| [&number.to_le_bytes()[..], &[number as u8; 1016]].concat();
    (0..len / 1024).flat_map(block).collect()
}

/// Files, unchanged, kept, problems.
fn counts(outcome: &RestoreOutcome) -> (u64, u64, u64, u64) {
    (outcome.files, outcome.unchanged, outcome.kept, outcome.problems.count)
}

fn names(world: &World, below: &str) -> Vec<String> {
    world.files.seen(below).keys().map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn what_has_no_content_comes_back_as_it_was() {
    let mut world = World::new();
    let files = world.files.clone();
    files.dir("/src");
    for (name, kind) in
        [("pipe", Kind::Fifo), ("socket", Kind::Socket), ("tty", Kind::CharDevice), ("disk", Kind::BlockDevice)]
    {
        files.special(format!("/src/{name}"), kind);
    }
    files.change("/src/tty", |metadata| metadata.rdev = 0x501);
    files.change("/src/disk", |metadata| (metadata.rdev, metadata.mode) = (0x800, 0o6660));
    files.link("target", "/src/link");
    for name in ["pipe", "link", "tty"] {
        files.hard_link(format!("/src/{name}").as_ref(), format!("/src/{name}-too").as_ref()).unwrap();
    }
    files.write("/src/labelled", "with attributes");
    files.label("/src/labelled", "user.comment", "a nest");
    files.label("/src/labelled", "system.posix_acl_access", vec![2, 0, 0, 0, 1]);
    files.label("/src", "user.dir", "too");
    world.backup(&["/src"]).await;
    let outcome = world.restore(None, "/out").await.unwrap();
    assert_eq!((outcome.others, outcome.problems.count), (8, 0), "{outcome:?}");
    assert_eq!(files.seen("/src"), files.seen("/out/src"));
    assert_eq!(files.xattrs("/out/src".as_ref()).unwrap(), files.xattrs("/src".as_ref()).unwrap());
    for name in ["pipe", "link", "tty"] {
        assert_eq!(inode(&world, &format!("/out/src/{name}")), inode(&world, &format!("/out/src/{name}-too")));
    }
    // Nothing of it is made again when it is there.
    let before: Vec<u64> =
        names(&world, "/src").iter().map(|name| inode(&world, &format!("/out/src/{name}"))).collect();
    files.change("/out/src/pipe", |metadata| metadata.mode = 0);
    files.change("/out/src/tty", |metadata| metadata.rdev = 0x502);
    let outcome = world.restore_over(None, "/out", Overwrite::Always).await;
    assert_eq!((outcome.problems.count, outcome.bytes_fetched), (0, 0), "{outcome:?}");
    assert_eq!(files.seen("/src"), files.seen("/out/src"));
    let after: Vec<u64> = names(&world, "/src").iter().map(|name| inode(&world, &format!("/out/src/{name}"))).collect();
    let differ = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert_eq!(differ, 2, "only the device that was another one is made again, with its second name");
}

#[tokio::test]
async fn holes_stay_holes_and_differences_are_found_in_them() {
    let mut world = World::new();
    world.files.write_sparse("/src/image", 64 << 20, &[(8 << 20, noise(1, 100_000)), (60 << 20, noise(2, 5000))]);
    world.files.write_sparse("/src/hole", 1 << 40, &[]);
    world.backup(&["/src"]).await;
    let outcome = world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!(counts(&outcome), (2, 0, 0, 0), "{outcome:?}");
    let allocated = |path: &str| world.files.metadata(path.as_ref()).unwrap().allocated;
    assert!(allocated("/out/image") < 200_000, "{}", allocated("/out/image"));
    assert_eq!((allocated("/out/hole"), world.files.metadata("/out/hole".as_ref()).unwrap().len), (0, 1 << 40));
    assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
    assert!(outcome.bytes < 200_000);

    let outcome = world.restore_over(Some("/src"), "/out", Overwrite::Always).await;
    assert_eq!((counts(&outcome), outcome.bytes_fetched), ((0, 2, 0, 0), 0));
    // Something stands where the hole should be.
    world.files.write_sparse(
        "/out/image",
        64 << 20,
        &[(8 << 20, noise(1, 100_000)), (30 << 20, vec![1]), (60 << 20, noise(2, 5000))],
    );
    let outcome = world.restore_over(Some("/src"), "/out", Overwrite::Always).await;
    assert_eq!((counts(&outcome), outcome.bytes_fetched), ((1, 1, 0, 0), 0), "what is there is copied, not fetched");
    assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
    assert!(allocated("/out/image") < 200_000, "{}", allocated("/out/image"));
}

#[tokio::test]
async fn only_what_differs_is_written() {
    let mut world = World::new();
    for number in 0..40 {
        world.files.write(format!("/src/f{number:02}"), noise(number, 30_000));
    }
    world.files.write("/src/big", noise(99, 4 << 20));
    world.files.write("/src/long", noise(98, 100_000));
    world.files.write("/src/short", noise(97, 200_000));
    world.backup(&["/src"]).await;
    world.restore(Some("/src"), "/out").await.unwrap();
    let before: Vec<u64> = names(&world, "/out").iter().map(|name| inode(&world, &format!("/out/{name}"))).collect();

    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let opens = world.files.opens();
        let outcome = world.restore_over(Some("/src"), "/out", overwrite).await;
        assert_eq!((counts(&outcome), outcome.bytes, outcome.bytes_fetched), ((0, 43, 0, 0), 0, 0), "{outcome:?}");
        assert_eq!(
            world.files.opens() > opens,
            overwrite == Overwrite::Always,
            "only `always` reads what seems the same"
        );
    }
    let now: Vec<u64> = names(&world, "/out").iter().map(|name| inode(&world, &format!("/out/{name}"))).collect();
    assert_eq!(before, now);

    // A byte in the middle, a missing file, other attributes, a file too long, one too short.
    let mut big = noise(99, 4 << 20);
    big[2 << 20] ^= 1;
    world.files.write("/out/big", big);
    world.files.unlink("/out/f07");
    world.files.change("/out/f08", |metadata| metadata.mode = 0o600);
    world.files.label("/out/f09", "user.extra", "not in the snapshot");
    world.files.write("/out/long", [noise(98, 100_000), vec![1; 50_000]].concat());
    world.files.write("/out/short", &noise(97, 200_000)[..90_000]);
    world.files.write("/out/f10", noise(10, 30_000));
    let outcome = world.restore_over(Some("/src"), "/out", Overwrite::IfChanged).await;
    assert_eq!(counts(&outcome), (4, 39, 0, 0), "{outcome:?}");
    assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
    let fetched_most = 30_000 + 110_000 + 3 * 64_000 + 100_000;
    assert!(outcome.bytes_fetched < fetched_most, "{} bytes were fetched", outcome.bytes_fetched);
}

#[tokio::test]
async fn a_file_of_the_same_length_and_time_is_looked_into_only_by_always() {
    let mut world = World::new();
    world.files.write("/src/f", noise(1, 50_000));
    world.backup(&["/src"]).await;
    world.restore(Some("/src"), "/out").await.unwrap();
    let time = mtime(&world, "/out/f");
    world.files.write("/out/f", noise(2, 50_000));
    world.files.change("/out/f", |metadata| (metadata.mtime, metadata.uid) = (time, 5));
    assert_eq!(counts(&world.restore_over(Some("/src"), "/out", Overwrite::IfChanged).await), (0, 1, 0, 0));
    assert_eq!(world.files.read("/out/f"), noise(2, 50_000));
    assert_eq!(world.files.metadata("/out/f".as_ref()).unwrap().uid, 1000, "its attributes are corrected all the same");
    assert_eq!(counts(&world.restore_over(Some("/src"), "/out", Overwrite::Always).await), (1, 0, 0, 0));
    assert_eq!(world.files.read("/out/f"), noise(1, 50_000));
}

#[tokio::test]
async fn names_that_are_there_are_kept_if_asked() {
    let mut world = World::new();
    for name in ["old", "new", "gone", "linked-a", "linked-c"] {
        world.files.write(format!("/src/d/{name}"), noise(1, 20_000));
    }
    world.files.hard_link("/src/d/linked-a".as_ref(), "/src/d/linked-b".as_ref()).unwrap();
    world.files.link("there", "/src/d/link");
    world.files.dir("/src/d/sub");
    world.files.write("/src/d/sub/f", "in it");
    world.backup(&["/src"]).await;
    world.restore(Some("/src"), "/out").await.unwrap();
    let change = |world: &World| {
        world.files.write("/out/d/old", "mine");
        world.files.write("/out/d/new", "mine");
        set_mtime(world, "/out/d/old", 1);
        set_mtime(world, "/out/d/new", 9_000_000);
        for name in ["gone", "link", "linked-b"] {
            if world.files.metadata(format!("/out/d/{name}").as_ref()).is_ok() {
                world.files.unlink(format!("/out/d/{name}"));
            }
        }
        world.files.write("/out/d/linked-a", "mine");
        set_mtime(world, "/out/d/linked-a", 9_000_000);
        world.files.change("/out/d", |metadata| metadata.mode = 0o700);
        set_mtime(world, "/out/d", 9_000_000);
    };
    change(&world);
    let outcome = world.restore_over(Some("/src"), "/out", Overwrite::Never).await;
    assert_eq!(counts(&outcome), (2, 0, 5, 0), "{outcome:?}");
    for (name, content) in [("old", b"mine".to_vec()), ("new", b"mine".to_vec()), ("gone", noise(1, 20_000))] {
        assert_eq!(world.files.read(format!("/out/d/{name}")), content, "{name}");
    }
    // A further name of something that was kept must not become a name of what was kept.
    assert_eq!(world.files.read("/out/d/linked-a"), b"mine");
    assert_eq!(world.files.read("/out/d/linked-b"), noise(1, 20_000));
    let directory = world.files.metadata("/out/d".as_ref()).unwrap();
    assert_eq!((directory.mode, directory.mtime.secs), (0o700, 9_000_000));

    change(&world);
    let outcome = world.restore_over(Some("/src"), "/out", Overwrite::IfNewer).await;
    assert_eq!(counts(&outcome).3, 0, "{outcome:?}");
    assert_eq!(world.files.read("/out/d/old"), noise(1, 20_000));
    assert_eq!(world.files.read("/out/d/new"), b"mine");
    assert_eq!(world.files.read("/out/d/linked-b"), noise(1, 20_000));
}

#[tokio::test]
async fn what_is_something_else_is_replaced_or_named() {
    let mut world = World::new();
    for name in ["was-dir", "was-full-dir", "was-link", "was-pipe"] {
        world.files.write(format!("/src/{name}"), noise(1, 20_000));
    }
    world.files.write("/src/dir/f", "one");
    world.files.write("/src/dir2/f", "two");
    world.backup(&["/src"]).await;
    world.files.dir("/out/was-dir");
    world.files.write("/out/was-full-dir/x", "in the way");
    world.files.link("/etc/passwd", "/out/was-link");
    world.files.special("/out/was-pipe", Kind::Fifo);
    world.files.link("/elsewhere", "/out/dir");
    world.files.write("/out/dir2", "a file");
    let mut job = world.restore_job(Some("/src"), "/out");
    job.options.overwrite = Overwrite::Never;
    let outcome = repo::restore(world.context.clone(), job, Arc::new(Progress::default())).await.unwrap();
    assert_eq!(counts(&outcome), (0, 0, 4, 2), "{outcome:?}");
    assert!(outcome.problems.named.iter().all(|problem| problem.reason.contains("nothing in it was restored")));

    let outcome = world.restore_over(Some("/src"), "/out", Overwrite::IfChanged).await;
    assert_eq!((outcome.files, outcome.problems.count), (5, 1), "{outcome:?}");
    let problem = &outcome.problems.named[0];
    assert!(problem.path.ends_with("was-full-dir") && problem.reason.contains("in the way"), "{problem:?}");
    world.files.unlink("/out/was-full-dir/x");
    assert_eq!(counts(&world.restore_over(Some("/src"), "/out", Overwrite::IfChanged).await), (1, 5, 0, 0));
    assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
}

#[tokio::test]
async fn a_file_over_many_waves_is_compared_and_amended() {
    let chunker = Chunker { min: 256 << 10, average: 1 << 20, max: 4 << 20 };
    let mut world = World::with_chunker(chunker);
    let whole = soft(16 << 20);
    world.files.write("/src/big", whole.clone());
    world.backup(&["/src"]).await;
    let outcome = world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!((counts(&outcome), outcome.bytes), ((1, 0, 0, 0), 16 << 20));
    let before = inode(&world, "/out/big");
    let outcome = world.restore_over(Some("/src"), "/out", Overwrite::Always).await;
    assert_eq!((counts(&outcome), outcome.bytes_fetched, inode(&world, "/out/big")), ((0, 1, 0, 0), 0, before));

    let mut changed = whole.clone();
    changed[12 << 20] ^= 1;
    changed[15 << 20] ^= 1;
    world.files.write("/out/big", changed);
    let outcome = world.restore_over(Some("/src"), "/out", Overwrite::Always).await;
    assert_eq!(counts(&outcome), (1, 0, 0, 0), "{outcome:?}");
    assert!(outcome.bytes_fetched <= 8 << 20, "{}", outcome.bytes_fetched);
    assert!(world.files.read("/out/big") == whole);
    assert_eq!(names(&world, "/out"), ["big"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_whole_does_not_look_whole() {
    let mut world = World::new();
    world.files.write("/src/big", noise(1, 1 << 20));
    world.files.write("/src/small", noise(2, 100));
    world.backup(&["/src"]).await;
    let packs = world.objects.paths("/pack/");
    let data = packs.iter().max_by_key(|path| world.objects.bytes(path)).unwrap().clone();
    world.objects.damage(&data, |bytes| bytes[500_000] ^= 1);
    let outcome = world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!(counts(&outcome), (1, 0, 0, 1));
    assert_eq!(names(&world, "/out"), ["big.nuthatch-damaged", "small"]);
    let reason = &outcome.problems.named[0].reason;
    assert!(reason.contains("/out/big.nuthatch-damaged") && reason.contains("bytes are missing"), "{reason}");
    let salvaged = world.files.read("/out/big.nuthatch-damaged");
    let differ = salvaged.iter().zip(noise(1, 1 << 20)).filter(|(is, was)| **is != *was).count();
    assert!(salvaged.len() == 1 << 20 && differ > 0 && differ <= 64 << 10, "{differ}");
    assert!(!outcome.is_empty());

    world.objects.remove(&data);
    let outcome = world.restore(Some("/src"), "/nothing").await.unwrap();
    assert!(outcome.is_empty() && outcome.problems.count == 2, "{outcome:?}");
    assert_eq!(names(&world, "/nothing").len(), 0);
}

/// A store that does not answer any more after so many reads.
struct Silent {
    inner: Arc<MemoryObjects>,
    left: AtomicUsize,
}

#[async_trait]
impl Objects for Silent {
    async fn put(&self, key: ObjectKey, body: Bytes) -> Result<(), RepoError> {
        self.inner.put(key, body).await
    }
    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, RepoError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.inner.get(key, range).await,
            Err(_) => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn a_restore_that_ends_early_leaves_no_file_that_looks_whole() {
    let chunker = Chunker { min: 256 << 10, average: 1 << 20, max: 4 << 20 };
    let mut world = World::with_chunker(chunker);
    world.files.write("/src/big", soft(24 << 20));
    world.files.write("/src/small", "small");
    world.backup(&["/src"]).await;
    let mut found_draft = false;
    for reads in 0..20 {
        let mut context = world.context.clone();
        context.objects = Arc::new(Silent { inner: world.objects.clone(), left: AtomicUsize::new(reads) });
        let target = format!("/out{reads}");
        let job = world.restore_job(Some("/src"), &target);
        let cancel = job.cancel.clone();
        let restore = repo::restore(context, job, Arc::new(Progress::default()));
        let (ended, ()) = tokio::join!(restore, async {
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        });
        if ended.is_ok() {
            break;
        }
        let left = names(&world, &target);
        assert!(left.iter().all(|name| name.starts_with(".nuthatch-restore-")), "{left:?}");
        if left.is_empty() {
            continue;
        }
        found_draft = true;
        let outcome = world.restore_over(Some("/src"), &target, Overwrite::IfChanged).await;
        assert_eq!(counts(&outcome), (2, 0, 0, 0));
        assert_eq!(names(&world, &target), ["big", "small"]);
    }
    assert!(found_draft);
}

#[tokio::test]
async fn a_part_is_chosen_by_paths_and_patterns() {
    let mut world = World::new();
    for path in ["a/x.txt", "a/y.jpg", "a/deep/z.txt", "b/x.txt", "b/only/w.jpg", "c/cache/t.txt"] {
        world.files.write(format!("/src/{path}"), noise(path.len() as u64, 20_000));
    }
    world.backup(&["/src"]).await;
    let restore = async |selection: Selection, target: &str| {
        let mut job = world.restore_job(Some("/src"), target);
        job.options.selection = selection;
        let restored = repo::restore(world.context.clone(), job, Arc::new(Progress::default())).await;
        restored.map(|outcome| (names(&world, target), outcome))
    };
    let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let include = |patterns: &[&str]| Selection { include: strings(patterns), ..Selection::default() };
    let (seen, _) = restore(include(&["*.txt"]), "/1").await.unwrap();
    // Directories in which nothing was chosen are not made.
    assert_eq!(seen, ["a", "a/deep", "a/deep/z.txt", "a/x.txt", "b", "b/x.txt", "c", "c/cache", "c/cache/t.txt"]);
    assert_eq!(mtime(&world, "/1/a/deep"), mtime(&world, "/src/a/deep"));
    let (seen, _) = restore(include(&["/a/", "!*.jpg"]), "/2").await.unwrap();
    assert_eq!(seen, ["a", "a/deep", "a/deep/z.txt", "a/x.txt"]);
    let exclude = Selection { exclude: strings(&["cache/", "*.jpg"]), ..Selection::default() };
    let (seen, outcome) = restore(exclude, "/3").await.unwrap();
    assert_eq!(seen, ["a", "a/deep", "a/deep/z.txt", "a/x.txt", "b", "b/only", "b/x.txt", "c"]);
    assert!(outcome.bytes_fetched < 70_000, "{}", outcome.bytes_fetched);
    let paths = Selection { paths: vec!["b/only".into(), "c/cache/t.txt".into()], ..Selection::default() };
    let (seen, _) = restore(paths, "/4").await.unwrap();
    assert_eq!(seen, ["b", "b/only", "b/only/w.jpg", "c", "c/cache", "c/cache/t.txt"]);
    let absent = Selection { paths: vec!["b/nothing".into()], ..Selection::default() };
    let error = restore(absent, "/5").await.unwrap_err();
    assert_eq!(error.kind, repo::Kind::NotFound);
    assert!(error.message.contains("/src/b/nothing"), "{error:?}");
}

#[tokio::test]
async fn a_dry_run_says_what_a_real_one_does() {
    let mut world = World::new();
    for number in 0..5 {
        world.files.write(format!("/src/f{number}"), noise(number, 20_000));
    }
    world.files.write("/src/new/f", "new");
    world.files.link("there", "/src/link");
    world.backup(&["/src"]).await;
    world.restore(Some("/src"), "/out").await.unwrap();
    world.files.unlink("/out/new/f");
    world.files.unlink("/out/new");
    world.files.unlink("/out/link");
    world.files.link("elsewhere", "/out/link");
    world.files.write("/out/f1", "changed");
    world.files.change("/out/f2", |metadata| metadata.mode = 0);
    let before = world.files.seen("/out");
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut job = world.restore_job(Some("/src"), "/out");
    let list = told.clone();
    job.options.overwrite = Overwrite::IfChanged;
    job.options.dry_run = Some(Listing::new(move |deed, path: &Path| {
        list.lock().unwrap().push((deed, path.strip_prefix("/out").unwrap().display().to_string()));
    }));
    let dry = repo::restore(world.context.clone(), job, Arc::new(Progress::default())).await.unwrap();
    assert_eq!(world.files.seen("/out"), before, "nothing was touched");
    let mut told = told.lock().unwrap().clone();
    told.sort_by(|a, b| a.1.cmp(&b.1));
    let expected = [
        (Deed::Replaced, "f1"),
        (Deed::Adjusted, "f2"),
        (Deed::Replaced, "link"),
        (Deed::Made, "new"),
        (Deed::Made, "new/f"),
    ];
    assert_eq!(told, expected.map(|(deed, path)| (deed, path.to_owned())));
    assert_eq!(dry.bytes_fetched, 0);
    let real = world.restore_over(Some("/src"), "/out", Overwrite::IfChanged).await;
    assert_eq!((counts(&dry), dry.directories, dry.others), (counts(&real), real.directories, real.others));
    assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
}

#[tokio::test]
async fn what_other_names_share_is_not_changed_through_one() {
    let mut world = World::new();
    world.files.write("/src/f", noise(1, 30_000));
    world.backup(&["/src"]).await;
    world.restore(Some("/src"), "/out").await.unwrap();
    // Someone else has the same file under another name, and has made it theirs.
    world.files.hard_link("/out/f".as_ref(), "/other".as_ref()).unwrap();
    world.files.change("/out/f", |metadata| metadata.mode = 0o600);
    for overwrite in [Overwrite::IfChanged, Overwrite::Always] {
        let outcome = world.restore_over(Some("/src"), "/out", overwrite).await;
        assert_eq!((outcome.problems.count, outcome.bytes_fetched), (0, 0));
        assert_eq!(world.files.metadata("/other".as_ref()).unwrap().mode, 0o600);
        assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
    }
}
