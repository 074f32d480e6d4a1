//! The built-in storage: that it conforms, and what is its own.

use std::{net::SocketAddr, path::Path, sync::Arc};

use env::{Storages as _, store::StoreError};
use node::{
    env::{SystemClock, ThreadPool},
    storage::{StorageActor, StorageArguments, StorageMessage, StorageSettings},
};
use protocol::records::{Storage, StorageCredential};
use ractor::{Actor as _, ActorRef, SpawnErr};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use conformance::{Raw as _, body, hash, with_header};

use crate::{
    raw::HttpRaw,
    suite::{self, now, storages},
};

const BUCKET: &str = "backups";

pub struct Running {
    actor: ActorRef<StorageMessage>,
    ended: JoinHandle<()>,
    pub address: SocketAddr,
    pub storage: Storage,
}

impl Running {
    pub async fn stop(self) {
        self.actor.stop(None);
        self.ended.await.unwrap();
    }
}

pub fn credential() -> StorageCredential {
    StorageCredential::new("access", "a-secret-of-the-test")
}

pub fn arguments(directory: &Path, listen: &str) -> StorageArguments {
    StorageArguments {
        settings: StorageSettings {
            directory: directory.to_path_buf(),
            listen: listen.parse().unwrap(),
            tls: None,
            bucket: BUCKET.into(),
            credential: credential(),
        },
        blocking: Arc::new(ThreadPool::new().unwrap()),
        clock: Arc::new(SystemClock::new()),
    }
}

async fn start(directory: &Path) -> Running {
    start_with(arguments(directory, "127.0.0.1:0")).await
}

pub async fn start_with(arguments: StorageArguments) -> Running {
    let (actor, ended) = StorageActor::spawn(None, StorageActor, arguments).await.unwrap();
    let address = ractor::call!(actor, StorageMessage::Address).unwrap();
    let storage = suite::storage(format!("http://{address}"), BUCKET, "fleet/one");
    Running { actor, ended, address, storage }
}

pub async fn refusal(arguments: StorageArguments) -> String {
    match StorageActor::spawn(None, StorageActor, arguments).await {
        Err(SpawnErr::StartupFailed(error)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}

fn drafts(directory: &TempDir) -> usize {
    std::fs::read_dir(directory.path().join("drafts")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let directory = TempDir::new().unwrap();
    let running = start(directory.path()).await;
    suite::run(running.storage.clone(), credential()).await;
    assert_eq!(drafts(&directory), 0);
    running.stop().await;
}

#[tokio::test]
async fn keeps_its_objects_and_forgets_unfinished_ones() {
    let directory = TempDir::new().unwrap();
    let running = start(directory.path()).await;
    let steward = storages().steward(&running.storage, &credential()).unwrap();
    steward.put_new("kept", body(1000, 1)).await.unwrap();
    let refused = refusal(arguments(directory.path(), "127.0.0.1:0")).await;
    assert!(refused.contains("another process serves"), "{refused}");
    running.stop().await;
    std::fs::write(directory.path().join("drafts/17"), "half an obj").unwrap();

    let running = start(directory.path()).await;
    assert_eq!(drafts(&directory), 0);
    let steward = storages().steward(&running.storage, &credential()).unwrap();
    assert_eq!(steward.get("kept", 1000).await.unwrap(), body(1000, 1));
    running.stop().await;
}

#[tokio::test]
async fn listens_on_loopback_only() {
    let directory = TempDir::new().unwrap();
    let refused = refusal(arguments(directory.path(), "0.0.0.0:0")).await;
    assert!(refused.contains("loopback"), "{refused}");
}

#[tokio::test]
async fn refuses_what_it_does_not_know() {
    let directory = TempDir::new().unwrap();
    let running = start(directory.path()).await;
    let steward = storages().steward(&running.storage, &credential()).unwrap();
    let raw = HttpRaw::new(&running.storage);
    let good = body(100, 1);
    let ticket = steward.mint_put("extra", 100, &hash(&good), now()).unwrap();
    for name in ["x-amz-copy-source", "x-amz-tagging", "x-amz-meta-a", "x-amz-storage-class", "x-amz-checksum-sha256"] {
        assert_eq!(raw.put(&with_header(&ticket, name, Some("a/b")), good.clone()).await, Some(403), "{name}");
    }
    // Nothing is signed: whatever the path, it is not looked at.
    let origin = format!("http://{}", running.address);
    for path in ["/", "/backups", "/backups/a", "/backups/%2e%2e/%2e%2e/lock", "/%2e%2e/lock"] {
        assert_eq!(raw.get(&format!("{origin}{path}")).await, 403, "{path}");
    }
    let mut elsewhere = running.storage.clone();
    elsewhere.bucket = "no-such-bucket".into();
    let elsewhere = storages().steward(&elsewhere, &credential()).unwrap();
    for error in [
        elsewhere.put_new("a", good.clone()).await.unwrap_err(),
        elsewhere.get("a", 10).await.unwrap_err(),
        elsewhere.list("").await.unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Refused { answer, .. } if answer.contains("NoSuchBucket")), "{error}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_arrives_although_the_body_is_not_read() {
    let directory = TempDir::new().unwrap();
    let running = start(directory.path()).await;
    let steward = storages().steward(&running.storage, &credential()).unwrap();
    let carrier = storages().carrier(&running.storage).unwrap();
    let large = body(16 << 20, 1);
    steward.put_new("large", large.clone()).await.unwrap();
    let ticket = steward.mint_put("large", large.len() as u64, &hash(&large), now()).unwrap();
    for _ in 0..4 {
        assert!(matches!(carrier.put(&ticket, large.clone()).await, Err(StoreError::Exists { .. })));
    }
    let wrong = StorageCredential::new(credential().access_key.clone(), "wrong");
    let wrong = storages().steward(&running.storage, &wrong).unwrap();
    assert!(matches!(wrong.put_new("other", large).await, Err(StoreError::Refused { .. })));
    running.stop().await;
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let running = start(directory.path()).await;
    let steward = storages().steward(&running.storage, &credential()).unwrap();
    let good = body(3 << 20, 1);
    let ticket = steward.mint_put("broken", good.len() as u64, &hash(&good), now()).unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut head = format!("PUT {} HTTP/1.1\r\n", ticket.path);
    for (name, value) in &ticket.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    stream.write_all(&good[..2 << 20]).await.unwrap();
    stream.shutdown().await.unwrap();
    // Whatever it answers, if anything: it is done with the request then.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(matches!(steward.head("broken").await, Err(StoreError::NotFound { .. })));
    // Stopping waits for what is being written.
    running.stop().await;
    let running = start(directory.path()).await;
    assert_eq!(drafts(&directory), 0);
    let steward = storages().steward(&running.storage, &credential()).unwrap();
    assert!(matches!(steward.head("broken").await, Err(StoreError::NotFound { .. })));
    running.stop().await;
}

#[tokio::test]
async fn stopping_ends_all_connections() {
    let directory = TempDir::new().unwrap();
    let running = start(directory.path()).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 403");
    let address = running.address;
    running.stop().await;
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn killing_ends_all_connections() {
    let directory = TempDir::new().unwrap();
    let running = start(directory.path()).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    running.actor.kill();
    running.ended.await.unwrap();
    let mut rest = Vec::new();
    // Closed or reset: it ends.
    let _ = idle.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    // Nobody holds the directory any more.
    start(directory.path()).await.stop().await;
}
