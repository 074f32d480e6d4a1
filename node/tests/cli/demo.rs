//! `nuthatch demo`.

use std::os::unix::fs::symlink;

use super::fleet::{Fleet, nuthatch, put, run};

#[test]
fn the_demo_of_a_small_tree_does_all_that_it_says_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (source, scratch) = (dir.path().join("source"), dir.path().join("scratch"));
    std::fs::create_dir(&scratch).unwrap();
    for number in 0..40 {
        put(&source.join(format!("d{}/file{number}", number % 4)), &"some text\n".repeat(number * 50));
    }
    std::fs::hard_link(source.join("d1/file1"), source.join("linked")).unwrap();
    symlink("nowhere", source.join("dangling")).unwrap();

    let done = run(nuthatch().args(["demo", "--json"]).arg(&source).env("TMPDIR", &scratch));
    let said = done.well();
    for verdict in ["ok", "identical", "orchestrator_killed", "token_reuse_refused"] {
        assert_eq!(said[verdict], true, "{verdict}: {done:?}");
    }
    for count in ["files", "bytes_read", "bytes_stored", "bytes_via_orchestrators", "failover_ms"] {
        assert!(said[count].as_u64().is_some_and(|count| count > 0), "{count}: {done:?}");
    }
    assert_eq!(said["differences"], 0);
    assert!(said["failover_ms"].as_u64().unwrap() < 5000, "{done:?}");
    assert!(std::fs::read_dir(&scratch).unwrap().next().is_none(), "the demo left files behind");
}

#[test]
fn the_demo_refuses_to_back_itself_up() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(nuthatch().args(["demo", "--json"]).arg(dir.path()).arg("--work-dir").arg(dir.path().join("work")));
    done.fails(2, "usage", &["lie in each other", "--work-dir"]);
    assert!(!dir.path().join("work").exists(), "the demo left its directory behind");
}

#[test]
fn the_demo_uses_an_s3_that_is_there_and_leaves_it_as_it_was() {
    let fleet = Fleet::waiting();
    let (source, scratch) = (fleet.path("source"), fleet.path("scratch"));
    std::fs::create_dir(&scratch).unwrap();
    put(&source.join("file"), &"some text\n".repeat(1000));
    let demo = |bucket: &str| {
        let mut command = nuthatch();
        command.args(["demo", "--json", "--s3", &fleet.storage.said[0], "--bucket", bucket]).arg(&source);
        command.arg("--access-key-file").arg(fleet.path("access"));
        command.arg("--secret-key-file").arg(fleet.path("secret"));
        run(command.env("TMPDIR", &scratch))
    };
    let said = demo("bucket").well();
    assert_eq!((&said["identical"], &said["orchestrator_killed"]), (&true.into(), &true.into()), "{said}");
    demo("no-such-bucket").fails(1, "denied", &["no-such-bucket", "NoSuchBucket", "Make that bucket"]);
    assert!(std::fs::read_dir(&scratch).unwrap().next().is_none(), "the demo left files behind");
    let mut left = vec![fleet.path("storage/objects/buckets/bucket")];
    while let Some(path) = left.pop() {
        assert!(path.is_dir(), "the demo left an object: {}", path.display());
        left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
    }
    let done = run(nuthatch().args(["demo", "--json", "--s3", "https://s3.example.org", "--bucket", "b"]));
    done.fails(2, "usage", &["credential", "--access-key-file"]);
}
