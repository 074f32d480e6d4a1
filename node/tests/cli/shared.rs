//! What clients share, and what is done about what the storage loses.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::fleet::{Done, Fleet, put};

/// Two clients of one domain.
fn two_clients(fleet: &Fleet) {
    let token = fleet.token(&["--uses", "2"]);
    fleet.enroll("a", &token).well();
    fleet.enroll("b", &token).well();
}

/// Files that do not compress, `mebibytes` in all.
fn plant(root: &Path, mebibytes: u64, seed: u64) {
    fs::create_dir_all(root).unwrap();
    for number in 0..4 {
        let mut bytes = vec![0; (mebibytes << 20) as usize / 4];
        blake3::Hasher::new().update(&[seed as u8, number]).finalize_xof().fill(&mut bytes);
        fs::File::create(root.join(format!("f{number}"))).unwrap().write_all(&bytes).unwrap();
    }
}

/// Asks for the cluster's status until it says so.
fn until(fleet: &Fleet, what: &str, is: impl Fn(&serde_json::Value) -> bool) {
    let all_say = || {
        let status = fleet.operator(&["cluster", "status"]).json();
        status["orchestrators"].as_array().is_some_and(|nodes| nodes.iter().all(&is))
    };
    assert!((0..400).any(|_| all_say()), "{what} did not come about");
}

fn published(fleet: &Fleet) {
    until(fleet, "publishing", |node| node["segments_waiting"] == 0);
}

fn objects(fleet: &Fleet, kind: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![fleet.path("storage/objects")];
    while let Some(path) = waiting.pop() {
        match fs::read_dir(&path) {
            Ok(entries) => waiting.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => found.push(path),
        }
    }
    found.retain(|path| path.to_string_lossy().contains(kind));
    found.sort();
    found
}

fn number(done: &serde_json::Value, field: &str) -> u64 {
    done[field].as_u64().unwrap_or_else(|| panic!("no {field} in {done}"))
}

fn restored(fleet: &Fleet, client: &str, source: &Path, target: &str) {
    let target = fleet.path(target);
    fleet.client(client, &["restore", "latest", target.to_str().unwrap()]).well();
    let below = target.join(source.strip_prefix("/").unwrap());
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::read(&path).unwrap(), fs::read(below.join(path.file_name().unwrap())).unwrap(), "{path:?}");
    }
}

#[test]
fn a_second_client_stores_nearly_nothing_of_what_the_first_has() {
    let fleet = Fleet::ready();
    two_clients(&fleet);
    let source = fleet.path("source");
    plant(&source, 64, 1);
    let path = source.to_str().unwrap();
    let first = fleet.client("a", &["snapshot", "create", path]).well();
    assert!(number(&first, "bytes_stored") > 64 << 20, "{first}");
    published(&fleet);
    let second = fleet.client("b", &["snapshot", "create", path]).well();
    let (stored, all) = (number(&second, "bytes_stored"), number(&first, "bytes_stored"));
    assert!(stored < all / 100, "{stored} bytes of {all}: {second}");
    restored(&fleet, "b", &source, "target");
    // A file of its own comes to it, and the first has it next.
    plant(&fleet.path("other"), 8, 2);
    let other = fleet.path("other");
    fleet.client("b", &["snapshot", "create", other.to_str().unwrap()]).well();
    published(&fleet);
    let third = fleet.client("a", &["snapshot", "create", other.to_str().unwrap()]).well();
    assert!(number(&third, "bytes_stored") < 1 << 20, "{third}");
    let verified = fleet.client("a", &["verify", "--read-data"]).well();
    assert_eq!(verified["damages"], 0);
}

#[test]
fn strangers_share_what_was_looked_at_and_keep_small_files_to_themselves() {
    let fleet = Fleet::waiting();
    fleet.init(&fleet.orchestrator.said[1]).well();
    fleet.add_storage("main", &[]).well();
    fleet.operator(&["domain", "create", "laptops", "--storage", "main", "--strangers"]).well();
    let token = fleet.token(&["--uses", "3"]);
    ["a", "b", "c"].iter().for_each(|name| _ = fleet.enroll(name, &token).well());
    let source = fleet.path("source");
    plant(&source, 8, 1);
    put(&source.join("small"), &"a short file ".repeat(1000));
    let path = source.to_str().unwrap();
    let create = |name| fleet.client(name, &["snapshot", "create", path]).well();
    let first = create("a");
    published(&fleet);
    // Nothing is shared before a second member has it as well.
    let second = create("b");
    assert!(number(&second, "bytes_stored") > 8 << 20, "{second}");
    published(&fleet);
    let third = create("c");
    let stored = number(&third, "bytes_stored");
    assert!(stored < number(&first, "bytes_stored") / 50, "{stored}: {third}");
    // The small file is its own, and was sealed and stored again.
    assert!(number(&third, "chunks_new") > 0, "{third}");
    restored(&fleet, "c", &source, "target");
}

#[test]
fn what_the_storage_loses_is_found_told_and_stored_again() {
    let fleet = Fleet::ready();
    two_clients(&fleet);
    let source = fleet.path("source");
    plant(&source, 20, 3);
    let path = source.to_str().unwrap();
    // So old that the next backup takes them over unopened.
    for entry in fs::read_dir(&source).unwrap() {
        let file = fs::File::options().append(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    fleet.client("a", &["snapshot", "create", path]).well();
    let create = || fleet.client("a", &["snapshot", "create", path]).well();
    // Until nothing is younger than two seconds, files are read again.
    let unchanged = (0..200).map(|_| create()).find(|done| number(done, "files_unchanged") == 4);
    assert_eq!(number(&unchanged.expect("unchanged files are taken over"), "bytes_read"), 0);
    published(&fleet);

    let packs = objects(&fleet, "/pack/");
    let largest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::remove_file(largest).unwrap();
    let damaged: Done = fleet.client("a", &["verify"]);
    assert_eq!(damaged.code, 1, "{damaged:?}");
    until(&fleet, "condemning", |node| node["objects_condemned"] == 1);
    let health = fleet.operator(&["cluster", "status"]);
    assert!(health.stdout.contains("lost or damaged"), "{health:?}");

    let mended = create();
    assert!(number(&mended, "bytes_stored") > 4 << 20, "what was lost is stored again: {mended}");
    assert!(number(&mended, "files_unchanged") < 4, "{mended}");
    let snapshot = mended["snapshot"].as_str().unwrap();
    fleet.client("a", &["verify", snapshot, "--read-data"]).well();
    restored(&fleet, "a", &source, "target");
    // From then on it is as before.
    published(&fleet);
    let after = create();
    assert!(number(&after, "bytes_stored") < 1 << 20, "{after}");
    // The other client did not have it, and does not rely upon what is lost.
    let other = fleet.client("b", &["snapshot", "create", path]).well();
    assert!(number(&other, "bytes_stored") < 1 << 20, "{other}");
    restored(&fleet, "b", &source, "target-b");
}

#[test]
fn lost_index_segments_are_made_again() {
    let fleet = Fleet::ready();
    two_clients(&fleet);
    let source = fleet.path("source");
    plant(&source, 8, 4);
    let path = source.to_str().unwrap();
    fleet.client("a", &["snapshot", "create", path]).well();
    published(&fleet);
    // The published one goes, the client's own is still there.
    let segments = objects(&fleet, "/index/");
    assert_eq!(segments.len(), 2);
    fs::remove_file(&segments[1]).unwrap();
    let verified = fleet.client("a", &["verify", "--read-data"]);
    assert!(verified.stdout.contains("/index/"), "it is named: {verified:?}");
    until(&fleet, "condemning", |node| node["objects_condemned"] == 1);
    published(&fleet);
    let other = fleet.client("b", &["snapshot", "create", path]).well();
    assert!(number(&other, "bytes_stored") < 1 << 20, "{other}");
    fleet.client("a", &["verify", "--read-data"]).well();
}
