//! What is restored is what was backed up.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

use env::{Files as _, files::Kind};
use proptest::prelude::*;
use support::{World, files::odd_path, noise};

fn sample(world: &World) {
    let files = &world.files;
    files.write("/home/u/notes.txt", "hello, nest");
    files.write("/home/u/empty", "");
    files.write("/home/u/big.img", [noise(1, 3 << 20), vec![0; 2 << 20], noise(1, 3 << 20)].concat());
    files.write(odd_path("/home/u"), "not UTF-8");
    files.write("/home/u/deep/a/b/c/d.txt", vec![7; 300_000]);
    files.dir("/home/u/hollow");
    files.link("notes.txt", "/home/u/link");
    files.link("/nowhere", "/home/u/dangling");
    files.hard_link("/home/u/notes.txt".as_ref(), "/home/u/zz-same".as_ref()).unwrap();
    files.change("/home/u/big.img", |metadata| (metadata.mode, metadata.uid) = (0o4711, 77));
    files.change("/home/u/hollow", |metadata| metadata.mode = 0o2770);
    files.write("/etc/other", "another source");
}

#[tokio::test]
async fn everything_comes_back() {
    let mut world = World::new();
    sample(&world);
    let outcome = world.backup(&["/home/u", "/etc"]).await;
    assert_eq!(outcome.problems.count, 0, "{:?}", outcome.problems);
    assert_eq!((outcome.stats.files, outcome.stats.others), (7, 2));

    let restored = world.restore(None, "/out").await.unwrap();
    assert_eq!(restored.problems.count, 0, "{:?}", restored.problems);
    assert_eq!(world.files.seen("/home/u"), world.files.seen("/out/home/u"));
    assert_eq!(world.files.seen("/etc"), world.files.seen("/out/etc"));
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn a_path_comes_back_directly_into_the_target() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/home"]).await;
    world.restore(Some("/home/u"), "/out/new").await.unwrap();
    assert_eq!(world.files.seen("/home/u"), world.files.seen("/out/new"));
    assert_eq!(
        world.files.metadata("/home/u".as_ref()).unwrap().mtime,
        world.files.metadata("/out/new".as_ref()).unwrap().mtime
    );
    world.restore(Some("/home/u/notes.txt"), "/one").await.unwrap();
    assert_eq!(world.files.read("/one/notes.txt"), b"hello, nest");
    let error = world.restore(Some("/home/nobody"), "/two").await.unwrap_err();
    assert_eq!(error.kind, repo::Kind::NotFound);
}

#[tokio::test]
async fn what_is_in_the_way_is_refused_unless_asked_for() {
    let mut world = World::new();
    sample(&world);
    world.backup(&["/home/u"]).await;
    world.files.write("/out/mine", "precious");
    let error = world.restore(Some("/home/u"), "/out").await.unwrap_err();
    assert_eq!(error.kind, repo::Kind::Invalid, "{error:?}");
    world.files.write("/out/notes.txt", "old");
    // A link in the place of a directory would lead out of the target.
    world.files.dir("/elsewhere");
    world.files.link("/elsewhere", "/out/deep");
    let mut job = world.restore_job(Some("/home/u"), "/out");
    job.options.overwrite = repo::Overwrite::IfChanged;
    let outcome = repo::restore(world.context.clone(), job, Default::default()).await.unwrap();
    assert_eq!(outcome.problems.count, 0, "{:?}", outcome.problems);
    assert_eq!(world.files.read("/out/mine"), b"precious");
    assert_eq!(world.files.read("/out/notes.txt"), b"hello, nest");
    assert!(world.files.seen("/elsewhere").is_empty());
}

#[tokio::test]
async fn a_huge_directory_and_a_long_file_have_indirect_lists() {
    let mut world = World::with_chunker(protocol::records::Chunker { min: 64, average: 256, max: 1024 });
    // 8,192 chunks, far beyond what an entry holds.
    world.files.write("/d/long", noise(9, 2 << 20));
    for number in 0..5000 {
        world.files.write(format!("/d/many/file-with-a-rather-long-name-{number:05}"), format!("{number}"));
    }
    world.backup(&["/d"]).await;
    world.restore(Some("/d"), "/out").await.unwrap();
    assert_eq!(world.files.seen("/d"), world.files.seen("/out"));
    assert!(world.verify(true).await.is_sound());

    let opens = world.files.opens();
    let second = world.backup(&["/d"]).await;
    assert_eq!(world.files.opens(), opens, "unchanged files are not opened");
    assert_eq!((second.stats.files_unchanged, second.stats.packs), (5001, 0));
    assert!(world.verify(false).await.is_sound());
}

#[tokio::test]
async fn snapshots_are_listed_and_shown() {
    let mut world = World::new();
    sample(&world);
    let outcome = world.backup(&["/home/u"]).await;
    let shown = repo::show(&world.context, outcome.facts.object).await.unwrap();
    assert_eq!(shown.id, outcome.snapshot);
    assert_eq!(shown.commit.facts(outcome.facts.object), outcome.facts);
    assert_eq!((shown.manifest.host.as_str(), shown.manifest.stats.files), ("nest", 6));
    let mut paths = Vec::new();
    let job = repo::ListJob {
        snapshot: outcome.facts.object,
        segments: world.segments(),
        path: "/home/u/deep".into(),
        recursive: true,
    };
    repo::ls(&world.context, job, &mut |path, _| {
        paths.push(path.to_string_lossy().into_owned());
        true
    })
    .await
    .unwrap();
    assert_eq!(paths, ["/home/u/deep/a", "/home/u/deep/a/b", "/home/u/deep/a/b/c", "/home/u/deep/a/b/c/d.txt"]);
}

/// A name of one to six bytes of any kind that a file system takes.
fn name() -> impl Strategy<Value = OsString> {
    proptest::collection::vec(any::<u8>().prop_filter("no slash or NUL", |byte| *byte != b'/' && *byte != 0), 1..6)
        .prop_filter("not a link to a directory itself", |name| name != b"." && name != b"..")
        .prop_map(OsString::from_vec)
}

#[derive(Debug, Clone)]
enum Made {
    File(u64, usize),
    Directory,
    Link(String),
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        4 => (0u64..4, 0usize..200_000).prop_map(|(seed, len)| Made::File(seed, len)),
        2 => Just(Made::Directory),
        1 => "[a-z/.]{1,9}".prop_map(Made::Link),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_comes_back(entries in proptest::collection::vec((proptest::collection::vec(name(), 1..4), made()), 0..24)) {
        let mut world = World::new();
        world.files.dir("/src");
        for (names, made) in entries {
            let path: PathBuf = std::iter::once(OsString::from("/src")).chain(names).collect();
            let blocked = path.ancestors().any(|above| world.files.metadata(above).is_ok_and(|found| found.kind != Kind::Directory || above == path));
            if blocked {
                continue;
            }
            world.files.dir(path.parent().unwrap());
            match made {
                Made::File(seed, len) => world.files.write(&path, noise(seed, len)),
                Made::Directory => world.files.dir(&path),
                Made::Link(target) => world.files.link(&target, &path),
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let outcome = world.backup(&["/src"]).await;
            prop_assert_eq!(outcome.problems.count, 0);
            let restored = world.restore(Some("/src"), "/out").await.unwrap();
            prop_assert_eq!(restored.problems.count, 0);
            prop_assert_eq!(world.files.seen("/src"), world.files.seen("/out"));
            prop_assert!(world.verify(true).await.is_sound());
            Ok(())
        })?;
    }
}
