//! Storages that are broken, slow, full or lying.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

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

use conformance::{body, hash};

use crate::suite::{now, storage};

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

/// A clock by which the first wait, which is for the head of an answer, never ends,
/// and all others end at once.
struct Late {
    clock: SystemClock,
    waits: AtomicUsize,
}

#[async_trait]
impl Clock for Late {
    fn now(&self) -> UnixMillis {
        self.clock.now()
    }
    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
    async fn sleep(&self, _: Duration) {
        if self.waits.fetch_add(1, Relaxed) == 0 {
            std::future::pending::<()>().await;
        }
    }
}

/// What a server does with every connection.
#[derive(Clone, Copy)]
enum Says {
    /// Answers, then closes it.
    This(&'static str),
    /// Answers, and keeps it open.
    Part(&'static str),
    /// Listens.
    Nothing,
}

/// A server that treats every connection the same.
struct Server {
    steward: Arc<dyn Steward>,
    carrier: Arc<dyn Carrier>,
    _task: JoinSet<()>,
}

async fn server(says: Says, clock: Arc<dyn Clock>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if let Says::This(answer) | Says::Part(answer) = says {
                // The head, and with it the small bodies of these tests.
                let _ = stream.read(&mut [0; 16 << 10]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
            match says {
                Says::This(_) => drop(stream.shutdown().await),
                Says::Part(_) | Says::Nothing => open.push(stream),
            }
        }
    });
    let storages = S3Storages::new(clock, Arc::new(ThreadPool::new().unwrap()));
    let storage = storage(endpoint, "bucket", "");
    let credential = StorageCredential::new("access", "a-secret-of-the-test");
    Server {
        steward: storages.steward(&storage, &credential).unwrap(),
        carrier: storages.carrier(&storage).unwrap(),
        _task: task,
    }
}

async fn saying(answer: &'static str) -> Server {
    server(Says::This(answer), Arc::new(SystemClock::new())).await
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

    /// How each kind of request fails, by client and orchestrator.
    async fn all(&self) -> Vec<(&'static str, StoreError)> {
        vec![
            ("put", self.put().await),
            ("get", self.get(None).await.unwrap_err()),
            ("get a range", self.get(Some(2..5)).await.unwrap_err()),
            ("head", self.steward.head("a").await.unwrap_err()),
            ("put of one's own", self.steward.put_new("a", body(100, 1)).await.unwrap_err()),
            ("get of one's own", self.steward.get("a", 10).await.unwrap_err()),
            ("get of one's own range", self.steward.get_range("a", 2..5).await.unwrap_err()),
            ("list", self.steward.list("").await.unwrap_err()),
        ]
    }
}

/// An answer with an error document.
fn error(status: u16, code: &str) -> &'static str {
    let body = format!("<Error><Code>{code}</Code><Message>so it is</Message></Error>");
    format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\n\r\n{body}", body.len()).leak()
}

#[tokio::test]
async fn each_answer_means_the_same_to_everyone() {
    type Expected = fn(&StoreError) -> bool;
    let refused: Expected = |error| matches!(error, StoreError::Refused { .. });
    let unclear: Expected = |error| matches!(error, StoreError::Unclear { .. });
    let cases: [(&str, Expected); 17] = [
        (error(403, "AccessDenied"), refused),
        (error(403, "SignatureDoesNotMatch"), refused),
        (error(403, "RequestTimeTooSkewed"), refused),
        (error(400, "ExpiredToken"), refused),
        (error(404, "NoSuchKey"), |error| matches!(error, StoreError::NotFound { .. })),
        (error(412, "PreconditionFailed"), |error| matches!(error, StoreError::Exists { .. })),
        (error(507, "InsufficientStorage"), |error| matches!(error, StoreError::Full { .. })),
        (error(500, "InternalError"), unclear),
        (error(503, "SlowDown"), unclear),
        (error(429, "SlowDown"), unclear),
        (error(409, "ConditionalRequestConflict"), unclear),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", unclear),
        // An error document cut short: the status says enough.
        ("HTTP/1.1 503 Oh\r\ncontent-length: 99\r\n\r\n<Error><Co", unclear),
        ("", unclear),
        ("HTTP/1.1 200", unclear),
        ("not HTTP at all\r\n\r\n", unclear),
        // Half a head.
        ("HTTP/1.1 200 OK\r\ncontent-le", unclear),
    ];
    for (answer, expected) in cases {
        let server = saying(answer).await;
        for (what, error) in server.all().await {
            // An answer to HEAD has no document, so there the storage's own words are missing.
            assert!(expected(&error), "{what}, {answer:?}: {error:?}");
            assert!(!error.to_string().contains("Signature="), "{error}");
        }
        let deleted = server.steward.delete("a").await;
        match deleted {
            Ok(()) => assert!(answer.contains("404"), "{answer:?}"),
            Err(error) => assert!(expected(&error), "{answer:?}: {error:?}"),
        }
    }
    // A bucket that is not there is no answer about an object.
    for (what, error) in saying(error(404, "NoSuchBucket")).await.all().await {
        assert!(what == "head" || refused(&error), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn half_a_body_is_none() {
    let half = saying("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123").await;
    let part = saying("HTTP/1.1 206 Part\r\ncontent-range: bytes 2-4/10\r\ncontent-length: 3\r\n\r\n2").await;
    for error in [
        half.get(None).await.unwrap_err(),
        half.get(Some(2..5)).await.unwrap_err(),
        half.steward.get("a", 100).await.unwrap_err(),
        half.steward.list("").await.unwrap_err(),
        part.get(Some(2..5)).await.unwrap_err(),
        part.steward.get_range("a", 2..5).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Unclear { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_given_up() {
    let late = || Arc::new(Late { clock: SystemClock::new(), waits: AtomicUsize::new(0) });
    let says = Says::Part("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123");
    for error in [
        server(says, late()).await.get(None).await.unwrap_err(),
        server(says, late()).await.steward.get("a", 100).await.unwrap_err(),
        server(says, late()).await.steward.get_range("a", 1..9).await.unwrap_err(),
        server(says, late()).await.steward.list("").await.unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Unclear { reason, .. } if reason.contains("nothing moved")), "{error:?}");
    }
    // A refusal counts although its words never come.
    let says = Says::Part("HTTP/1.1 403 No\r\ncontent-length: 100\r\n\r\n<Err");
    let error = server(says, late()).await.get(None).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
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
    let silent = server(Says::Nothing, Arc::new(Hasty(SystemClock::new()))).await;
    for (what, error) in silent.all().await {
        assert!(
            matches!(&error, StoreError::Unclear { reason, .. } if reason.contains("nothing moved")),
            "{what}: {error}"
        );
    }
}

#[tokio::test]
async fn a_storage_that_is_not_there_is_unclear() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let storages = S3Storages::new(Arc::new(SystemClock::new()), Arc::new(ThreadPool::new().unwrap()));
    let credential = StorageCredential::new("access", "secret");
    let steward = storages.steward(&storage(endpoint, "bucket", ""), &credential).unwrap();
    for error in [steward.head("a").await.unwrap_err(), steward.get("a", 1).await.unwrap_err()] {
        assert!(matches!(&error, StoreError::Unclear { reason, .. } if reason.contains("refused")), "{error}");
    }
}
