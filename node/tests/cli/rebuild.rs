//! All orchestrators are lost, and the cluster begins again from what is in the storage.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    cluster::Cluster,
    fleet::{Done, nuthatch, put, run},
};

const NAMES: [&str; 3] = ["one", "two", "three"];
/// Lines of a file that never changes, of which each has more than six bytes.
const KEPT_LINES: u64 = 100_000;

/// A cluster with a client that has a snapshot, and the snapshot.
fn at_work() -> (Cluster, Value) {
    let cluster = Cluster::of_three();
    let token = cluster.fleet.token(&[]);
    cluster.fleet.enroll("c", &token).well();
    put(&cluster.fleet.path("source/kept"), &(0..KEPT_LINES).map(|line| format!("line {line}\n")).collect::<String>());
    put(&cluster.fleet.path("source/file"), "first\n");
    let first = back_up(&cluster, "c");
    (cluster, first)
}

fn back_up(cluster: &Cluster, client: &str) -> Value {
    let source = cluster.fleet.path("source");
    cluster.fleet.client(client, &["snapshot", "create", source.to_str().unwrap()]).well()
}

fn command(cluster: &Cluster, named: &[String], more: &[&str]) -> Command {
    from_storage(cluster, "fleet", named, more)
}

/// The command, with the storage of a prefix to begin from.
fn from_storage(cluster: &Cluster, prefix: &str, named: &[String], more: &[&str]) -> Command {
    let at = |name: &str| cluster.fleet.path(name);
    let mut command = nuthatch();
    command.args(["cluster", "rebuild", "--json", "--bucket", "bucket", "--prefix", prefix]);
    command.args(["--endpoint", &cluster.fleet.storage.said[0]]);
    command.arg("--access-key-file").arg(at("access")).arg("--secret-key-file").arg(at("secret"));
    command.arg("--passphrase-file").arg(at("passphrase")).arg("--home").arg(at("home"));
    named.iter().for_each(|name| _ = command.args(["--orchestrator", name]));
    command.args(more);
    command
}

fn rebuild(cluster: &Cluster, named: &[String], more: &[&str]) -> Done {
    run(&mut command(cluster, named, more))
}

fn restore(cluster: &Cluster, snapshot: &Value, target: &str) -> String {
    let target = cluster.fleet.path(target);
    let id = snapshot["snapshot"].as_str().unwrap();
    cluster.fleet.client("c", &["restore", id, target.to_str().unwrap()]).well();
    let source = cluster.fleet.path("source/file");
    std::fs::read_to_string(target.join(source.strip_prefix("/").unwrap())).unwrap()
}

#[test]
fn a_cluster_begins_again_when_all_its_orchestrators_are_lost() {
    let (mut cluster, first) = at_work();
    let unused = cluster.fleet.token(&["--name", "unused"]);
    cluster.wait_status(|status| status["backup"]["clients"] == 1);
    // Later than the backup, which does not hurry for what the storage holds anyway.
    put(&cluster.fleet.path("source/file"), "second\n");
    let second = back_up(&cluster, "c");

    let at_work = rebuild(&cluster, &["x=127.0.0.1:1".into()], &["--yes"]);
    at_work.fails(1, "invalid", &["is at work", "not lost", "--replace"]);
    NAMES.iter().for_each(|name| cluster.lose(name));
    let named: Vec<String> = NAMES.iter().map(|name| cluster.again(name)).collect();

    let shown = rebuild(&cluster, &named, &[]).well();
    assert_eq!((&shown["acted"], &shown["clients"], &shown["incarnation"]), (&json!(false), &json!(1), &json!(2)));
    let rebuilt = rebuild(&cluster, &named, &["--yes"]).well();
    assert_eq!((&rebuilt["acted"], &rebuilt["voters"], &rebuilt["keyset"]), (&json!(true), &json!(3), &json!(2)));
    assert_eq!((&rebuilt["clients"], &rebuilt["snapshots"]), (&json!(1), &json!(2)));
    cluster.wait_well();

    // The client goes on as if nothing had been.
    put(&cluster.fleet.path("source/file"), "third\n");
    let third = back_up(&cluster, "c");
    let new = |backup: &Value| backup["bytes_new"].as_u64().unwrap();
    assert!(new(&first) > 6 * KEPT_LINES && new(&third) < KEPT_LINES, "{third}");
    let listed = cluster.fleet.client("c", &["snapshot", "list"]).well();
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(3), "{listed}");
    assert_eq!(restore(&cluster, &first, "then"), "first\n");
    assert_eq!(restore(&cluster, &second, "later"), "second\n");
    let verified = cluster.fleet.client("c", &["verify", "--read-data"]).well();
    assert_eq!(verified["ok"], true);

    // Tokens of the old life are void, and new ones good.
    cluster.fleet.enroll("d", &unused).fails(1, "denied", &["does not know the token"]);
    cluster.fleet.enroll("e", &cluster.fleet.token(&[])).well();
    back_up(&cluster, "e");
    // And the new life is backed up in its turn.
    let status = cluster.wait_status(|status| status["backup"]["clients"] == 2);
    assert_eq!(status["orchestrators"][0]["incarnation"], 2, "{status}");
}

/// The heads of the ledger's backups, the oldest first.
fn heads(cluster: &Cluster) -> Vec<PathBuf> {
    let root = cluster.fleet.path("storage/objects");
    let mut found: Vec<PathBuf> = files_below(&root).into_iter().filter(|path| is_in(path, "cluster/ledger")).collect();
    found.sort();
    found
}

fn is_in(path: &Path, place: &str) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with(place))
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Writes over an object: storages lose and damage what they hold.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_backups_are_told_and_the_one_before_is_used() {
    let (mut cluster, _) = at_work();
    cluster.wait_status(|status| status["backup"]["clients"] == 1);
    cluster.fleet.enroll("d", &cluster.fleet.token(&[])).well();
    cluster.wait_status(|status| status["backup"]["clients"] == 2);
    // What happens at the same time is in one backup.
    while heads(&cluster).len() < 3 {
        let before = heads(&cluster).len();
        cluster.fleet.token(&[]);
        cluster.wait_status(|_| heads(&cluster).len() > before);
    }
    NAMES.iter().for_each(|name| cluster.lose(name));
    let named: Vec<String> = NAMES.iter().map(|name| cluster.again(name)).collect();
    let all = heads(&cluster);
    let says = |shown: &Value, count: usize, words: &[&str]| {
        assert_eq!(shown["skipped"].as_array().map(Vec::len), Some(count), "{shown}");
        words.iter().for_each(|word| assert!(shown["skipped"].to_string().contains(word), "{word:?}: {shown}"));
    };
    let shown = rebuild(&cluster, &named, &[]).well();
    assert_eq!((&shown["clients"], &shown["skipped"]), (&json!(2), &json!([])), "{shown}");

    // The newest is cut short, and one byte of the one before it is another.
    let name =
        |place: usize| all[all.len() - place].file_name().unwrap().to_str().unwrap().trim_end_matches('=').to_owned();
    damage(&all[all.len() - 1], |bytes| bytes.truncate(bytes.len() / 2));
    says(&rebuild(&cluster, &named, &[]).well(), 1, &["cluster/ledger", &name(1)]);
    damage(&all[all.len() - 2], |bytes| bytes[40] ^= 1);
    let shown = rebuild(&cluster, &named, &[]);
    says(&shown.well(), 2, &[&name(1), &name(2)]);

    // With another passphrase nothing is looked at.
    put(&cluster.fleet.path("passphrase"), "wrong\n");
    rebuild(&cluster, &named, &["--yes"]).fails(1, "denied", &["passphrase"]);
    put(&cluster.fleet.path("passphrase"), "correct horse battery staple\n");

    // None is left: what is there is named, and nothing is done.
    let parts = files_below(&cluster.fleet.path("storage/objects")).into_iter();
    parts.filter(|path| is_in(path, "cluster/part")).for_each(|path| damage(&path, |bytes| bytes[40] ^= 1));
    rebuild(&cluster, &named, &["--yes"]).fails(1, "not_found", &["no backup", "can be read", &name(1)]);
    // A storage that is not there now is no reason to begin with less.
    let fleet = &cluster.fleet;
    fleet.storage.signal(Signal::KILL);
    rebuild(&cluster, &named, &["--yes"]).fails(1, "retry", &[]);
}

#[test]
fn a_rebuild_that_is_killed_goes_on_when_it_is_run_again() {
    let (mut cluster, first) = at_work();
    cluster.wait_status(|status| status["backup"]["clients"] == 1);
    put(&cluster.fleet.path("source/file"), "second\n");
    back_up(&cluster, "c");
    NAMES.iter().for_each(|name| cluster.lose(name));
    let named: Vec<String> = NAMES.iter().map(|name| cluster.again(name)).collect();
    // Killed as soon as the first of them is adopted, and that one dies as well.
    let mut child = command(&cluster, &named, &["--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !cluster.fleet.path("one").join("cluster").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "the command ended before it had adopted anyone");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    cluster.restart("one");
    let again = rebuild(&cluster, &named, &["--yes"]);
    if again.code == 0 {
        let rebuilt = again.well();
        assert_eq!((&rebuilt["clients"], &rebuilt["snapshots"]), (&json!(1), &json!(2)), "{rebuilt}");
    } else {
        // On a machine that was very busy the kill came after the work.
        again.fails(1, "invalid", &["is at work"]);
    }
    cluster.wait_well();
    assert_eq!(restore(&cluster, &first, "then"), "first\n");
    back_up(&cluster, "c");
    // Once more is once too often.
    rebuild(&cluster, &named, &["--yes"]).fails(1, "invalid", &["is at work", "not lost"]);
}

/// Each storage has the whole ledger, and any of them is enough to begin from: what the
/// others need is in it.
#[test]
fn a_cluster_of_several_storages_begins_again_from_any_of_them() {
    let (mut cluster, _) = at_work();
    let at = |name: &str| cluster.fleet.path(name).to_str().unwrap().to_owned();
    let (access, secret) = (at("access"), at("secret"));
    let mut add = vec!["storage", "add", "second", "--bucket", "bucket", "--prefix", "other"];
    add.extend(["--access-key-file", &access, "--secret-key-file", &secret]);
    add.extend(["--endpoint", &cluster.fleet.storage.said[0]]);
    cluster.fleet.operator(&add).well();
    cluster.fleet.operator(&["domain", "create", "servers", "--storage", "second"]).well();
    let made = cluster.fleet.operator(&["token", "create", "--domain", "servers"]).well();
    cluster.fleet.enroll("s", made["token"].as_str().unwrap()).well();
    cluster.wait_status(|status| status["backup"]["clients"] == 2);
    // Later than the backup, in the storage that the command is not told of.
    let late = back_up(&cluster, "s");
    NAMES.iter().for_each(|name| cluster.lose(name));
    let named: Vec<String> = NAMES.iter().map(|name| cluster.again(name)).collect();
    for prefix in ["fleet", "other"] {
        let shown = run(&mut from_storage(&cluster, prefix, &named, &[])).well();
        assert_eq!((&shown["clients"], &shown["snapshots"]), (&json!(2), &json!(2)), "{prefix}: {shown}");
    }
    run(&mut from_storage(&cluster, "other", &named, &["--yes"])).well();
    cluster.wait_well();
    for client in ["c", "s"] {
        back_up(&cluster, client);
        let listed = cluster.fleet.client(client, &["snapshot", "list"]).well();
        assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(2), "{client}: {listed}");
        assert_eq!(cluster.fleet.client(client, &["verify", "--read-data"]).well()["ok"], true);
    }
    let listed = cluster.fleet.client("s", &["snapshot", "list"]).well();
    assert!(listed.to_string().contains(late["snapshot"].as_str().unwrap()), "{listed}");
}
