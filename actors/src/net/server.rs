//! Serving: accepts connections and hands each call to a `Service`.
//!
//! Invariant: who a caller is comes from TLS, and is passed along with every
//! message, so that the service can ask its records anew each time.

use std::{sync::{Arc, atomic::{AtomicU64, Ordering}}, time::Duration};

use async_trait::async_trait;
use protocol::{
    codec,
    failure::{Code, Failure},
    ids::PublicKey,
    limits,
    wire::{Answer, Envelope, Request},
};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Semaphore;

use super::{endpoint::Endpoint, peer::{CLOSE_DENIED, exporter}, tls};
use crate::tasks::Tasks;

/// Connections whose handshake is under way: bounds what strangers can make us compute.
const HANDSHAKES_MAX: usize = 256;
/// How long a caller may take to send a request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// The longest that a request is worked on, whatever its caller says.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// One call as it came in.
pub struct Incoming {
    /// The key that the caller has proved to hold.
    pub caller: PublicKey,
    /// What it asks.
    pub request: Request,
    /// How long it will wait.
    pub patience: Duration,
    connection: Connection,
}

impl Incoming {
    /// Keying material of the caller's TLS session.
    pub fn exporter(&self, label: &[u8]) -> Result<[u8; 32], Failure> {
        exporter(&self.connection, label)
    }
}

/// Answers calls.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Answers one call.
    async fn answer(&self, incoming: Incoming) -> Answer;
    /// Takes one gossip message. Must not wait.
    fn gossip(&self, from: &PublicKey, message: Vec<u8>);
    /// Whether a connection with this key may stay open. Asked when it is made and
    /// again whenever `Connections::review` is called.
    fn admits(&self, key: &PublicKey) -> bool;
    /// A connection has ended, after receiving this many bytes (UDP payloads).
    fn left(&self, key: &PublicKey, received: u64);
}

/// The connections that others have made to this node.
#[derive(Clone, Default)]
pub struct Connections(Arc<std::sync::Mutex<Vec<(PublicKey, Connection)>>>);

impl Connections {
    fn with<R>(&self, look: impl FnOnce(&mut Vec<(PublicKey, Connection)>) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Keys with an open connection, and the bytes each has sent over it.
    pub fn open(&self) -> Vec<(PublicKey, u64)> {
        self.with(|all| all.iter().map(|(key, connection)| (*key, connection.stats().udp_rx.bytes)).collect())
    }

    /// Cuts every connection that the service does not admit any more.
    pub fn review(&self, service: &dyn Service) {
        self.with(|all| {
            for (key, connection) in all.iter() {
                if !service.admits(key) {
                    connection.close(CLOSE_DENIED, b"revoked");
                }
            }
        });
    }
}

/// Accepts connections until the endpoint is closed. Its tasks end with `tasks`.
pub async fn serve(endpoint: Endpoint, service: Arc<dyn Service>, connections: Connections, tasks: Tasks) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let (service, connections, inner) = (service.clone(), connections.clone(), tasks.clone());
        tasks.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            drop(permit);
            serve_connection(connection, service, connections, inner).await;
        });
    }
}

async fn serve_connection(connection: Connection, service: Arc<dyn Service>, connections: Connections, tasks: Tasks) {
    let Some(key) = tls::peer_key(&connection).filter(|key| service.admits(key)) else {
        connection.close(CLOSE_DENIED, b"this key is not welcome here");
        return;
    };
    connections.with(|all| all.push((key, connection.clone())));
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let Ok((send, receive)) = stream else { break };
                let (service, connection) = (service.clone(), connection.clone());
                tasks.spawn(serve_call(send, receive, key, service, connection));
            }
            stream = connection.accept_uni() => {
                let Ok(mut receive) = stream else { break };
                let service = service.clone();
                tasks.spawn(async move {
                    if let Ok(Ok(message)) =
                        tokio::time::timeout(REQUEST_PATIENCE, receive.read_to_end(limits::GOSSIP_BYTES_MAX)).await
                    {
                        service.gossip(&key, message);
                    }
                });
            }
        }
    }
    let stable = connection.stable_id();
    connections.with(|all| all.retain(|(_, other)| other.stable_id() != stable));
    service.left(&key, connection.stats().udp_rx.bytes);
}

async fn serve_call(
    mut send: SendStream,
    mut receive: RecvStream,
    caller: PublicKey,
    service: Arc<dyn Service>,
    connection: Connection,
) {
    let read = tokio::time::timeout(REQUEST_PATIENCE, receive.read_to_end(limits::FRAME_BYTES_MAX)).await;
    let answer = match read {
        Ok(Ok(bytes)) => match codec::decode::<Envelope>("request", &bytes) {
            Ok(Envelope { patience_ms, request }) => {
                let patience = Duration::from_millis(patience_ms.into()).min(PATIENCE_MAX);
                let name = request.name();
                let incoming = Incoming { caller, request, patience, connection };
                tokio::time::timeout(patience, service.answer(incoming))
                    .await
                    .unwrap_or_else(|_| Err(Failure::retry(format!("{name} took too long here"))))
            }
            Err(error) => Err(Failure::new(Code::Invalid, error.to_string())),
        },
        Ok(Err(error)) => Err(Failure::invalid(format!("the request did not arrive whole: {error}"))),
        Err(_) => Err(Failure::retry("the request did not arrive in time")),
    };
    let mut frame = codec::encode(&answer);
    if frame.len() > limits::FRAME_BYTES_MAX {
        let answer: Answer = Err(Failure::internal("the reply is larger than a frame may be"));
        frame = codec::encode(&answer);
    }
    if send.write_all(&frame).await.is_ok() {
        let _ = send.finish();
    }
}

/// Bytes received from peers of one kind, over connections open and closed.
#[derive(Debug, Default)]
pub struct Meter(AtomicU64);

impl Meter {
    /// Adds what a closed connection had received.
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
    /// What closed connections had received.
    pub fn closed(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
