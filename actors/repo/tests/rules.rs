//! What is left out of a backup, and what is backed up in the place of files.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{collections::BTreeSet, io, ops::Range};

use env::{
    Files as _,
    files::{Metadata, SourceFile, Xattr},
};
use repo::{Kind, Outcome, Rules, Stream};
use support::{World, files::MemoryFiles, noise};

async fn backup(world: &mut World, sources: &[&str], rules: Rules) -> Outcome {
    let outcome = world.try_backup(repo::BackupJob { rules, ..world.job(sources) }).await.unwrap();
    world.history.push(outcome.clone());
    outcome
}

/// The paths in the newest snapshot, below `/src`.
async fn stored(world: &World) -> BTreeSet<String> {
    let job = repo::ListJob {
        snapshot: world.history.last().unwrap().facts.object,
        segments: world.segments(),
        path: "/src".into(),
        recursive: true,
    };
    let mut paths = BTreeSet::new();
    repo::ls(&world.context, job, &mut |path, _| {
        paths.insert(path.strip_prefix("/src").unwrap().to_str().unwrap().to_owned());
        true
    })
    .await
    .unwrap();
    paths
}

fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(ToString::to_string).collect()
}

fn patterns(patterns: &[&str]) -> Rules {
    Rules { patterns: patterns.iter().map(ToString::to_string).collect(), ..Rules::default() }
}

#[tokio::test]
async fn patterns_leave_out_and_directories_left_out_are_not_walked() {
    let mut world = World::new();
    for path in ["a.o", "keep.o", "build/x", "sub/build/y", "sub/b.o", "node_modules/deep/er"] {
        world.files.write(format!("/src/{path}"), path);
    }
    world.files.deny("/src/node_modules");
    let rules = patterns(&["*.o", "!keep.o", "/build", "node_modules/"]);
    let outcome = backup(&mut world, &["/src"], rules).await;
    assert_eq!(outcome.problems.count, 0, "{:?}", outcome.problems);
    assert_eq!(outcome.stats.excluded, 4);
    assert_eq!(stored(&world).await, set(&["keep.o", "sub", "sub/build", "sub/build/y"]));
    let shown = repo::show(&world.context, outcome.facts.object).await.unwrap();
    assert_eq!(shown.manifest.excludes, ["*.o", "!keep.o", "/build", "node_modules/"]);

    // With other rules it is still the same lineage, and builds on what there is.
    world.clock.0.fetch_add(60_000, std::sync::atomic::Ordering::SeqCst);
    backup(&mut world, &["/src"], patterns(&["node_modules"])).await;
    let third = backup(&mut world, &["/src"], patterns(&["node_modules", "*.o"])).await;
    assert_eq!((third.stats.files, third.stats.files_unchanged), (2, 2));
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn patterns_are_relative_to_each_source_and_never_leave_one_out() {
    let mut world = World::new();
    for path in ["/src/one/tmp/x", "/src/one/in/tmp/x", "/src/two/tmp/x", "/src/tmp"] {
        world.files.write(path, path);
    }
    backup(&mut world, &["/src/one", "/src/two", "/src/tmp"], patterns(&["/tmp"])).await;
    assert_eq!(stored(&world).await, set(&["one", "one/in", "one/in/tmp", "one/in/tmp/x", "tmp", "two"]));
    backup(&mut world, &["/"], patterns(&["/src/one", "tmp"])).await;
    assert_eq!(stored(&world).await, set(&["two"]));
}

#[tokio::test]
async fn files_of_patterns_hold_where_they_are_and_below() {
    let mut world = World::new();
    world.files.write("/src/.nuthatchignore", "*.log\r\n/only-here\n\n# a comment\n{\n\\xff");
    world.files.write("/src/sub/.nuthatchignore", "!wanted.log\n*.txt\n");
    for path in ["x.log", "only-here", "x.txt", "sub/only-here", "sub/wanted.log", "sub/x.log", "sub/deep/x.txt"] {
        world.files.write(format!("/src/{path}"), path);
    }
    let outcome = backup(&mut world, &["/src"], Rules::default()).await;
    let kept =
        [".nuthatchignore", "x.txt", "sub", "sub/.nuthatchignore", "sub/only-here", "sub/wanted.log", "sub/deep"];
    assert_eq!(stored(&world).await, set(&kept));
    assert_eq!(outcome.problems.count, 1, "{:?}", outcome.problems);
    assert!(outcome.problems.named[0].reason.starts_with("line 5 is not used"), "{:?}", outcome.problems);
    // The nearest decides, and what is asked for on the command line comes last.
    backup(&mut world, &["/src"], patterns(&["*.log", "deep"])).await;
    assert!(stored(&world).await.contains("sub/wanted.log") && !stored(&world).await.contains("sub/deep"));
    let all = Rules { no_ignore_files: true, ..Rules::default() };
    assert_eq!(backup(&mut world, &["/src"], all).await.stats.excluded, 0);
}

#[tokio::test]
async fn caches_are_kept_empty_but_for_their_tag() {
    let mut world = World::new();
    let signature = "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n";
    world.files.write("/src/cache/CACHEDIR.TAG", signature);
    world.files.write("/src/cache/deep/junk", noise(1, 10_000));
    world.files.write("/src/false/CACHEDIR.TAG", "Signature: something else");
    world.files.write("/src/false/kept", "x");
    world.files.write("/src/marked/.nobackup", "");
    world.files.write("/src/marked/junk", "x");
    let rules = Rules { caches: true, if_present: vec![".nobackup".into()], ..Rules::default() };
    let outcome = backup(&mut world, &["/src"], rules.clone()).await;
    let kept =
        ["cache", "cache/CACHEDIR.TAG", "false", "false/CACHEDIR.TAG", "false/kept", "marked", "marked/.nobackup"];
    assert_eq!((stored(&world).await, outcome.stats.excluded), (set(&kept), 2));
    let shown = repo::show(&world.context, outcome.facts.object).await.unwrap();
    assert_eq!(shown.manifest.excludes, ["--exclude-caches", "--exclude-if-present .nobackup"]);
    assert_eq!(backup(&mut world, &["/src"], Rules::default()).await.stats.excluded, 0);
}

#[tokio::test]
async fn a_mount_point_is_an_empty_directory_with_its_attributes() {
    let mut world = World::new();
    world.files.write("/src/mnt/disk/file", "elsewhere");
    world.files.write("/src/bound", "elsewhere");
    world.files.write("/src/here", "here");
    let elsewhere = |files: &MemoryFiles, path: &str| files.change(path, |metadata| metadata.device = 8);
    ["/src/mnt/disk", "/src/mnt/disk/file", "/src/bound"].iter().for_each(|path| elsewhere(&world.files, path));
    world.files.change("/src/mnt/disk", |metadata| metadata.mode = 0o1711);
    let rules = Rules { one_file_system: true, ..Rules::default() };
    let outcome = backup(&mut world, &["/src"], rules.clone()).await;
    assert_eq!((stored(&world).await, outcome.stats.excluded), (set(&["here", "mnt", "mnt/disk"]), 2));
    world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!(world.files.metadata("/out/mnt/disk".as_ref()).unwrap().mode, 0o1711);
    // Each source has a file system of its own.
    backup(&mut world, &["/src/here", "/src/mnt/disk"], rules).await;
    assert_eq!(stored(&world).await, set(&["here", "mnt", "mnt/disk", "mnt/disk/file"]));
}

#[tokio::test]
async fn patterns_that_make_no_sense_stop_a_backup_before_it_starts() {
    let world = World::new();
    world.files.write("/src/file", "x");
    let job = repo::BackupJob { rules: patterns(&["a{b"]), ..world.job(&["/src"]) };
    let error = world.try_backup(job).await.unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    assert!(error.message.contains("a{b"), "{error:?}");
}

/// A stream of so many bytes that ends well or breaks.
struct Tap {
    bytes: Vec<u8>,
    at: usize,
    breaks: bool,
    like: Metadata,
}

impl SourceFile for Tap {
    fn metadata(&self) -> io::Result<Metadata> {
        Ok(self.like.clone())
    }
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.bytes.len() - self.at).min(30_000);
        buffer[..len].copy_from_slice(&self.bytes[self.at..self.at + len]);
        self.at += len;
        match len {
            0 if self.breaks => Err(io::Error::other("the other end is gone")),
            len => Ok(len),
        }
    }
    fn data_after(&self, _: u64) -> io::Result<Option<Range<u64>>> {
        unreachable!("a stream has no holes")
    }
    fn seek(&mut self, _: u64) {
        unreachable!("a stream cannot be sought in")
    }
    fn xattrs(&self) -> io::Result<Vec<Xattr>> {
        Ok(Vec::new())
    }
}

async fn stream(world: &mut World, bytes: Vec<u8>, breaks: bool) -> Result<Outcome, repo::RepoError> {
    let like = world.files.metadata("/".as_ref()).unwrap();
    let stream = Stream::new("db.sql".into(), Box::new(Tap { bytes, at: 0, breaks, like })).unwrap();
    let job = repo::BackupJob { stream: Some(stream), ..world.job(&["/db.sql"]) };
    let outcome = world.try_backup(job).await?;
    world.history.push(outcome.clone());
    Ok(outcome)
}

#[tokio::test]
async fn a_stream_becomes_a_file() {
    let mut world = World::new();
    world.files.write("/db.sql", "something else of that name");
    let bytes = noise(1, 9 << 20);
    for len in [0, 1, 300_000, 9 << 20] {
        let outcome = stream(&mut world, bytes[..len].to_vec(), false).await.unwrap();
        assert_eq!((outcome.stats.files, outcome.stats.bytes_source, outcome.problems.count), (1, len as u64, 0));
        let target = format!("/out{len}");
        world.restore(None, &target).await.unwrap();
        assert_eq!(world.files.read(format!("{target}/db.sql")), bytes[..len]);
    }
    // The next is read again, and only what is new in it is stored.
    let longer = [&bytes[..], &noise(2, 100_000)].concat();
    let outcome = stream(&mut world, longer, false).await.unwrap();
    assert!(outcome.stats.bytes_new < 300_000, "{:?}", outcome.stats);
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn a_stream_that_breaks_becomes_no_snapshot() {
    for len in [0, 100, 5 << 20] {
        let mut world = World::new();
        let error = stream(&mut world, noise(1, len), true).await.unwrap_err();
        assert!(error.message.contains("the other end is gone"), "{error:?}");
        assert!(world.objects.paths("/snapshot/").is_empty());
    }
}

#[tokio::test]
async fn a_stream_is_read_once_and_whole() {
    let world = World::new();
    let like = world.files.metadata("/".as_ref()).unwrap();
    let tap = Tap { bytes: noise(1, 9 << 20), at: 0, breaks: false, like };
    let stream = Stream::new("x".into(), Box::new(tap)).unwrap();
    let job = repo::BackupJob { stream: Some(stream), ..world.job(&["/x"]) };
    job.wind_up.cancel();
    let error = world.try_backup(job.clone()).await.unwrap_err();
    assert!(error.message.contains("cannot be read a second time"), "{error:?}");
    let error = world.try_backup(repo::BackupJob { wind_up: Default::default(), ..job }).await.unwrap_err();
    assert!(error.message.contains("cannot be read a second time"), "{error:?}");
    assert!(world.objects.paths("/snapshot/").is_empty());
    for name in ["", ".", "..", "a/b"] {
        let like = world.files.metadata("/".as_ref()).unwrap();
        let tap = Tap { bytes: Vec::new(), at: 0, breaks: false, like };
        assert!(Stream::new(name.into(), Box::new(tap)).is_err(), "{name:?}");
    }
}
