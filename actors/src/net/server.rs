//! Serving: accepts connections and hands each call to a `Service`.
//!
//! Invariant: who a caller is comes from TLS, and is passed along with every
//! message, so that the service can ask its records anew each time. What a
//! connection asked for ends with it, and all connections end with `serve`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use protocol::{
    codec,
    failure::Failure,
    ids::PublicKey,
    limits,
    wire::{self, Answer, Envelope, Request},
};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::Semaphore;

use super::{
    connections::{Connections, Rank, Ranks},
    endpoint::Endpoint,
    peer::{CLOSE_DENIED, exporter},
    tls,
};
use crate::tasks::Tasks;

/// Connections whose handshake is under way: bounds what strangers can make us compute.
const HANDSHAKES_MAX: usize = 256;
/// From here on, callers must first show that they are where they say: a flood from
/// invented addresses then takes no place.
const HANDSHAKES_TRUSTING: usize = HANDSHAKES_MAX / 4;
/// How long a handshake may take: a few round trips, some of them lost.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a caller may take to send a request, and to read a reply.
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
pub trait Service: Ranks + Send + Sync + 'static {
    /// Answers one call. Dropped if its caller goes away.
    async fn answer(&self, incoming: Incoming) -> Answer;
    /// Takes one gossip message. Must not wait.
    fn gossip(&self, from: &PublicKey, message: Vec<u8>);
    /// A connection has ended, after receiving this many bytes (UDP payloads).
    fn left(&self, key: &PublicKey, received: u64);
}

/// Accepts connections until the endpoint is closed.
pub async fn serve(endpoint: Endpoint, service: Arc<dyn Service>, connections: Connections) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let open = Tasks::new();
    while let Some(incoming) = endpoint.accept().await {
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let crowded = handshakes.available_permits() < HANDSHAKES_MAX - HANDSHAKES_TRUSTING;
        if crowded && incoming.may_retry() && !incoming.remote_address_validated() {
            // It fails only for addresses that were validated.
            let _ = incoming.retry();
            continue;
        }
        let (service, connections) = (service.clone(), connections.clone());
        open.spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE_PATIENCE, incoming).await;
            drop(permit);
            if let Ok(Ok(connection)) = shaken {
                serve_connection(connection, service, connections).await;
            }
        });
    }
}

async fn serve_connection(connection: Connection, service: Arc<dyn Service>, connections: Connections) {
    let Some(key) = tls::peer_key(&connection) else {
        connection.close(CLOSE_DENIED, b"the certificate holds no Ed25519 key");
        return;
    };
    let Some(_place) = connections.add(key, &connection, &*service) else { return };
    let calls = Tasks::new();
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let Ok((send, receive)) = stream else { break };
                let (service, connection) = (service.clone(), connection.clone());
                calls.spawn(serve_call(send, receive, key, service, connection));
            }
            stream = connection.accept_uni() => {
                let Ok(mut receive) = stream else { break };
                if service.rank(&key) != Some(Rank::Member) {
                    // Already stopped, if this fails.
                    let _ = receive.stop(VarInt::from_u32(0));
                    continue;
                }
                let service = service.clone();
                calls.spawn(async move {
                    if let Ok(Ok(message)) =
                        tokio::time::timeout(REQUEST_PATIENCE, receive.read_to_end(limits::GOSSIP_BYTES_MAX)).await
                    {
                        service.gossip(&key, message);
                    }
                });
            }
        }
    }
    service.left(&key, connection.stats().udp_rx.bytes);
}

async fn serve_call(
    mut send: SendStream,
    mut receive: RecvStream,
    caller: PublicKey,
    service: Arc<dyn Service>,
    connection: Connection,
) {
    let rank = service.rank(&caller);
    let bytes_max = rank.unwrap_or(Rank::Stranger).request_bytes_max();
    let read = tokio::time::timeout(REQUEST_PATIENCE, receive.read_to_end(bytes_max)).await;
    let answer = match read {
        Ok(Ok(bytes)) => match wire::read_call(&bytes) {
            Ok(Envelope { patience_ms, request }) => {
                let patience = Duration::from_millis(patience_ms.into()).min(PATIENCE_MAX);
                let name = request.name();
                let incoming = Incoming { caller, request, patience, connection };
                tokio::time::timeout(patience, service.answer(incoming))
                    .await
                    .unwrap_or_else(|_| Err(Failure::retry(format!("{name} took too long here"))))
            }
            Err(failure) => Err(failure),
        },
        // It may be longer than a stranger's because a member sent it.
        Ok(Err(error)) if rank.is_none() => Err(Failure::retry(format!("the request was not read here: {error}"))),
        Ok(Err(error)) => Err(Failure::invalid(format!("the request did not arrive whole: {error}"))),
        Err(_) => Err(Failure::retry("the request did not arrive in time")),
    };
    let mut frame = codec::encode(&answer);
    if frame.len() > limits::FRAME_BYTES_MAX {
        let answer: Answer = Err(Failure::internal("the reply is larger than a frame may be"));
        frame = codec::encode(&answer);
    }
    // A caller that does not read its reply must not keep it here.
    if let Ok(Ok(())) = tokio::time::timeout(REQUEST_PATIENCE, send.write_all(&frame)).await {
        let _ = send.finish();
    } else {
        let _ = send.reset(VarInt::from_u32(0));
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
