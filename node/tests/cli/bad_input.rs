//! What people get wrong, and what breaks: each a clear error, and nothing is lost.

use protocol::token::Token;

use super::fleet::{Fleet, put};

#[test]
fn tokens_that_are_wrong_garbled_expired_or_spent_are_refused() {
    let fleet = Fleet::ready();
    let good = fleet.token(&[]);

    fleet.enroll("c", "").fails(1, "invalid", &["not a token"]);
    fleet.enroll("c", "hello").fails(1, "invalid", &["not a token"]);
    let mut garbled = good.clone();
    garbled.replace_range(40..41, if &good[40..41] == "a" { "b" } else { "a" });
    fleet.enroll("c", &garbled).fails(1, "invalid", &["garbled", "copy it again"]);
    fleet.enroll("c", &good[..good.len() - 8]).fails(1, "invalid", &["garbled"]);

    let real: Token = good.parse().unwrap();
    let unknown = Token::new([9; 32], real.root, real.keyset_floor, real.addresses.clone());
    fleet.enroll("c1", &unknown.to_text()).fails(1, "denied", &["does not know the token", "operator"]);

    let expired = fleet.token(&["--expires", "1ms"]);
    fleet.enroll("c2", &expired).fails(1, "denied", &["expired", "new one"]);

    let joined = fleet.enroll("c3", &good).well();
    // The same machine again is the same answer.
    assert_eq!(fleet.enroll("c3", &good).well()["client"], joined["client"]);
    fleet.enroll("c4", &good).fails(1, "denied", &["token"]);
    let clients = fleet.operator(&["client", "list"]).well();
    assert_eq!(clients["clients"].as_array().map(Vec::len), Some(1), "{clients}");
    // A machine that was refused may try again with a good one.
    fleet.enroll("c4", &fleet.token(&[])).well();
}

#[test]
fn a_second_init_changes_nothing() {
    let fleet = Fleet::waiting();
    let wrong = "00".repeat(32);
    fleet.init(&wrong).fails(1, "denied", &[&fleet.orchestrator.said[0], &fleet.orchestrator.said[1], &wrong]);
    // After an attempt that came to nothing, the same keys are used.
    fleet.init(&fleet.orchestrator.said[1]).well();
    let files = ["root.json", "admin.json", "cluster.json"]
        .map(|name| std::fs::read_to_string(fleet.path("home").join(name)).unwrap());
    fleet.init(&fleet.orchestrator.said[1]).fails(1, "invalid", &["holds the keys of the cluster", "--home"]);
    let after = ["root.json", "admin.json", "cluster.json"]
        .map(|name| std::fs::read_to_string(fleet.path("home").join(name)).unwrap());
    assert_eq!(files, after);
}

#[test]
fn storages_that_cannot_be_used_are_not_added() {
    let fleet = Fleet::waiting();
    fleet.init(&fleet.orchestrator.said[1]).well();
    fleet.add_storage("x", &["--endpoint", "http://10.0.0.1:9000"]).fails(1, "invalid", &["https"]);
    fleet.add_storage("x", &["--endpoint", "http://127.0.0.1:1"]).fails(
        1,
        "retry",
        &["127.0.0.1:1", "Nothing was added"],
    );
    put(&fleet.path("secret"), "another-key\n");
    fleet.add_storage("x", &[]).fails(1, "denied", &["refused", "Nothing was added"]);
    put(&fleet.path("secret"), "the-secret-key\n");
    assert_eq!(fleet.operator(&["storage", "list"]).well()["storages"], serde_json::json!([]));

    let added = fleet.add_storage("x", &[]).well();
    fleet.add_storage("x", &[]).fails(1, "invalid", &["already"]);
    fleet.add_storage("y", &[]).fails(1, "invalid", &["holds repository", "--adopt"]);
    let adopted = fleet.add_storage("x", &["--adopt"]).well();
    assert_eq!(adopted["repository"], added["repository"]);

    fleet.operator(&["domain", "create", "d", "--storage", "z"]).fails(1, "not_found", &["\"z\"", "storage list"]);
    fleet.operator(&["domain", "create", "d", "--storage", "x"]).well();
    fleet.operator(&["domain", "create", "d", "--storage", "x"]).fails(1, "invalid", &["already"]);
    fleet.operator(&["token", "create", "--domain", "e"]).fails(1, "not_found", &["\"e\"", "domain list"]);
}

#[test]
fn a_cluster_out_of_reach_is_said_to_be() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let Fleet { orchestrator, storage, dir } = fleet;
    let address = orchestrator.said[0].clone();
    drop(orchestrator);
    let mut command = super::fleet::nuthatch();
    let done = super::fleet::run(command.args(["snapshot", "list", "--json", "--data-dir"]).arg(dir.path().join("c")));
    done.fails(1, "retry", &[&address, "Check that the orchestrators"]);
    drop(storage);
}
