//! What is found out about storages: the built-in one always, another one if there is one.

use std::collections::BTreeMap;

use env::Storages as _;
use node::store::{Finding, Verdict};
use protocol::records::{Storage, StorageCredential};
use tempfile::TempDir;

use crate::{
    built_in::{arguments, credential, start_with},
    suite::{Other, storages, variable},
};

async fn probe(storage: &Storage, credential: &StorageCredential) -> BTreeMap<&'static str, Finding> {
    let found = storages().probe(storage, credential, [7; 16]).await.unwrap();
    found.into_iter().map(|finding| (finding.check, finding)).collect()
}

fn verdicts(found: &BTreeMap<&'static str, Finding>) -> Vec<(&'static str, Verdict)> {
    found.values().map(|finding| (finding.check, finding.verdict)).collect()
}

/// What everything that is called good is expected to be.
const ENFORCED: [&str; 8] = [
    "body_hash",
    "clock",
    "conditional_writes",
    "expired_tickets",
    "listing",
    "private",
    "read_after_write",
    "signed_headers",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_storage_is_strict_but_one_key_does_everything() {
    let directory = TempDir::new().unwrap();
    let running = start_with(arguments(directory.path(), "127.0.0.1:0")).await;
    let found = probe(&running.storage, &credential()).await;
    for check in ENFORCED.iter().chain(&["unsigned_headers", "overwrite"]) {
        assert_eq!(found[check].verdict, Verdict::Good, "{:?}", found[check]);
    }
    assert_eq!(found["delete"].verdict, Verdict::Warning, "{:?}", found["delete"]);
    assert!(found["delete"].follows.contains("destroy this repository"));
    assert!(found.values().all(|finding| finding.follows.is_empty() == (finding.verdict == Verdict::Good)));
    // Nothing stays.
    let steward = storages().steward(&running.storage, &credential()).unwrap();
    assert_eq!(steward.list("").await.unwrap(), []);
    running.stop().await;
}

#[tokio::test]
async fn a_storage_that_cannot_be_used_is_an_error_that_says_why() {
    let directory = TempDir::new().unwrap();
    let running = start_with(arguments(directory.path(), "127.0.0.1:0")).await;
    let elsewhere = Storage { bucket: "no-such-bucket".into(), ..running.storage.clone() };
    let wrong = StorageCredential::new(credential().access_key.clone(), "wrong");
    let unknown = StorageCredential::new("NOBODY", "wrong");
    for (storage, credential, words) in [
        (&elsewhere, &credential(), "Make that bucket"),
        (&running.storage, &wrong, "secret key"),
        (&running.storage, &unknown, "access key"),
    ] {
        let error = storages().probe(storage, credential, [7; 16]).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_storage_enforces_is_found_out() {
    let Some(other) = Other::open().await else { return };
    let found = probe(&other.storage, &other.credential).await;
    for check in ["clock", "expired_tickets", "listing", "private", "read_after_write", "signed_headers", "body_hash"] {
        assert_eq!(found[check].verdict, Verdict::Good, "{:?}", found[check]);
    }
    for check in ["delete", "overwrite"] {
        assert_eq!(found[check].verdict, Verdict::Warning, "{:?}", verdicts(&found));
    }
    let steward = other.steward();
    assert_eq!(steward.list("").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_keeps_versions_is_told_from_one_that_does_not() {
    let Some(other) = Other::open().await else { return };
    let found = probe(&other.storage, &other.credential).await;
    assert!(found["versioning"].found.starts_with("Off"), "{:?}", found["versioning"]);
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    other.set("versioning", on.into()).await;
    let found = probe(&other.storage, &other.credential).await;
    assert!(found["versioning"].found.starts_with("On"), "{:?}", found["versioning"]);
    for check in ["delete", "overwrite"] {
        assert_eq!(found[check].verdict, Verdict::Note, "{:?}", found[check]);
    }
}

/// A key that a policy lets only put, get and list: what the manual recommends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_may_not_delete_is_told_from_one_that_may() {
    let Some(other) = Other::open().await else { return };
    let Ok(minter) = std::env::var("S3_MINTER_ID") else { return eprintln!("not run: S3_MINTER_ID is not set") };
    let bucket = &other.storage.bucket;
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":["arn:aws:iam:::user/{minter}"]}},"Action":["s3:PutObject","s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::{bucket}","arn:aws:s3:::{bucket}/*"]}}]}}"#
    );
    other.set("policy", policy).await;
    let credential = StorageCredential::new(variable("S3_MINTER_ACCESS_KEY"), variable("S3_MINTER_SECRET_KEY"));
    let found = probe(&other.storage, &credential).await;
    assert_eq!(found["delete"].verdict, Verdict::Good, "{:?}", found["delete"]);
    assert!(found["delete"].found.contains("stay below cluster/probe/"), "{:?}", found["delete"]);
    assert!(found["versioning"].found.contains("may not ask"), "{:?}", found["versioning"]);
}
