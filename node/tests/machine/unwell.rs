//! Storages that are broken, slow, full or lying.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use env::{Carrier, Clock, Steward, Storages as _, store::StoreError};
use node::{
    env::{SystemClock, ThreadPool},
    store::S3Storages,
};
use protocol::{records::StorageCredential, time::UnixMillis};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::conformance::{body, hash, now, storage};

/// A clock whose waits are over at once.
struct Hasty(SystemClock);

#[async_trait]
impl Clock for Hasty {
    fn now(&self) -> UnixMillis {
        self.0.now()
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
    async fn sleep(&self, _: Duration) {
        tokio::task::yield_now().await;
    }
}

/// A server that gives every connection the same answer, then closes it; with no
/// answer it just listens.
struct Server {
    steward: Arc<dyn Steward>,
    carrier: Arc<dyn Carrier>,
    _task: JoinSet<()>,
}

async fn server(answer: Option<&'static str>, clock: Arc<dyn Clock>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut silent = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let Some(answer) = answer else {
                silent.push(stream);
                continue;
            };
            // The head, and with it the small bodies of these tests.
            let _ = stream.read(&mut [0; 16 << 10]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let storages = S3Storages::new(clock, Arc::new(ThreadPool::new().unwrap()));
    let storage = storage(endpoint, "us-east-1", "bucket", "");
    let credential = StorageCredential { access_key: "access".into(), secret_key: "a-secret-of-the-test".into() };
    Server {
        steward: storages.steward(&storage, &credential).unwrap(),
        carrier: storages.carrier(&storage).unwrap(),
        _task: task,
    }
}

async fn saying(answer: &'static str) -> Server {
    server(Some(answer), Arc::new(SystemClock::new())).await
}

impl Server {
    async fn put(&self) -> StoreError {
        let body = body(100, 1);
        let ticket = self.steward.mint_put("a", 100, &hash(&body), now()).unwrap();
        self.carrier.put(&ticket, body).await.unwrap_err()
    }

    async fn get(&self, range: Option<std::ops::Range<u64>>) -> Result<Bytes, StoreError> {
        self.carrier.get(&self.steward.mint_get("a", now()).unwrap(), range).await
    }
}

#[tokio::test]
async fn trouble_on_the_way_is_never_taken_for_an_answer() {
    for answer in [
        "",
        "not HTTP at all\r\n\r\n",
        "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 Oh\r\ncontent-length: 41\r\n\r\n<Error><Code>SlowDown</Code></Error>......",
        "HTTP/1.1 429 Oh\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 409 Oh\r\ncontent-length: 0\r\n\r\n",
    ] {
        let server = saying(answer).await;
        for error in [
            server.put().await,
            server.get(None).await.unwrap_err(),
            server.steward.head("a").await.unwrap_err(),
            server.steward.get("a", 10).await.unwrap_err(),
            server.steward.list("").await.unwrap_err(),
            server.steward.delete("a").await.unwrap_err(),
        ] {
            assert!(matches!(&error, StoreError::Unclear { .. }), "{answer:?}: {error:?}");
            assert!(!error.to_string().contains("Signature"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_is_not_followed() {
    let server = saying("HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    assert!(matches!(server.put().await, StoreError::Refused { .. }));
    assert!(matches!(server.get(None).await, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn what_is_short_long_or_elsewhere_is_noticed() {
    let cut = saying("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123").await;
    assert!(matches!(cut.get(None).await, Err(StoreError::Unclear { .. })));
    let endless = saying("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n0123").await;
    assert!(matches!(endless.get(None).await, Err(StoreError::Invalid { .. })));
    let chunked = saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n").await;
    assert_eq!(chunked.get(None).await.unwrap(), "0123456789");
    assert!(matches!(chunked.steward.get("a", 9).await, Err(StoreError::Invalid { .. })));
    let unfinished = saying("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n").await;
    assert!(matches!(unfinished.get(None).await, Err(StoreError::Unclear { .. })));
    let all = saying("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").await;
    assert_eq!(all.get(Some(2..5)).await.unwrap(), "234");
    assert_eq!(all.get(Some(8..50)).await.unwrap(), "89");
    for range in ["0-2/10", "2-3/10", "2-6/10", "2-4/3", "nonsense"] {
        let text = format!("HTTP/1.1 206 Part\r\ncontent-range: bytes {range}\r\ncontent-length: 3\r\n\r\n234");
        let other = saying(text.leak()).await;
        assert!(matches!(other.get(Some(2..5)).await, Err(StoreError::Unclear { .. })), "{range}");
    }
    let part = saying("HTTP/1.1 206 Part\r\ncontent-range: bytes 2-4/10\r\ncontent-length: 3\r\n\r\n234").await;
    assert_eq!(part.get(Some(2..5)).await.unwrap(), "234");
}

#[tokio::test]
async fn a_listing_that_does_not_go_on_is_not_followed_for_ever() {
    // Always the same first page, with ever more to come.
    let page = "<ListBucketResult><Name>bucket</Name><Prefix></Prefix><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys>\
        <IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>\
        <Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>";
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let server = saying(text.leak()).await;
    assert!(matches!(server.steward.list("").await, Err(StoreError::Unclear { .. })));
}

#[tokio::test]
async fn a_storage_that_says_nothing_is_given_up() {
    let silent = server(None, Arc::new(Hasty(SystemClock::new()))).await;
    let error = silent.put().await;
    assert!(matches!(&error, StoreError::Unclear { reason, .. } if reason.contains("nothing moved")), "{error}");
}

#[tokio::test]
async fn a_storage_that_is_not_there_is_unclear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let storages = S3Storages::new(Arc::new(SystemClock::new()), Arc::new(ThreadPool::new().unwrap()));
    let credential = StorageCredential { access_key: "access".into(), secret_key: "secret".into() };
    let steward = storages.steward(&storage(endpoint, "us-east-1", "bucket", ""), &credential).unwrap();
    for error in [steward.head("a").await.unwrap_err(), steward.get("a", 1).await.unwrap_err()] {
        assert!(matches!(&error, StoreError::Unclear { reason, .. } if reason.contains("refused")), "{error}");
    }
}
