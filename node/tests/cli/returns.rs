//! An orchestrator whose data directory was put back to an earlier state does not vote.

use std::process::Command;

use serde_json::json;

use super::{
    cluster::Cluster,
    fleet::{nuthatch, put, run},
};

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Waits until all have applied what was decided: until then one that was stopped has
/// promised nothing that its copy does not hold.
fn in_step(cluster: &Cluster) {
    cluster.wait_status(|status| {
        let nodes = status["orchestrators"].as_array().unwrap();
        nodes.iter().all(|node| node["applied"].is_u64() && node["applied"] == nodes[0]["applied"])
    });
}

#[test]
fn a_restored_data_directory_is_not_voted_with() {
    let mut cluster = Cluster::of_three();
    let (one, aside) = (cluster.fleet.path("one"), cluster.fleet.path("aside"));
    // While it runs, as a careless backup would.
    cluster.stop("one");
    copy(&one, &aside);
    cluster.again("one");
    let token = cluster.fleet.token(&[]);
    cluster.fleet.enroll("c", &token).well();
    in_step(&cluster);

    cluster.stop("one");
    std::fs::remove_dir_all(&one).unwrap();
    copy(&aside, &one);
    cluster.again("one");
    let said = cluster.status_warning("one", "restored from an older copy");
    for word in ["--replace one", "orchestrator add", "node vouch"] {
        assert!(said.contains(word), "{word:?}: {said}");
    }
    // The others decide.
    put(&cluster.fleet.path("source/file"), "first\n");
    let source = cluster.fleet.path("source");
    cluster.fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();

    // A person's word does not help against what the others remember.
    cluster.stop("one");
    let config = cluster.fleet.path("one.toml");
    let vouch = || run(nuthatch().args(["node", "vouch", "--json", "--config"]).arg(&config));
    vouch().well();
    cluster.again("one");
    cluster.status_warning("one", "was put back to an earlier state");
    cluster.stop("one");
    vouch().fails(1, "denied", &["was put back to an earlier state", "empty data directory"]);

    // It joins as a new node in the place of the old, as its message says.
    std::fs::remove_dir_all(&one).unwrap();
    let named = cluster.start("one");
    let replaced = cluster.rooted(&["orchestrator", "add", &named, "--replace", "one", "--yes"]).well();
    assert_eq!((&replaced["replaced"], &replaced["voters"]), (&json!("one"), &json!(3)));
    let status = cluster.fleet.operator(&["cluster", "status"]).well();
    assert_eq!((&status["problems"], &status["warnings"]), (&json!([]), &json!([])));
    let snapshots = cluster.fleet.client("c", &["snapshot", "list"]).well();
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_data_directory_that_was_only_moved_is_vouched_for() {
    let mut cluster = Cluster::of_three();
    let (two, moved) = (cluster.fleet.path("two"), cluster.fleet.path("moved"));
    cluster.stop("two");
    copy(&two, &moved);
    std::fs::remove_dir_all(&two).unwrap();
    std::fs::rename(&moved, &two).unwrap();
    cluster.again("two");
    cluster.status_warning("two", "only moved");
    let config = cluster.fleet.path("two.toml");
    let vouch = || run(nuthatch().args(["node", "vouch", "--json", "--config"]).arg(&config));
    vouch().fails(1, "retry", &["another node runs"]);
    cluster.stop("two");
    vouch().well();
    cluster.again("two");
    cluster.wait_well();
    // And again, without a word.
    cluster.stop("two");
    cluster.again("two");
    cluster.wait_well();
}

#[test]
fn other_attributes_are_no_reason_to_stand_aside() {
    let mut cluster = Cluster::of_three();
    // As some systems do whenever they mount a volume: with all nodes at once.
    ["one", "two", "three"].iter().for_each(|name| cluster.stop(name));
    for name in ["one", "two", "three"] {
        let identity = cluster.fleet.path(name).join("identity");
        std::fs::set_permissions(&identity, std::fs::metadata(&identity).unwrap().permissions()).unwrap();
    }
    ["one", "two", "three"].iter().for_each(|name| drop(cluster.again(name)));
    cluster.wait_well();
    let token = cluster.fleet.token(&[]);
    cluster.fleet.enroll("c", &token).well();

    // One that was written over in place looks the same, and is found out by the others.
    let (two, aside) = (cluster.fleet.path("two"), cluster.fleet.path("aside"));
    cluster.stop("two");
    copy(&two, &aside);
    cluster.again("two");
    cluster.wait_well();
    cluster.fleet.token(&[]);
    cluster.fleet.enroll("d", &cluster.fleet.token(&[])).well();
    in_step(&cluster);
    cluster.stop("two");
    copy(&aside.join("."), &two);
    cluster.again("two");
    cluster.status_warning("two", "was put back to an earlier state");
}
