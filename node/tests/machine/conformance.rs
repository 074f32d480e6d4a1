//! What every storage has to do, whatever it is. Run against the built-in
//! storage always, and against another one when `NUTHATCH_TEST_S3` is set: then
//! `S3_ENDPOINT`, `S3_REGION`, `S3_ACCESS_KEY` and `S3_SECRET_KEY` say which.

use std::sync::Arc;

use bytes::Bytes;
use env::{Carrier, Clock, Rng, Steward, Storages, store::StoreError};
use node::{
    env::{OsRandom, SystemClock, ThreadPool},
    store::S3Storages,
};
use protocol::{
    ids::{RepositoryId, Sha256},
    limits::OBJECT_BYTES_MAX,
    records::{Storage, StorageCredential},
    time::UnixMillis,
};
use sha2::Digest as _;

use crate::raw::{Raw, with_header};

pub fn storages() -> S3Storages {
    S3Storages::new(Arc::new(SystemClock::new()), Arc::new(ThreadPool::new().unwrap()))
}

pub fn storage(endpoint: String, region: &str, bucket: &str, prefix: &str) -> Storage {
    Storage {
        repository: RepositoryId([1; 16]),
        name: "under test".into(),
        endpoint,
        region: region.into(),
        bucket: bucket.into(),
        prefix: prefix.into(),
        virtual_host: false,
    }
}

pub fn hash(body: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(body).into())
}

/// `len` bytes that differ from those of every other `seed`.
pub fn body(len: usize, seed: u8) -> Bytes {
    (0..len).map(|i| (i * 31 + i / 251) as u8 ^ seed).collect::<Vec<_>>().into()
}

pub fn now() -> UnixMillis {
    SystemClock::new().now()
}

/// Both halves of one storage, and a sender that keeps to no rules.
struct Subject {
    steward: Arc<dyn Steward>,
    carrier: Arc<dyn Carrier>,
    raw: Raw,
    origin: String,
}

/// `scheme://host[:port]` of a URL.
fn origin_of(url: &str) -> String {
    url.split('/').take(3).collect::<Vec<_>>().join("/")
}

impl Subject {
    async fn put(&self, path: &str, body: &Bytes) -> Result<(), StoreError> {
        let ticket = self.steward.mint_put(path, body.len() as u64, &hash(body), now())?;
        self.carrier.put(&ticket, body.clone()).await
    }

    async fn get(&self, path: &str, range: Option<std::ops::Range<u64>>) -> Result<Bytes, StoreError> {
        self.carrier.get(&self.steward.mint_get(path, now())?, range).await
    }

    async fn absent(&self, path: &str) {
        assert!(matches!(self.steward.head(path).await, Err(StoreError::NotFound { .. })), "{path} should not exist");
    }
}

/// Runs everything. The storage's bucket exists, and its prefix is unused.
pub async fn run(storages: &dyn Storages, storage: &Storage, credential: &StorageCredential) {
    let steward = storages.steward(storage, credential).unwrap();
    let origin = origin_of(&steward.mint_get("a", now()).unwrap().url);
    let carrier = storages.carrier(storage).unwrap();
    let subject = Subject { steward, carrier, raw: Raw::new(&origin), origin };
    objects_come_back_as_they_went(&subject).await;
    a_name_is_written_once(&subject).await;
    a_ticket_fits_one_request(&subject).await;
    a_carrier_sends_only_what_was_signed(&subject).await;
    a_read_ticket_reads_one_object(&subject).await;
    tickets_end(&subject).await;
    listings_are_whole_and_in_order(&subject).await;
    deleting_is_final_and_repeatable(&subject).await;
    a_wrong_credential_gets_nothing(storages, storage, credential).await;
}

async fn objects_come_back_as_they_went(s: &Subject) {
    for (path, len) in [("sizes/1", 1), ("sizes/a-b/c_d.e~f", 70_000), ("sizes/20m", 20 << 20)] {
        let body = body(len, 1);
        s.put(path, &body).await.unwrap();
        assert_eq!(s.steward.head(path).await.unwrap(), len as u64);
        assert_eq!(s.get(path, None).await.unwrap(), body);
        assert_eq!(s.steward.get(path, len).await.unwrap(), body);
        assert!(matches!(s.steward.get(path, len - 1).await, Err(StoreError::Invalid { .. })));
    }
    let whole = body(70_000, 1);
    let path = "sizes/a-b/c_d.e~f";
    for (range, expected) in [
        (0..1, 0..1),
        (1000..5000, 1000..5000),
        (69_999..70_000, 69_999..70_000),
        (60_000..90_000, 60_000..70_000),
        (70_000..70_001, 70_000..70_000),
        (5..5, 5..5),
    ] {
        let got = s.get(path, Some(range.clone())).await.unwrap();
        assert_eq!(got, whole.slice(expected), "{range:?}");
    }
    assert!(matches!(s.get("sizes/none", None).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(s.get("sizes/none", Some(0..9)).await, Err(StoreError::NotFound { .. })));
    s.steward.put_new("sizes/own", whole.clone()).await.unwrap();
    assert_eq!(s.get("sizes/own", None).await.unwrap(), whole);
}

async fn a_name_is_written_once(s: &Subject) {
    let (first, second) = (body(5000, 2), body(5000, 3));
    s.put("once", &first).await.unwrap();
    assert!(matches!(s.put("once", &first).await, Err(StoreError::Exists { .. })));
    assert!(matches!(s.put("once", &second).await, Err(StoreError::Exists { .. })));
    assert!(matches!(s.steward.put_new("once", second).await, Err(StoreError::Exists { .. })));
    assert_eq!(s.get("once", None).await.unwrap(), first);
    let ticket = s.steward.mint_put("replayed", 5000, &hash(&first), now()).unwrap();
    s.carrier.put(&ticket, first.clone()).await.unwrap();
    assert!(matches!(s.carrier.put(&ticket, first).await, Err(StoreError::Exists { .. })));

    let bodies: Vec<Bytes> = (0..8).map(|i| body(200_000, 10 + i)).collect();
    let results = futures_util::future::join_all(bodies.iter().map(|body| s.put("raced", body))).await;
    let winners: Vec<_> = results.iter().enumerate().filter(|(_, result)| result.is_ok()).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert_eq!(s.get("raced", None).await.unwrap(), bodies[winners[0].0]);
}

async fn a_ticket_fits_one_request(s: &Subject) {
    let good = body(5000, 4);
    let ticket = s.steward.mint_put("tampered", 5000, &hash(&good), now()).unwrap();
    let refused = |status: Option<u16>| matches!(status, None | Some(400 | 403 | 501));
    assert!(refused(s.raw.put(&ticket, body(5000, 5)).await), "a wrong body");
    let mut other = ticket.clone();
    other.path = other.path.replace("tampered", "elsewhere");
    assert!(refused(s.raw.put(&other, good.clone()).await), "another key");
    for query in ["?acl", "?uploadId=x", "?tagging", "?versionId=null"] {
        let mut other = ticket.clone();
        other.path.push_str(query);
        assert!(refused(s.raw.put(&other, good.clone()).await), "an added {query}");
    }
    for name in ["if-none-match", "x-amz-acl", "x-amz-date", "x-amz-content-sha256", "authorization"] {
        let status = s.raw.put(&with_header(&ticket, name, None), good.clone()).await;
        assert!(refused(status), "{name} dropped: {status:?}");
    }
    let wrong_hash = hash(b"other").to_string();
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-content-sha256", wrong_hash.as_str()),
        ("if-none-match", "\"x\""),
    ] {
        let status = s.raw.put(&with_header(&ticket, name, Some(value)), good.clone()).await;
        assert!(refused(status), "{name} changed to {value}: {status:?}");
    }
    let shorter = with_header(&ticket, "content-length", Some("4000"));
    assert!(refused(s.raw.put(&shorter, good.slice(..4000)).await), "a shorter body");
    s.absent("tampered").await;
    s.absent("elsewhere").await;

    // Servers may ignore what was not signed, but it must not change what is stored.
    let key = ticket.path.trim_start_matches('/').replace("tampered", "once");
    let copy = with_header(&ticket, "x-amz-copy-source", Some(&key));
    let stored = s.raw.put(&copy, good.clone()).await == Some(200);
    match stored {
        true => assert_eq!(s.get("tampered", None).await.unwrap(), good),
        false => s.absent("tampered").await,
    }
}

async fn a_carrier_sends_only_what_was_signed(s: &Subject) {
    let good = body(5000, 6);
    let ticket = s.steward.mint_put("scruples", 5000, &hash(&good), now()).unwrap();
    let mut outside = ticket.clone();
    outside.path = "/other/scruples".into();
    let mut escaping = ticket.clone();
    escaping.path = ticket.path.replace("scruples", "../scruples");
    let mut querying = ticket.clone();
    querying.path.push_str("?acl");
    for bad in [
        outside,
        escaping,
        querying,
        with_header(&ticket, "x-amz-copy-source", Some("/a/b")),
        with_header(&ticket, "if-none-match", None),
        with_header(&ticket, "host", Some("example.org")),
        with_header(&ticket, "authorization", None),
    ] {
        assert!(matches!(s.carrier.put(&bad, good.clone()).await, Err(StoreError::Invalid { .. })), "{bad:?}");
    }
    for len in [0, 4999] {
        assert!(matches!(s.carrier.put(&ticket, good.slice(..len)).await, Err(StoreError::Invalid { .. })));
    }
    assert!(matches!(s.carrier.put(&ticket, body(5001, 6)).await, Err(StoreError::Invalid { .. })));
    s.absent("scruples").await;
    for len in [0, OBJECT_BYTES_MAX as u64 + 1] {
        assert!(matches!(s.steward.mint_put("length", len, &hash(b""), now()), Err(StoreError::Invalid { .. })));
    }
    for path in ["", "/a", "a/", "a//b", "../a", "a b", "a?b", "a%41", "ä"] {
        assert!(matches!(s.steward.mint_put(path, 1, &hash(b"a"), now()), Err(StoreError::Invalid { .. })), "{path}");
        assert!(matches!(s.steward.mint_get(path, now()), Err(StoreError::Invalid { .. })), "{path}");
    }
}

async fn a_read_ticket_reads_one_object(s: &Subject) {
    s.put("read/mine", &body(100, 7)).await.unwrap();
    s.put("read/yours", &body(100, 8)).await.unwrap();
    let ticket = s.steward.mint_get("read/mine", now()).unwrap();
    assert_eq!(s.raw.get(&ticket.url).await, 200);
    let mut other = ticket.clone();
    other.url = ticket.url.replace("mine", "yours");
    assert!(matches!(s.carrier.get(&other, None).await, Err(StoreError::Refused { .. })));
    assert_eq!(s.raw.get(ticket.url.split('?').next().unwrap()).await, 403);
    let mut foreign = ticket.clone();
    foreign.url = ticket.url.replace(&s.origin, "http://127.0.0.1:1");
    let error = s.carrier.get(&foreign, None).await.unwrap_err();
    assert!(matches!(&error, StoreError::Invalid { .. }), "{error}");
    assert!(!error.to_string().contains("Signature"), "{error}");
}

async fn tickets_end(s: &Subject) {
    let good = body(100, 9);
    let early = UnixMillis(now().0 - 16 * 60 * 1000);
    let ticket = s.steward.mint_put("late", 100, &hash(&good), early).unwrap();
    assert!(matches!(s.carrier.put(&ticket, good.clone()).await, Err(StoreError::Refused { .. })));
    s.absent("late").await;
    s.put("read/late", &good).await.unwrap();
    let early = UnixMillis(now().0 - 61 * 60 * 1000);
    let ticket = s.steward.mint_get("read/late", early).unwrap();
    assert!(matches!(s.carrier.get(&ticket, None).await, Err(StoreError::Refused { .. })));
}

async fn listings_are_whole_and_in_order(s: &Subject) {
    let mut expected = vec!["list/a", "list/a-", "list/a.b", "list/a/b", "list/a/c/d", "list/a0", "list/b/a", "list/z"];
    for (path, len) in expected.iter().zip(1..) {
        s.put(path, &body(len, 0)).await.unwrap();
    }
    s.put("listed-too", &body(9, 0)).await.unwrap();
    let listed = s.steward.list("list").await.unwrap();
    assert_eq!(listed.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(listed.iter().map(|(_, len)| *len).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    expected.retain(|path| path.starts_with("list/a/"));
    let below: Vec<String> = s.steward.list("list/a/").await.unwrap().into_iter().map(|(path, _)| path).collect();
    assert_eq!(below, expected);
    assert!(s.steward.list("nothing").await.unwrap().is_empty());
    assert!(s.steward.list("").await.unwrap().len() > listed.len());
}

async fn deleting_is_final_and_repeatable(s: &Subject) {
    s.put("deleted", &body(10, 1)).await.unwrap();
    s.steward.delete("deleted").await.unwrap();
    s.absent("deleted").await;
    s.steward.delete("deleted").await.unwrap();
}

async fn a_wrong_credential_gets_nothing(storages: &dyn Storages, storage: &Storage, right: &StorageCredential) {
    let secret = "not-the-secret-key-of-anyone";
    let wrong_secret = StorageCredential { access_key: right.access_key.clone(), secret_key: secret.into() };
    let unknown = StorageCredential { access_key: "NOBODY".into(), secret_key: secret.into() };
    let carrier = storages.carrier(storage).unwrap();
    for credential in [wrong_secret, unknown] {
        let steward = storages.steward(storage, &credential).unwrap();
        let good = body(10, 1);
        let put = steward.mint_put("stolen", 10, &hash(&good), now()).unwrap();
        let errors = [
            carrier.put(&put, good).await.unwrap_err(),
            carrier.get(&steward.mint_get("once", now()).unwrap(), None).await.unwrap_err(),
            steward.get("once", 10_000).await.unwrap_err(),
            steward.head("once").await.unwrap_err(),
            steward.list("").await.unwrap_err(),
            steward.delete("once").await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, StoreError::Refused { .. }), "{error:?}");
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }
    let steward = storages.steward(storage, right).unwrap();
    assert!(matches!(steward.head("stolen").await, Err(StoreError::NotFound { .. })));
    steward.head("once").await.unwrap();
}

#[tokio::test]
async fn another_storage_conforms() {
    if std::env::var_os("NUTHATCH_TEST_S3").is_none() {
        eprintln!("not run: NUTHATCH_TEST_S3 is not set");
        return;
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let credential = StorageCredential { access_key: variable("S3_ACCESS_KEY"), secret_key: variable("S3_SECRET_KEY") };
    let (endpoint, region) = (variable("S3_ENDPOINT"), variable("S3_REGION"));
    let unique: [u8; 8] = (&OsRandom as &dyn Rng).array();
    let unique = format!("nuthatch-test-{:016x}", u64::from_le_bytes(unique));
    let s3 = s3::Client::builder(&endpoint)
        .unwrap()
        .region(&*region)
        .auth(s3::Auth::Static(s3::Credentials::new(&*credential.access_key, &*credential.secret_key).unwrap()))
        .addressing_style(s3::AddressingStyle::Path)
        .build()
        .unwrap();
    s3.buckets().create(&*unique).send().await.unwrap();
    run(&storages(), &storage(endpoint, &region, &unique, "some/prefix"), &credential).await;
}
