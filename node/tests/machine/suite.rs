//! The conformance suite against another storage, when `NUTHATCH_TEST_S3` is set.
//! Then `S3_ENDPOINT`, `S3_REGION`, `S3_ACCESS_KEY` and `S3_SECRET_KEY` say which. If
//! they are set, `S3_TLS_ENDPOINT` and `S3_CA_FILE` say how TLS leads to the same,
//! `S3_VIRTUAL_ENDPOINT` and `S3_VIRTUAL_BUCKET` which bucket's host name resolves,
//! and `S3_SESSION_ACCESS_KEY`, `_SECRET_KEY` and `S3_SESSION_TOKEN` are temporary keys.

use std::sync::Arc;

use conformance::Subject;
use env::{Clock as _, Rng, Steward, Storages as _, store::StoreError};
use hyper::Method;
use node::{
    env::{OsRandom, SystemClock, ThreadPool},
    store::S3Storages,
};
use protocol::{
    ids::RepositoryId,
    records::{Storage, StorageCredential},
    time::UnixMillis,
};

use crate::raw::HttpRaw;

pub fn storages() -> S3Storages {
    S3Storages::new(Arc::new(SystemClock::new()), Arc::new(ThreadPool::new().unwrap()))
}

pub fn storage(endpoint: impl Into<String>, bucket: &str, prefix: &str) -> Storage {
    Storage {
        repository: RepositoryId([1; 16]),
        name: "under test".into(),
        endpoint: endpoint.into(),
        region: "us-east-1".into(),
        bucket: bucket.into(),
        prefix: prefix.into(),
        virtual_host: false,
        authorities: Vec::new(),
    }
}

pub fn now() -> UnixMillis {
    SystemClock::new().now()
}

/// Runs every check against a storage.
pub async fn run(storage: Storage, credential: StorageCredential) {
    let raw = Box::new(HttpRaw::new(&storage));
    let subject =
        Subject { storages: Arc::new(storages()), clock: Arc::new(SystemClock::new()), raw, storage, credential };
    conformance::run(subject).await;
}

/// What the environment says of a storage to test against.
pub struct Other {
    pub storage: Storage,
    pub credential: StorageCredential,
    pub s3: s3::Client,
}

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

impl Other {
    /// A new bucket there; None, and a word about it, if none is to be tested.
    pub async fn open() -> Option<Self> {
        if std::env::var_os("NUTHATCH_TEST_S3").is_none() {
            eprintln!("not run: NUTHATCH_TEST_S3 is not set");
            return None;
        }
        let unique: [u8; 8] = (&OsRandom as &dyn Rng).array();
        let bucket = format!("nuthatch-test-{:016x}", u64::from_le_bytes(unique));
        let credential = StorageCredential::new(variable("S3_ACCESS_KEY"), variable("S3_SECRET_KEY"));
        let mut storage = storage(variable("S3_ENDPOINT"), &bucket, "some/prefix");
        storage.region = variable("S3_REGION");
        let s3 = s3::Client::builder(&storage.endpoint)
            .unwrap()
            .region(&*storage.region)
            .auth(s3::Auth::Static(s3::Credentials::new(&*credential.access_key, &*credential.secret_key).unwrap()))
            .addressing_style(s3::AddressingStyle::Path)
            .build()
            .unwrap();
        s3.buckets().create(&bucket).send().await.unwrap();
        Some(Self { storage, credential, s3 })
    }

    /// Who may do everything there.
    pub fn steward(&self) -> Arc<dyn Steward> {
        storages().steward(&self.storage, &self.credential).unwrap()
    }

    /// Sets one of the bucket's settings, as its owner.
    pub async fn set(&self, name: &str, document: String) {
        let request = self.s3.objects().presign(Method::PUT, &self.storage.bucket, "").query_param(name, "");
        let http = reqx::prelude::Client::builder(&self.storage.endpoint).build().unwrap();
        http.put(request.build().unwrap().url.to_string()).body(document).send_response().await.unwrap();
    }

    /// The same, at an address behind which there is TLS; None if the variable is not set.
    fn at(&self, variable_of_endpoint: &str, prefix: &str) -> Option<Storage> {
        let Ok(endpoint) = std::env::var(variable_of_endpoint) else {
            eprintln!("not run: {variable_of_endpoint} is not set");
            return None;
        };
        let pem = std::fs::read(variable("S3_CA_FILE")).unwrap();
        let authorities = node::store::certificates(&pem).unwrap();
        Some(Storage { endpoint, authorities, prefix: prefix.into(), ..self.storage.clone() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_storage_conforms() {
    let Some(other) = Other::open().await else { return };
    run(other.storage.clone(), other.credential.clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_storage_conforms_over_tls() {
    let Some(other) = Other::open().await else { return };
    let Some(storage) = other.at("S3_TLS_ENDPOINT", "by/tls") else { return };
    run(storage, other.credential.clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_storage_conforms_with_the_bucket_in_the_host_name() {
    let Some(other) = Other::open().await else { return };
    let Some(storage) = other.at("S3_VIRTUAL_ENDPOINT", &other.storage.bucket) else { return };
    let bucket = variable("S3_VIRTUAL_BUCKET");
    run(Storage { virtual_host: true, bucket, ..storage }, other.credential.clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_storage_conforms_with_temporary_keys() {
    let Some(other) = Other::open().await else { return };
    let Ok(token) = std::env::var("S3_SESSION_TOKEN") else {
        return eprintln!("not run: S3_SESSION_TOKEN is not set");
    };
    let keys = StorageCredential::new(variable("S3_SESSION_ACCESS_KEY"), variable("S3_SESSION_SECRET_KEY"));
    let mut whole = keys.clone();
    whole.session_token = Some(token);
    run(other.storage.clone(), whole).await;
    // Without their token they are worth nothing.
    let error = storages().steward(&other.storage, &keys).unwrap().put_new("x", "x".into()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
}
