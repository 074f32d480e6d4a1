//! The one UDP socket of a node: dials and accepts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use env::Env;
use protocol::{failure::Failure, ids::PublicKey, limits, wire};
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TransportConfig, VarInt};

use super::{
    peer::{CLOSE_DONE, Peer},
    tls::Credentials,
};
use crate::identity::Identity;

/// How soon a connection notices that the other side is gone. The shorter of the
/// two sides' choices holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Work is under way, and fail-over must be quick (DESIGN: within 5 seconds).
    Busy,
    /// One of very many connections that mostly wait.
    Idle,
}

impl Pace {
    const fn keep_alive(self) -> Duration {
        match self {
            Self::Busy => Duration::from_millis(700),
            Self::Idle => Duration::from_secs(10),
        }
    }

    const fn idle_timeout_ms(self) -> u32 {
        match self {
            Self::Busy => 2_500,
            Self::Idle => 30_000,
        }
    }

    /// `streams`: how many the other side may open. One that dials answers no calls;
    /// one that is dialed allows more once it knows who dialed.
    fn transport(self, streams: u32, window_bytes: u32) -> Arc<TransportConfig> {
        let mut config = TransportConfig::default();
        config.max_idle_timeout(Some(VarInt::from_u32(self.idle_timeout_ms()).into()));
        config.keep_alive_interval(Some(self.keep_alive()));
        config.max_concurrent_bidi_streams(VarInt::from_u32(streams));
        config.max_concurrent_uni_streams(VarInt::from_u32(streams));
        config.receive_window(VarInt::from_u32(window_bytes));
        config.datagram_receive_buffer_size(None);
        Arc::new(config)
    }
}

/// Dials and accepts over one socket.
#[derive(Clone)]
pub struct Endpoint {
    quinn: quinn::Endpoint,
    credentials: Arc<Credentials>,
    env: Env,
}

impl Endpoint {
    /// Binds `listen`. With `accepts`, others can dial it.
    pub fn bind(env: &Env, identity: &Identity, listen: SocketAddr, accepts: bool) -> Result<Self, Failure> {
        let refuse = |error: std::io::Error| {
            Failure::internal(format!("cannot listen on {listen}: {error}; is another program using that port?"))
        };
        let credentials = Arc::new(Credentials::new(identity)?);
        // A reset key that survives restarts: a node that came back answers packets of
        // its old life with a stateless reset, and peers drop the dead connection at once.
        let reset_seed = blake3::derive_key("nuthatch 2026 stateless reset", identity.tls_seed());
        let reset = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset_seed);
        let mut config = EndpointConfig::new(Arc::new(reset));
        config.rng_seed(Some(env.rng.array()));
        let server = accepts.then(|| credentials.server()).transpose()?.map(|crypto| {
            let mut server = ServerConfig::with_crypto(Arc::new(crypto));
            server.transport_config(Pace::Idle.transport(limits::STREAMS_PER_STRANGER_MAX, limits::WINDOW_BYTES_MIN));
            server
        });
        let socket = env.net.bind(listen).map_err(refuse)?;
        let quinn =
            quinn::Endpoint::new_with_abstract_socket(config, server, socket, env.net.runtime()).map_err(refuse)?;
        Ok(Self { quinn, credentials, env: env.clone() })
    }

    /// The address it is bound to.
    pub fn address(&self) -> Result<SocketAddr, Failure> {
        self.quinn.local_addr().map_err(|error| Failure::internal(format!("the socket has no address: {error}")))
    }

    /// Waits for the next dialer. None once the endpoint is closed.
    pub(super) async fn accept(&self) -> Option<quinn::Incoming> {
        self.quinn.accept().await
    }

    /// Dials `host:port`, trying each of its addresses, no longer than `patience`
    /// in all. `expected` pins the callee's key.
    pub async fn dial(
        &self,
        address: &str,
        expected: Option<PublicKey>,
        pace: Pace,
        patience: Duration,
    ) -> Result<Peer, Failure> {
        let unreachable = |reason: &str| Failure::retry(format!("cannot reach {address}: {reason}"));
        let dial = async {
            let candidates = self.env.net.resolve(address).await.map_err(|error| unreachable(&error.to_string()))?;
            let mut last = unreachable("the name has no address");
            for candidate in candidates {
                match self.dial_one(candidate, expected, pace).await {
                    Ok(peer) => return Ok(peer),
                    Err(reason) => last = unreachable(&reason),
                }
            }
            Err(last)
        };
        tokio::time::timeout(patience, dial).await.map_err(|_| unreachable("no answer"))?
    }

    async fn dial_one(&self, address: SocketAddr, expected: Option<PublicKey>, pace: Pace) -> Result<Peer, String> {
        let crypto = self.credentials.client(expected).map_err(|failure| failure.message)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(pace.transport(0, limits::WINDOW_BYTES_MAX));
        let connecting =
            self.quinn.connect_with(config, address, wire::SERVER_NAME).map_err(|error| error.to_string())?;
        let connection = connecting.await.map_err(|error| error.to_string())?;
        Peer::of(connection).map_err(|failure| failure.message)
    }

    /// Says goodbye on every connection and stops accepting.
    pub async fn close(&self) {
        self.quinn.close(CLOSE_DONE, b"shutting down");
        // Peers that do not answer the goodbye are not waited for long.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.quinn.wait_idle()).await;
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({:?})", self.quinn.local_addr())
    }
}
