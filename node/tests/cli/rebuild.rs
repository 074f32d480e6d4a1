//! All orchestrators are lost, and the cluster begins again from what is in the storage.

use serde_json::{Value, json};

use super::{
    cluster::Cluster,
    fleet::{Done, put},
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

fn rebuild(cluster: &Cluster, named: &[String], more: &[&str]) -> Done {
    let (access, secret) = (cluster.fleet.path("access"), cluster.fleet.path("secret"));
    let mut args = vec!["cluster", "rebuild", "--bucket", "bucket", "--prefix", "fleet"];
    args.extend(["--endpoint", &cluster.fleet.storage.said[0]]);
    args.extend(["--access-key-file", access.to_str().unwrap(), "--secret-key-file", secret.to_str().unwrap()]);
    named.iter().for_each(|name| args.extend(["--orchestrator", name]));
    args.extend(more);
    cluster.rooted(&args)
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
