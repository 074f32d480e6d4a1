//! Admins come and go, and what they decided stays.

use serde_json::{Value, json};

use super::fleet::{Done, Fleet, nuthatch, put, run};

/// A command of another admin.
fn as_bob(fleet: &Fleet, args: &[&str]) -> Done {
    run(nuthatch().args(args).arg("--json").arg("--home").arg(fleet.path("bob")))
}

#[test]
fn an_admin_leaves_and_what_it_signed_stays() {
    let fleet = Fleet::ready();
    let passphrase = fleet.path("passphrase");
    let rooted = |args: &[&str]| fleet.operator(&[args, &["--passphrase-file", passphrase.to_str().unwrap()]].concat());
    let listed = fleet.operator(&["admin", "list"]).well();
    assert_eq!(listed["admins"][0]["me"], true, "{listed}");
    let root = listed["root"].as_str().unwrap();
    let create = ["admin", "create", "bob", "--root", root, "--orchestrator", &fleet.orchestrator.said[0]];
    let made = as_bob(&fleet, &create).well();
    let key = made["key"].as_str().unwrap();
    as_bob(&fleet, &create).fails(1, "invalid", &["holds the keys"]);
    as_bob(&fleet, &["cluster", "status"]).fails(1, "denied", &["not known"]);
    let added = rooted(&["admin", "add", "bob", key]).well();
    assert_eq!((&added["name"], &added["keyset"]), (&json!("bob"), &json!(2)));
    assert_eq!(rooted(&["admin", "add", "bob", key]).well()["keyset"], 2);

    // Bob makes a domain, and revokes a client.
    let token = fleet.token(&["--uses", "2"]);
    fleet.enroll("a", &token).well();
    fleet.enroll("b", &token).well();
    as_bob(&fleet, &["domain", "create", "bobs", "--storage", "main"]).well();
    let bobs = as_bob(&fleet, &["token", "create", "--domain", "bobs"]).well();
    as_bob(&fleet, &["client", "revoke", "b", "--yes"]).well();
    fleet.enroll("c", bobs["token"].as_str().unwrap()).well();
    let without_root = ["admin", "remove", "bob", "--yes", "--passphrase-file", passphrase.to_str().unwrap()];
    as_bob(&fleet, &without_root).fails(1, "not_found", &["root key"]);

    let shown = rooted(&["admin", "remove", "bob"]).well();
    assert_eq!(shown["acted"], false, "{shown}");
    let removed = rooted(&["admin", "remove", "bob", "--yes"]).well();
    // The domain, its index key, the token and the revocation.
    assert_eq!((&removed["keyset"], &removed["signed_again"]), (&json!(3), &json!(4)), "{removed}");
    rooted(&["admin", "remove", "bob", "--yes"]).fails(1, "not_found", &["bob"]);
    as_bob(&fleet, &["client", "revoke", "a", "--yes"]).fails(1, "denied", &[]);

    // What bob decided is in force.
    put(&fleet.path("source/file"), "content\n");
    let source = fleet.path("source");
    let create = ["snapshot", "create", source.to_str().unwrap()];
    fleet.client("a", &create).well();
    fleet.client("b", &create).fails(1, "denied", &["revoked"]);
    fleet.client("c", &create).well();
    // All of it is in the audit trail, with what was replaced since, and who did it.
    let said = |entry: &Value| [&entry["who"], &entry["act"]].map(|part| part.as_str().unwrap().to_owned()).join(" ");
    let trail = || fleet.operator(&["audit"]).well()["entries"].as_array().unwrap().clone();
    let has = |wanted: &str| (0..100).any(|_| trail().iter().any(|entry| said(entry) == wanted));
    for act in ["domain made", "index key given", "token made", "client revoked"] {
        assert!(has(&format!("bob {act}")), "{act}: {:?}", trail());
    }
    let entries = trail();
    assert!(entries.iter().all(|entry| entry["verified"].is_null() || entry["verified"] == true), "{entries:?}");
    assert_eq!(entries.iter().filter(|entry| said(entry) == "root keyset signed").count(), 2);
    assert_eq!(entries.iter().filter(|entry| said(entry) == "the log voters are").count(), 1);
    let revoked = entries.iter().filter(|entry| entry["act"] == "client revoked").count();
    assert_eq!(revoked, 2, "by bob, and signed again when bob left: {entries:?}");
    assert!(entries.windows(2).all(|pair| pair[0]["at_ms"].as_u64() <= pair[1]["at_ms"].as_u64()));
    // Nobody removes the admin whose directory it is: somebody has to sign again.
    let me = fleet.operator(&["admin", "list"]).well()["admins"][0]["name"].as_str().unwrap().to_owned();
    rooted(&["admin", "remove", &me, "--yes"]).fails(1, "invalid", &["another one"]);
}
