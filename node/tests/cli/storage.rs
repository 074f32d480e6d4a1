//! Storages as operators meet them: TLS with an authority of one's own, and what is
//! found out about them.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use serde_json::json;

use super::fleet::{Fleet, Node, nuthatch, put, run};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A storage beside the fleet's own that speaks TLS.
fn tls_storage(fleet: &Fleet, authority: &CertifiedIssuer<'static, KeyPair>) -> Node {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    let key = KeyPair::generate().unwrap();
    put(&fleet.path("certificate.pem"), &params.signed_by(&key, authority).unwrap().pem());
    put(&fleet.path("certificate-key.pem"), &key.serialize_pem());
    let config = format!(
        "data_dir = {:?}\nroles = [\"storage\"]\n[storage]\nlisten = \"127.0.0.1:0\"\nbucket = \"bucket\"\ncertificate_file = {:?}\ncertificate_key_file = {:?}\naccess_key_file = {:?}\nsecret_key_file = {:?}\n",
        fleet.path("tls-storage"),
        fleet.path("certificate.pem"),
        fleet.path("certificate-key.pem"),
        fleet.path("access"),
        fleet.path("secret")
    );
    put(&fleet.path("tls-storage.toml"), &config);
    Node::start(&fleet.path("tls-storage.toml"), &["serving "])
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_storage_with_an_authority_of_its_own_serves_everyone() {
    let fleet = Fleet::waiting();
    fleet.init(&fleet.orchestrator.said[1]).well();
    let (right, wrong) = (authority("right"), authority("wrong"));
    let storage = tls_storage(&fleet, &right);
    let endpoint = storage.said[0].as_str();
    assert!(endpoint.starts_with("https://127.0.0.1:"), "{endpoint}");
    let (ca, wrong_ca) = (fleet.path("ca.pem"), fleet.path("wrong-ca.pem"));
    put(&ca, &right.pem());
    put(&wrong_ca, &wrong.pem());

    let add = |more: &[&str]| fleet.add_storage("main", &[&["--endpoint", endpoint], more].concat());
    add(&[]).fails(1, "invalid", &["does not know", "--ca-file", "Nothing was added"]);
    add(&["--ca-file", text(&wrong_ca)]).fails(1, "invalid", &["own authority did not sign"]);
    add(&["--ca-file", text(&fleet.path("access"))]).fails(1, "invalid", &["access", "no certificate"]);
    add(&["--ca-file", text(&fleet.path("none"))]).fails(1, "not_found", &["none"]);
    add(&["--ca-file", text(&ca)]).well();
    let listed = fleet.operator(&["storage", "list"]).well();
    assert_eq!(listed["storages"][0]["authorities"], 1, "{listed}");

    // The record carries the certificate to orchestrators and clients.
    fleet.operator(&["domain", "create", "laptops", "--storage", "main"]).well();
    fleet.enroll("client", &fleet.token(&[])).well();
    let source = fleet.path("source");
    put(&source.join("file"), &"some text\n".repeat(1000));
    fleet.client("client", &["snapshot", "create", text(&source)]).well();
    let target = fleet.path("target");
    fleet.client("client", &["restore", "latest", text(&target)]).well();
    let restored = target.join(source.strip_prefix("/").unwrap()).join("file");
    assert_eq!(std::fs::read_to_string(restored).unwrap(), "some text\n".repeat(1000));
}

#[test]
fn what_a_storage_enforces_is_said_with_what_follows() {
    let fleet = Fleet::waiting();
    let (access, secret) = (fleet.path("access"), fleet.path("secret"));
    let keys = ["--access-key-file", text(&access), "--secret-key-file", text(&secret)];
    let check = |more: &[&str]| fleet.operator(&[&["storage", "check"], more, &keys].concat());
    fleet.init(&fleet.orchestrator.said[1]).well();
    check(&[]).fails(1, "not_found", &["no storage yet", "storage add"]);
    fleet.operator(&["storage", "check"]).fails(2, "usage", &["--access-key-file", "--credentials-file"]);

    let added = fleet.add_storage("main", &[]).well();
    let warnings = added["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains("destroy this repository")), "{added}");
    let checked = check(&[]).well();
    assert_eq!(checked["usable"], true);
    assert_eq!(checked["checks"].as_array().map(Vec::len), added["checks"].as_array().map(Vec::len));
    let verdict = |name: &str| {
        let checks = checked["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).unwrap()["verdict"].clone()
    };
    assert_eq!((verdict("conditional_writes"), verdict("delete")), ("good".into(), "warning".into()), "{checked}");
    check(&["other"]).fails(1, "not_found", &["\"other\"", "storage list"]);

    // For people: a table with the same words.
    let mut command = nuthatch();
    command.args(["storage", "check", "main"]).args(keys).arg("--home").arg(fleet.path("home"));
    let shown = run(&mut command);
    assert_eq!(shown.code, 0, "{shown:?}");
    for words in ["conditional writes", "If-None-Match is honoured", "One stolen orchestrator could destroy"] {
        assert!(shown.stdout.contains(words), "{}", shown.stdout);
    }
    // A repository that is there already is found as it was.
    assert_eq!(fleet.add_storage("main", &["--adopt"]).well()["repository"], added["repository"]);

    put(&secret, "another-key\n");
    check(&[]).fails(1, "denied", &["SignatureDoesNotMatch", "secret key"]);
    put(&fleet.path("token"), "temporary\n");
    put(&secret, "the-secret-key\n");
    let token = fleet.path("token");
    check(&["--session-token-file", text(&token)]).fails(1, "denied", &["x-amz-security-token"]);
}

#[test]
fn a_storage_that_orchestrators_do_not_reach_stands_in_the_status() {
    let mut fleet = Fleet::ready();
    let unreachable = |fleet: &Fleet| {
        let status = fleet.operator(&["cluster", "status"]).well();
        let orchestrator = &status["orchestrators"][0];
        assert!(orchestrator["disk"]["free"].as_u64() <= orchestrator["disk"]["total"].as_u64(), "{status}");
        (orchestrator["storages_unreachable"].clone(), status["warnings"].clone())
    };
    assert_eq!(unreachable(&fleet), (json!({}), json!([])));
    fleet.storage.signal(rustix::process::Signal::KILL);
    let (named, warnings) = unreachable(&fleet);
    assert!(named["main"].is_string(), "{named}");
    let said = warnings[0].as_str().unwrap();
    assert!(said.starts_with("No orchestrator reaches the storage main (") && said.contains("look after"), "{said}");
    fleet.restart_storage();
    assert_eq!(unreachable(&fleet).0, json!({}));
}
