//! Files are stored as they are: with their holes, extended attributes and other names;
//! and what moves while it is read is dealt with.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::os::unix::ffi::OsStrExt as _;

use env::{Files as _, files::Kind};
use proptest::prelude::*;
use protocol::{
    format::tree::{Entry, What},
    records::Chunker,
};
use support::{World, files::Happening, noise};

const SOURCE: &[&str] = &["/src"];

async fn entry(world: &World, path: &str) -> Entry {
    let job = repo::ListJob {
        snapshot: world.history.last().unwrap().facts.object,
        segments: world.segments(),
        path: path.into(),
        recursive: false,
    };
    let mut found = None;
    repo::ls(&world.context, job, &mut |_, entry| {
        found = Some(entry.clone());
        true
    })
    .await
    .unwrap();
    found.unwrap()
}

async fn assert_comes_back(world: &World, target: &str) {
    let restored = world.restore(Some("/src"), target).await.unwrap();
    assert_eq!(restored.problems.count, 0, "{:?}", restored.problems);
    assert_eq!(world.files.seen("/src"), world.files.seen(target));
    assert!(world.verify(true).await.is_sound());
}

#[tokio::test]
async fn extended_attributes_come_back_on_everything_that_has_them() {
    let mut world = World::new();
    world.files.write("/src/dir/file", noise(1, 300_000));
    world.files.hard_link("/src/dir/file".as_ref(), "/src/dir/same".as_ref()).unwrap();
    world.files.link("file", "/src/dir/link");
    world.files.special("/src/pipe", Kind::Fifo);
    for path in ["/src", "/src/dir", "/src/dir/file", "/src/dir/link", "/src/pipe"] {
        world.files.label(path, "user.name", path);
        world.files.label(path, "system.posix_acl_access", [2, 0, 0, 0]);
    }
    world.backup(SOURCE).await;
    assert_comes_back(&world, "/out").await;
    assert_eq!(entry(&world, "/src/dir/same").await.xattrs.len(), 2, "all names of a file have them");

    // One that is not opened keeps them; one that is labelled anew is looked at again.
    world.files.label("/src/dir/file", "user.more", "new");
    let second = world.backup(SOURCE).await;
    assert_eq!((second.stats.files_unchanged, second.stats.bytes_new < 5000), (0, true));
    world.backup(SOURCE).await;
    assert_comes_back(&world, "/again").await;
}

#[tokio::test]
async fn the_holes_of_a_huge_file_cost_nothing() {
    const TIB: u64 = 1 << 40;
    let chunker = Chunker { min: 256 << 10, average: 1 << 20, max: 4 << 20 };
    let mut world = World::with_chunker(chunker);
    let pieces = [(0, noise(1, 100_000)), (5 << 30, noise(2, 3 << 20)), (TIB - (300 << 10), noise(3, 300 << 10))];
    world.files.write_sparse("/src/disk", TIB, &pieces);
    world.files.write_sparse("/src/hollow", TIB, &[]);
    let first = world.backup(SOURCE).await;
    assert_eq!((first.stats.bytes_source, first.problems.count), (2 * TIB, 0));
    assert!(first.stats.bytes_read < 4 << 20, "{:?}", first.stats);
    let What::File { len: TIB, content } = entry(&world, "/src/hollow").await.what else { unreachable!() };
    assert!(content.depth == 1, "{content:?}");
    assert_comes_back(&world, "/out").await;
    let out = world.files.metadata("/out/disk".as_ref()).unwrap();
    assert!(out.allocated < 4 << 20, "{out:?}");

    let opens = world.files.opens();
    let second = world.backup(SOURCE).await;
    assert_eq!((world.files.opens() - opens, second.stats.files_unchanged), (0, 2));
    assert!(world.verify(false).await.is_sound());

    // A change at the end: what is between is known by its hints, or is still a hole.
    let pieces = [(0, noise(1, 100_000)), (5 << 30, noise(2, 3 << 20)), (TIB - 4096, noise(4, 4096))];
    world.files.write_sparse("/src/disk", TIB, &pieces);
    let third = world.backup(SOURCE).await;
    assert!(third.stats.bytes_read > 3 << 20 && third.stats.bytes_new < 100_000, "{:?}", third.stats);
    assert_comes_back(&world, "/again").await;
}

#[tokio::test]
async fn many_holes_make_a_list_that_ends() {
    let mut world = World::with_chunker(Chunker { min: 64, average: 256, max: 1024 });
    let pieces: Vec<_> = (0..6000).map(|number| (number * (96 << 10), noise(number, 100))).collect();
    world.files.write_sparse("/src/sieve", 6000 * (96 << 10), &pieces);
    world.backup(SOURCE).await;
    let What::File { content, .. } = entry(&world, "/src/sieve").await.what else { unreachable!() };
    assert!(content.depth == 1 && content.refs.len() < 30, "{} blocks", content.refs.len());
    assert_comes_back(&world, "/out").await;
    let second = world.backup(SOURCE).await;
    assert_eq!((second.stats.files_unchanged, second.stats.packs), (1, 0));
}

#[tokio::test]
async fn a_file_that_moves_is_read_again_and_then_kept_as_it_was_read() {
    // One that stands in a batch with others, and one that takes several.
    for (len, times, happening) in [
        (50_000, 2, Happening::Grows(5000)),
        (50_000, 2, Happening::Shrinks(3000)),
        (50_000, 1, Happening::Touched),
        (5 << 20, 2, Happening::Touched),
    ] {
        let mut world = World::new();
        world.files.write("/src/a", noise(1, 70_000));
        world.files.write("/src/log", noise(2, len));
        world.files.write("/src/z", noise(3, 70_000));
        world.files.when_read("/src/log", times, happening);
        let outcome = world.backup(SOURCE).await;
        assert_eq!(outcome.problems.count, 0, "{happening:?}: {:?}", outcome.problems);
        assert_comes_back(&world, "/out").await;
    }
}

#[tokio::test]
async fn a_file_that_does_not_come_to_rest_is_named() {
    let mut world = World::new();
    world.files.write("/src/log", noise(2, 50_000));
    world.files.write_sparse("/src/sparse", 1 << 20, &[(0, noise(1, 100_000))]);
    world.files.write_sparse("/src/huge", 65 << 20, &[(0, noise(3, 100))]);
    for path in ["/src/log", "/src/sparse", "/src/huge"] {
        world.files.when_read(path, 9, Happening::Touched);
    }
    let outcome = world.backup(SOURCE).await;
    let named: Vec<_> = outcome.problems.named.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!((named, outcome.stats.files), (vec!["/src/huge", "/src/log", "/src/sparse"], 3));
    assert_eq!(world.files.opens(), 1 + 3 + 3, "huge ones are read once");
    let restored = world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!(restored.problems.count, 0);
    assert_eq!(world.files.read("/out/log"), noise(2, 50_000));

    // It shrinks every time: what is there at last is kept, and its length is that.
    world.files.write_sparse("/src/sparse", 1 << 20, &[(0, noise(1, 100_000))]);
    world.files.when_read("/src/sparse", 9, Happening::Shrinks(200_000));
    world.files.when_read("/src/log", 9, Happening::Grows(100));
    let outcome = world.backup(&["/src/sparse", "/src/log"]).await;
    assert!(outcome.problems.count >= 1, "{:?}", outcome.problems);
    world.restore(None, "/out2").await.unwrap();
    assert_eq!(world.files.metadata("/out2/src/sparse".as_ref()).unwrap().len, 200_000);
    assert_eq!(world.files.read("/out2/src/log")[..50_000], noise(2, 50_000));
}

#[tokio::test]
async fn what_vanishes_is_counted_and_what_breaks_is_named() {
    let mut world = World::new();
    for number in 0..5 {
        world.files.write(format!("/src/f{number}"), noise(number, 100_000));
    }
    world.files.haunt("/src/ghost");
    world.files.when_read("/src/f1", 1, Happening::Vanishes);
    world.files.when_read("/src/f3", 9, Happening::Breaks);
    let outcome = world.backup(SOURCE).await;
    assert_eq!((outcome.stats.vanished, outcome.stats.files), (2, 3));
    assert_eq!(outcome.problems.count, 1);
    assert_eq!(outcome.problems.named[0].path, "/src/f3");
    assert!(outcome.problems.named[0].reason.contains("the disk is broken"));
    world.restore(Some("/src"), "/out").await.unwrap();
    assert_eq!(world.files.read("/out/f4"), noise(4, 100_000));
    assert!(world.files.metadata("/out/f1".as_ref()).is_err());
}

#[tokio::test]
async fn a_source_that_may_not_be_seen_is_told_apart_from_one_that_is_not_there() {
    let mut world = World::new();
    world.files.write("/src/file", "x");
    world.files.dir("/locked");
    world.files.deny("/locked");
    let outcome = world.backup(&["/src", "/locked", "/src/file/below"]).await;
    assert_eq!(outcome.problems.count, 1, "a source below a source adds nothing: {:?}", outcome.problems);
    assert!(outcome.problems.named[0].reason.contains("permission denied"), "{:?}", outcome.problems);
    let outcome = world.backup(&["/src/file/below", "/locked"]).await;
    let named: Vec<_> = outcome.problems.named.iter().map(|problem| (&*problem.path, &*problem.reason)).collect();
    assert_eq!(named[1], ("/src/file/below", "it does not exist"));
}

#[tokio::test]
async fn a_file_of_many_names_is_forgotten_when_all_were_seen() {
    let mut world = World::new();
    for number in 0..300 {
        let first = format!("/src/{number:03}-0");
        world.files.write(&first, noise(number, 20_000));
        for more in 1..4 {
            world.files.hard_link(first.as_ref(), format!("/src/{number:03}-{more}").as_ref()).unwrap();
        }
    }
    // One of its names lies elsewhere.
    world.files.hard_link("/src/007-0".as_ref(), "/elsewhere".as_ref()).unwrap();
    world.files.link("target", "/src/link");
    world.files.hard_link("/src/link".as_ref(), "/src/link-too".as_ref()).unwrap();
    let outcome = world.backup(SOURCE).await;
    assert_eq!((world.files.opens(), outcome.stats.files, outcome.stats.bytes_source), (300, 1200, 300 * 20_000));
    world.files.unlink("/elsewhere");
    assert_comes_back(&world, "/out").await;
}

#[tokio::test]
async fn paths_may_be_long() {
    let mut world = World::new();
    let mut deep = std::path::PathBuf::from("/src");
    while deep.as_os_str().as_bytes().len() < 12_000 {
        deep.push("d".repeat(100));
    }
    world.files.write(deep.join("file"), "deep");
    let outcome = world.backup(SOURCE).await;
    assert_eq!((outcome.stats.files, outcome.problems.count), (1, 0));
    assert_comes_back(&world, "/out").await;
}

#[derive(Debug, Clone)]
struct Piece {
    hole: u64,
    seed: u64,
    len: usize,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_sparse_file_comes_back(
        pieces in proptest::collection::vec(
            (prop_oneof![0u64..5000, 60_000u64..70_000, 0u64..3 << 30], 0u64..3, prop_oneof![1usize..20_000, 1usize..300_000])
                .prop_map(|(hole, seed, len)| Piece { hole, seed, len }),
            0..6,
        ),
        tail in prop_oneof![Just(0u64), 0u64..100_000, 0u64..9 << 30],
        label in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut world = World::new();
        let (mut at, mut written) = (0, Vec::new());
        for Piece { hole, seed, len } in pieces {
            at += hole;
            written.push((at, noise(seed, len)));
            at += len as u64;
        }
        world.files.write_sparse("/src/file", at + tail, &written);
        world.files.label("/src/file", "user.label", label);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let outcome = world.backup(SOURCE).await;
            prop_assert_eq!((outcome.problems.count, outcome.stats.bytes_source), (0, at + tail));
            // Once read, once taken over.
            for target in ["/out", "/again"] {
                let restored = world.restore(Some("/src"), target).await.unwrap();
                prop_assert_eq!(restored.problems.count, 0);
                prop_assert_eq!(world.files.seen("/src"), world.files.seen(target));
                prop_assert!(world.verify(true).await.is_sound());
                world.backup(SOURCE).await;
            }
            Ok(())
        })?;
    }
}
