//! Wrong usage, and configurations that make no sense: exit code 2.

use super::fleet::{nuthatch, put, run};

#[test]
fn wrong_usage_ends_with_2() {
    for args in [
        &["snapshoot"][..],
        &[],
        &["restore", "latest"],
        &["snapshot", "create"],
        &["token", "create", "--domain", "d", "--expires", "10"],
    ] {
        let done = run(nuthatch().args(args));
        assert_eq!(done.code, 2, "{args:?}: {done:?}");
        assert!(done.stdout.is_empty() && done.stderr.contains("--help"), "{args:?}: {done:?}");
    }
    run(nuthatch().args(["restore", "--json"])).fails(2, "usage", &["required"]);
    assert_eq!(run(nuthatch().arg("--help")).code, 0);
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("node.toml");
    for (text, words) in [
        ("data_dir = \"/x\"\nroles = [\"orchestrator\"]\nlissten = \"127.0.0.1:0\"\n", ["lissten", "node.toml"]),
        ("data_dir = \"/x\"\nroles = [\"orchestrator\"]\nlisten = \"127.0.0.1\"\n", ["listen", "node.toml"]),
        ("data_dir = \"/x\"\nroles = \n", ["roles", "node.toml"]),
    ] {
        put(&config, text);
        let done = run(nuthatch().args(["node", "run", "--json", "--config"]).arg(&config));
        done.fails(2, "usage", &words);
    }
    let done = run(nuthatch().args(["node", "run", "--json", "--config"]).arg(dir.path().join("absent.toml")));
    done.fails(1, "not_found", &["absent.toml"]);
}

#[test]
fn a_client_that_is_not_enrolled_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(nuthatch().args(["snapshot", "list", "--json", "--data-dir"]).arg(dir.path()));
    done.fails(1, "invalid", &["not enrolled", "nuthatch enroll"]);
    let done = run(nuthatch().args(["cluster", "status", "--json", "--home"]).arg(dir.path().join("home")));
    done.fails(1, "not_found", &["cluster init"]);
}
