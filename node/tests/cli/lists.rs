//! What an operator sees of tokens and clients, and how both are ended.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};

use super::fleet::{Fleet, Node, put, run};

fn find<'a>(list: &'a Value, name: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("no {name}: {list}"))
}

#[test]
fn tokens_are_listed_with_what_became_of_them_and_can_be_ended() {
    let fleet = Fleet::ready();
    let twice = fleet.token(&["--name", "twice", "--uses", "2"]);
    let other = fleet.token(&["--name", "other's"]);
    fleet.token(&["--name", "gone", "--expires", "1ms"]);
    fleet.enroll("a", &twice).well();
    fleet.enroll("b", &twice).well();
    fleet.enroll("c", &twice).fails(1, "denied", &["spent"]);

    let tokens = fleet.operator(&["token", "list"]).well()["tokens"].clone();
    let spent = find(&tokens, "twice");
    assert_eq!((&spent["state"], &spent["used"], &spent["left"]), (&json!("spent"), &json!(2), &json!(0)));
    assert_eq!((&spent["refused"], &spent["refused_last_name"]), (&json!(1), &json!("c")));
    assert_eq!((&find(&tokens, "other's")["state"], &find(&tokens, "other's")["left"]), (&json!("good"), &json!(1)));
    assert_eq!(find(&tokens, "gone")["state"], "expired");
    let status = fleet.operator(&["cluster", "status"]).well();
    assert!(status["warnings"][0].as_str().unwrap().contains("may have been stolen"), "{status}");

    let id = find(&tokens, "other's")["id"].as_str().unwrap().to_owned();
    assert_eq!(fleet.operator(&["token", "revoke", &id[..8]]).well()["acted"], false);
    assert_eq!(fleet.operator(&["token", "revoke", "other's", "--yes"]).well()["acted"], true);
    fleet.enroll("d", &other).fails(1, "denied", &["revoked", "new one"]);
    fleet.operator(&["token", "revoke", &id, "--yes"]).fails(1, "invalid", &["revoked already"]);
    fleet.operator(&["token", "revoke", "nothing", "--yes"]).fails(1, "not_found", &["nothing", "token list"]);
    // Who has joined stays, and a stolen token that was ended is no news any more.
    assert_eq!(fleet.operator(&["token", "revoke", "twice", "--yes"]).well()["acted"], true);
    fleet.client("a", &["snapshot", "list"]).well();
    assert_eq!(fleet.operator(&["cluster", "status"]).well()["warnings"], json!([]));
}

#[test]
fn a_revoked_client_is_cut_off_and_hears_why() {
    let fleet = Fleet::ready();
    for name in ["keeps", "lost"] {
        fleet.enroll(name, &fleet.token(&[])).well();
    }
    put(&fleet.path("source/file"), "content\n");
    let source = fleet.path("source");
    fleet.client("lost", &["snapshot", "create", source.to_str().unwrap()]).well();
    let shown = fleet.operator(&["client", "show", "lost"]).well();
    assert_eq!((&shown["snapshots"], &shown["domain_name"]), (&json!(1), &json!("laptops")), "{shown}");
    assert_eq!(shown["snapshot_list"][0]["complete"], true, "{shown}");

    // A resident client has an open connection.
    let config = fleet.path("lost.toml");
    put(&config, &format!("data_dir = {:?}\nroles = [\"client\"]\n[client]\nrefresh = \"1s\"\n", fleet.path("lost")));
    let resident = Node::start(&config, &["client "]);
    while !fleet.operator(&["client", "show", "lost"]).well()["connected"].as_bool().unwrap() {}

    assert_eq!(fleet.operator(&["client", "revoke", "lost"]).well()["acted"], false);
    assert_eq!(fleet.operator(&["client", "show", "lost"]).well()["revoked"], false);
    let revoked = fleet.operator(&["client", "revoke", &resident.said[0][..10], "--yes", "--reason", "lost"]).well();
    assert_eq!((&revoked["acted"], &revoked["name"]), (&json!(true), &json!("lost")));
    while fleet.operator(&["client", "show", "lost"]).well()["connected"].as_bool().unwrap() {}
    fleet.client("lost", &["snapshot", "list"]).fails(1, "denied", &["was revoked", "new token"]);
    fleet.client("lost", &["restore", "latest", "/tmp/never"]).fails(1, "denied", &["was revoked"]);
    fleet.client("keeps", &["snapshot", "create", source.to_str().unwrap()]).well();

    fleet.operator(&["client", "revoke", "lost", "--yes"]).fails(1, "invalid", &["revoked already"]);
    fleet.operator(&["client", "revoke", "nobody", "--yes"]).fails(1, "not_found", &["nobody", "client list"]);
    let clients = fleet.operator(&["client", "list"]).well()["clients"].clone();
    assert_eq!((&find(&clients, "lost")["revoked"], &find(&clients, "lost")["snapshots"]), (&json!(true), &json!(1)));
    // The machine may come back as a new client of the same name, which is then the one meant.
    std::fs::remove_dir_all(fleet.path("lost")).unwrap();
    fleet.enroll("lost", &fleet.token(&[])).well();
    assert_eq!(fleet.operator(&["client", "show", "lost"]).well()["revoked"], false);
}

#[test]
fn names_cannot_act_on_a_terminal_and_hints_can_be_copied() {
    let fleet = Fleet::ready();
    let made = run(super::fleet::nuthatch()
        .args(["domain", "create", "it's mine", "--storage", "main", "--home"])
        .arg(fleet.path("home")));
    assert!(made.stdout.contains(r"token create --domain 'it'\''s mine'"), "{made:?}");
    let mut token = fleet.client_command("c", &["enroll", "--json", "--name", "\u{202e}evil"]);
    let path = fleet.path("token");
    put(&path, &fleet.token(&[]));
    let done = run(token.arg("--token-file").arg(&path));
    done.well();
    assert!(done.stderr.contains("others on this machine may read it: chmod 600"), "{done:?}");
    let listed = run(super::fleet::nuthatch().args(["client", "list", "--home"]).arg(fleet.path("home")));
    assert!(listed.stdout.contains("\\u{202e}evil") && !listed.stdout.contains('\u{202e}'), "{listed:?}");
}

#[test]
fn who_waits_is_told_what_for() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let Fleet { orchestrator, storage, dir } = fleet;
    let address = orchestrator.said[0].clone();
    drop(orchestrator);
    let mut child = super::fleet::nuthatch()
        .args(["snapshot", "list", "--data-dir"])
        .arg(dir.path().join("c"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("none of 1 orchestrators can be reached yet; trying for another"), "{first}");
    let last = lines.map(Result::unwrap).find(|line| line.starts_with("nuthatch: ")).unwrap();
    assert!(last.contains("cannot be reached") && last.contains(&address), "{last}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    drop(storage);
}
