//! The object storage as nodes reach it: the two halves of `env::store`.
//!
//! Invariant: a request that has left a node is no longer its own. It arrives,
//! late perhaps, and takes effect even if its sender has died or given up.

pub mod object;
pub mod ticket;

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use env::store::{Carrier, Steward, Storages, StoreError};
pub use object::{ObjectStore, Reply, Request, Rule, address, sha256};
use protocol::{
    ids::Sha256,
    limits,
    names::is_path,
    records::{Storage, StorageCredential},
    time::UnixMillis,
    wire::{PutTicket, ReadTicket},
};
use tokio::{sync::oneshot, time::timeout};

use crate::kernel::{
    Event, Life, clock,
    fault::{Method, Moment},
};

/// How long a client waits for the answer to one request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Connects a node to the storage.
#[derive(Debug)]
pub struct SimStorages {
    life: Life,
    store: Arc<ObjectStore>,
}

impl SimStorages {
    /// The storage as this life reaches it.
    pub fn new(life: Life, store: Arc<ObjectStore>) -> Self {
        Self { life, store }
    }

    fn line(&self) -> Line {
        Line { life: self.life.clone(), store: Arc::clone(&self.store) }
    }
}

impl Storages for SimStorages {
    fn carrier(&self, storage: &Storage) -> Result<Arc<dyn Carrier>, StoreError> {
        Ok(Arc::new(SimCarrier { line: self.line(), storage: storage.clone() }))
    }

    fn steward(&self, storage: &Storage, credential: &StorageCredential) -> Result<Arc<dyn Steward>, StoreError> {
        Ok(Arc::new(SimSteward { line: self.line(), storage: storage.clone(), credential: credential.clone() }))
    }
}

/// The way from one life to the storage and back.
#[derive(Debug, Clone)]
struct Line {
    life: Life,
    store: Arc<ObjectStore>,
}

impl Line {
    /// Sends a request and waits for its answer, for a while. The error says what happened.
    async fn ask(&self, request: Request) -> Result<Reply, String> {
        let (give, take) = oneshot::channel();
        self.send(request, give);
        match timeout(ANSWER_TIMEOUT, take).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err("the connection was closed".to_owned()),
            Err(_) => Err(format!("no answer in {} s", ANSWER_TIMEOUT.as_secs())),
        }
    }

    fn send(&self, request: Request, give: oneshot::Sender<Reply>) {
        if self.life.is_over() {
            return;
        }
        let (method, size) = (request.method, request.body.len());
        self.life.note(format_args!("storage < {method:?} {} {size} bytes", request.target));
        let leg = Duration::from_micros(self.store.draw_leg_us());
        let line = self.clone();
        let arrive = move || {
            line.arrive(request, give);
            None
        };
        self.life.kernel().schedule_in(leg, Event::Act(Box::new(arrive)));
        self.life.moment(Moment::AfterStorageRequest);
    }

    fn arrive(self, request: Request, give: oneshot::Sender<Reply>) {
        let (kernel, node) = (Arc::clone(self.life.kernel()), self.life.node());
        if !self.store.is_reachable(node) {
            // Kept open without an answer until the client gives up.
            let keep = move || {
                drop(give);
                None
            };
            return kernel.schedule_in(2 * ANSWER_TIMEOUT, Event::Act(Box::new(keep)));
        }
        let now = UnixMillis((clock::EPOCH_NS + kernel.now_ns()) / 1_000_000);
        let (method, target) = (request.method, request.target.clone());
        let reply = self.store.execute(node, request, now);
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        self.life.note(format_args!("storage > {method:?} {target} {status}"));
        let leg = Duration::from_micros(self.store.draw_leg_us());
        let answer = move || match reply {
            Some(reply) if self.store.is_reachable(node) && !self.life.is_over() => {
                give.send(reply).ok().map(|()| node)
            }
            _ => {
                let keep = move || {
                    drop(give);
                    None
                };
                self.life.kernel().schedule_in(2 * ANSWER_TIMEOUT, Event::Act(Box::new(keep)));
                None
            }
        };
        kernel.schedule_in(leg, Event::Act(Box::new(answer)));
    }
}

/// What an answer means to the caller.
fn judge(what: &str, answer: Result<Reply, String>) -> Result<Reply, StoreError> {
    let what = what.to_owned();
    match answer {
        Err(reason) => Err(StoreError::Unclear { what, reason }),
        Ok(reply) => match reply.status {
            200..300 if (reply.body.len() as u64) < reply.length && !reply.body.is_empty() => {
                Err(StoreError::Unclear { what, reason: "the reply was cut short".to_owned() })
            }
            200..300 => Ok(reply),
            404 => Err(StoreError::NotFound { what }),
            412 => Err(StoreError::Exists { what }),
            507 => Err(StoreError::Full { what, answer: reply.code.to_owned() }),
            500.. => Err(StoreError::Unclear { what, reason: format!("{} {}", reply.status, reply.code) }),
            status => Err(StoreError::Refused { what, answer: format!("{status} {}", reply.code) }),
        },
    }
}

/// The client's half.
#[derive(Debug)]
struct SimCarrier {
    line: Line,
    storage: Storage,
}

#[async_trait]
impl Carrier for SimCarrier {
    async fn put(&self, ticket: &PutTicket, body: Bytes) -> Result<(), StoreError> {
        if body.len() as u64 != ticket.len {
            let reason = format!("the body of {} has {} bytes, not {}", ticket.path, body.len(), ticket.len);
            return Err(StoreError::Invalid { reason });
        }
        let host = address(&self.storage, "");
        let host = host.split('/').next().unwrap_or_default();
        let target = format!("{host}{}", ticket.path);
        check_place(&self.storage, target.split('?').next().unwrap_or_default())?;
        let request =
            Request { method: Method::Put, target, query: None, headers: ticket.headers.clone(), body, range: None };
        judge(&ticket.path, self.line.ask(request).await).map(drop)
    }

    async fn get(&self, ticket: &ReadTicket, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let (target, query) = ticket::parse_url(&ticket.url)
            .ok_or_else(|| StoreError::Invalid { reason: "a read ticket is not a signed URL".to_owned() })?;
        check_place(&self.storage, &target)?;
        let what = target.clone();
        let request =
            Request { method: Method::Get, target, query: Some(query), headers: Vec::new(), body: Bytes::new(), range };
        read(&what, self.line.ask(request).await)
    }
}

/// Whether a ticket leads into this repository.
fn check_place(storage: &Storage, target: &str) -> Result<(), StoreError> {
    let root = format!("{}/", address(storage, ""));
    match target.strip_prefix(&root).is_some_and(is_path) {
        true => Ok(()),
        false => Err(StoreError::Invalid { reason: format!("the ticket for {target} is not for this repository") }),
    }
}

/// The bytes of an answer to a GET. A range past the end of an object is empty.
fn read(what: &str, answer: Result<Reply, String>) -> Result<Bytes, StoreError> {
    match answer {
        Ok(reply) if reply.status == 416 => Ok(Bytes::new()),
        // One byte of which half arrived is none.
        Ok(reply) if reply.status == 200 && reply.body.is_empty() && reply.length > 0 => {
            Err(StoreError::Unclear { what: what.to_owned(), reason: "the reply was cut short".to_owned() })
        }
        answer => judge(what, answer).map(|reply| reply.body),
    }
}

/// The orchestrator's half.
#[derive(Debug)]
struct SimSteward {
    line: Line,
    storage: Storage,
    credential: StorageCredential,
}

impl SimSteward {
    /// The address of an object; an error if no storage could have it.
    fn target(&self, path: &str) -> Result<String, StoreError> {
        let key = self.storage.prefix.len() + path.len() + 1;
        if is_path(path) && key <= limits::OBJECT_PATH_BYTES_MAX {
            Ok(address(&self.storage, path))
        } else {
            Err(StoreError::Invalid { reason: format!("{path:?} is not the path of an object") })
        }
    }

    async fn ask(&self, method: Method, target: &str, body: Bytes) -> Result<Reply, String> {
        self.line.ask(self.signed(method, target, body)).await
    }

    fn signed(&self, method: Method, target: &str, body: Bytes) -> Request {
        let now = UnixMillis(self.line.life.wall_ns() / 1_000_000);
        let size = (body.len() as u64, &sha256(&body));
        let headers = ticket::sign(&self.credential, method, target, size, now);
        Request { method, target: target.to_owned(), query: None, headers, body, range: None }
    }
}

#[async_trait]
impl Steward for SimSteward {
    fn mint_put(&self, path: &str, len: u64, hash: &Sha256, now: UnixMillis) -> Result<PutTicket, StoreError> {
        if len == 0 || len > limits::OBJECT_BYTES_MAX as u64 {
            return Err(StoreError::Invalid { reason: format!("no ticket is minted for {len} bytes") });
        }
        self.target(path)?;
        Ok(ticket::mint_put(&self.storage, &self.credential, path, len, hash, now))
    }

    fn mint_get(&self, path: &str, now: UnixMillis) -> Result<ReadTicket, StoreError> {
        self.target(path)?;
        Ok(ticket::mint_get(&self.storage, &self.credential, path, now))
    }

    async fn head(&self, path: &str) -> Result<u64, StoreError> {
        let target = self.target(path)?;
        Ok(judge(path, self.ask(Method::Head, &target, Bytes::new()).await)?.length)
    }

    async fn get(&self, path: &str, len_max: usize) -> Result<Bytes, StoreError> {
        let target = self.target(path)?;
        let bytes = read(path, self.ask(Method::Get, &target, Bytes::new()).await)?;
        if bytes.len() > len_max {
            let reason = format!("{path} has {} bytes, more than the {len_max} expected", bytes.len());
            return Err(StoreError::Invalid { reason });
        }
        Ok(bytes)
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let target = self.target(path)?;
        let request = Request { range: Some(range), ..self.signed(Method::Get, &target, Bytes::new()) };
        read(path, self.line.ask(request).await)
    }

    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        let target = self.target(path)?;
        judge(path, self.ask(Method::Put, &target, body).await).map(drop)
    }

    async fn list(&self, path: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let root = format!("{}/", address(&self.storage, ""));
        let below = match path.trim_matches('/') {
            "" => root.clone(),
            path => format!("{root}{path}/"),
        };
        let reply = judge(path, self.ask(Method::List, &below, Bytes::new()).await)?;
        let relative = |(target, len): (String, u64)| Some((target.strip_prefix(&root)?.to_owned(), len));
        Ok(reply.names.into_iter().filter_map(relative).collect())
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let target = self.target(path)?;
        judge(path, self.ask(Method::Delete, &target, Bytes::new()).await).map(drop)
    }
}
