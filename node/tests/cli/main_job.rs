//! Back up, look, restore, verify: one command at a time.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};

use super::fleet::{Fleet, put};

#[test]
fn what_is_backed_up_comes_back_and_stays_secret() {
    let fleet = Fleet::ready();
    let token = fleet.path("token");
    fleet.operator(&["token", "create", "--domain", "laptops", "--output", token.to_str().unwrap()]).well();
    assert_eq!(fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
    fleet.client("c", &["enroll", "--token-file", token.to_str().unwrap(), "--name", "laptop"]).well();

    let (name, words) = ("a-name-that-nobody-may-see", "words that nobody may see, again and again; ");
    let source = fleet.path("source");
    put(&source.join(name), &words.repeat(1000));
    put(&source.join("below/other"), "other\n");
    let path = source.to_str().unwrap();
    let first = fleet.client("c", &["snapshot", "create", path, "--description", "first", "--tag", "t"]).well();
    assert_eq!((&first["files"], &first["problems"]), (&2.into(), &0.into()), "{first}");

    put(&source.join("below/third"), "third\n");
    // One of the paths does not exist: the rest is backed up, and that is said.
    let second = fleet.client("c", &["snapshot", "create", path, "/nonexistent"]);
    assert_eq!((second.code, &second.json()["problem_list"][0]["path"]), (3, &"/nonexistent".into()), "{second:?}");

    let list = fleet.client("c", &["snapshot", "list"]).well();
    let ids: Vec<&str> = list["snapshots"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [first["snapshot"].as_str().unwrap(), second.json()["snapshot"].as_str().unwrap()]);
    let shown = fleet.client("c", &["snapshot", "show", &ids[0][..10]]).well();
    assert_eq!((&shown["description"], &shown["tags"][0], &shown["files"]), (&"first".into(), &"t".into(), &2.into()));
    let listed = fleet.client("c", &["snapshot", "ls", "latest", path, "--recursive"]);
    assert!(listed.stdout.contains("below/third") && listed.stdout.contains(name), "{listed:?}");

    let target = fleet.path("target");
    fleet.client("c", &["restore", "latest", target.to_str().unwrap()]).well();
    let restored = target.join(source.strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(restored.join(name)).unwrap(), words.repeat(1000));
    assert_eq!(fs::read_to_string(restored.join("below/third")).unwrap(), "third\n");

    fleet.client("c", &["restore", "latest", target.to_str().unwrap()]).fails(1, "invalid", &["not empty"]);
    let one = format!("{}:{path}/below", &ids[0][..12]);
    fleet.client("c", &["restore", &one, fleet.path("one").to_str().unwrap()]).well();
    assert_eq!(fs::read_dir(fleet.path("one")).unwrap().count(), 1);
    fs::remove_file(restored.join("below/other")).unwrap();
    fleet.client("c", &["restore", "latest", target.to_str().unwrap(), "--overwrite", "if-changed"]).well();
    assert!(restored.join("below/other").exists());

    for (wanted, words) in [("0000000000", "snapshot list"), ("xyz", "snapshot list")] {
        fleet.client("c", &["restore", wanted, "/tmp/never"]).fails(1, "not_found", &[wanted, words]);
    }
    let absent = format!("latest:{path}/absent");
    fleet.client("c", &["restore", &absent, fleet.path("never").to_str().unwrap()]).fails(1, "not_found", &["absent"]);

    let verified = fleet.client("c", &["verify", "--read-data"]).well();
    assert_eq!((&verified["snapshots"], &verified["damages"]), (&2.into(), &0.into()));

    for dir in ["storage", "orchestrator"] {
        assert!(!any_file_has(&fleet.path(dir), &[name, words]), "{dir} holds something in the clear");
    }
    // Without the object that holds the most, that is noticed and named.
    let largest = files_below(&fleet.path("storage/objects"))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/pack/"));
    fs::remove_file(largest.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()).unwrap();
    let damaged = fleet.client("c", &["verify", "--read-data"]);
    assert_eq!((damaged.code, &damaged.json()["ok"]), (1, &false.into()), "{damaged:?}");
}

#[test]
fn a_backup_that_is_interrupted_says_so_and_the_next_one_works() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    put(&source.join("small"), "small\n");
    // Long to read, and nothing on disk.
    fs::File::create(source.join("huge")).unwrap().set_len(64 << 30).unwrap();
    let mut command = fleet.client_command("c", &["snapshot", "create", source.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("backing up") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the backup ended at once");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(rest.contains("the backup was stopped") && rest.contains("Run it again"), "{rest}");

    fs::remove_file(source.join("huge")).unwrap();
    fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
    assert_eq!(fleet.client("c", &["snapshot", "list"]).well()["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn nodes_stop_cleanly_and_a_resident_client_is_seen() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let config = fleet.path("client.toml");
    put(&config, &format!("data_dir = {:?}\nroles = [\"client\"]\n", fleet.path("c")));
    let resident = super::fleet::Node::start(&config, &["client "]);
    let status = fleet.operator(&["cluster", "status"]).well();
    assert_eq!(status["orchestrators"][0]["reachable"], true, "{status}");
    let clients = fleet.operator(&["client", "list"]).well();
    assert_eq!(clients["clients"][0]["client"].as_str().unwrap(), resident.said[0]);
    // Another node in the same directory is refused.
    let second = super::fleet::run(super::fleet::nuthatch().args(["node", "run", "--json", "--config"]).arg(&config));
    second.fails(1, "retry", &["another node"]);
    let Fleet { orchestrator, storage, dir } = fleet;
    for node in [resident, orchestrator, storage] {
        node.signal(Signal::TERM);
        assert_eq!(node.wait(), Some(0));
    }
    drop(dir);
}

pub fn files_below(path: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

fn any_file_has(path: &Path, words: &[&str]) -> bool {
    files_below(path).iter().any(|path| {
        let mut bytes = Vec::new();
        fs::OpenOptions::new().read(true).open(path).unwrap().read_to_end(&mut bytes).unwrap();
        words.iter().any(|word| bytes.windows(word.len()).any(|window| window == word.as_bytes()))
    })
}
