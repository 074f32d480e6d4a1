//! The seams of `env` for a program that plays clients and operators: the real machine's, but for randomness that comes
//! from a seed and sockets that are small enough for very many.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use ::env::{Env, Net, Rng};
use ::node::env::{CacheSettings, EnvSettings, RealEnv};
use async_trait::async_trait;
use quinn::{
    AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::net::UdpSocket;

use crate::trouble::Trouble;

/// No client here reads index pages.
const CACHE_BYTES: usize = 1 << 20;

/// The machine, and what has to be closed at the end.
pub struct Machine {
    real: RealEnv,
    rng: Arc<Seeded>,
}

impl Machine {
    /// Opens it, with the operator's data in `work`.
    pub async fn open(work: &Path, rng: Seeded) -> Result<Self, Trouble> {
        let cache = CacheSettings { directory: None, memory_bytes: CACHE_BYTES, disk_bytes: 0 };
        let settings = EnvSettings { data: work.join("operator"), cache };
        let real = RealEnv::open(&settings).await.map_err(|error| Trouble::about("work in", work, &error))?;
        Ok(Self { real, rng: Arc::new(rng) })
    }

    /// The operator's seams.
    pub fn env(&self) -> Env {
        Env { rng: self.rng.clone(), net: Arc::new(SmallSockets), ..self.real.env().clone() }
    }
}

/// Randomness from a seed and a name: BLAKE3, as long as is needed. Fit for keys that open
/// nothing.
pub struct Seeded(Mutex<blake3::OutputReader>);

impl Seeded {
    /// The randomness of this name.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nuthatch 2026 load benchmark");
        hasher.update(&seed.to_le_bytes()).update(name.as_bytes());
        Self(Mutex::new(hasher.finalize_xof()))
    }
}

impl Rng for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

/// Sockets that take one datagram at a time. The product's take many at once, for which
/// quinn holds three megabytes with each: right for one, and not for ten thousand.
#[derive(Debug)]
struct SmallSockets;

#[async_trait]
impl Net for SmallSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Arc::new(Small(UdpSocket::from_std(socket)?)))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }

    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        let parsed = host_and_port.parse();
        parsed.map(|address| vec![address]).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }
}

#[derive(Debug)]
struct Small(UdpSocket);

#[derive(Debug)]
struct Poller(Arc<Small>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.0.poll_send_ready(context)
    }
}

impl AsyncUdpSocket for Small {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send_to(transmit.contents, transmit.destination).map(drop)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), metas.first_mut()) else { return Poll::Ready(Ok(0)) };
        let mut buffer = tokio::io::ReadBuf::new(buffer);
        let Poll::Ready(from) = self.0.poll_recv_from(context, &mut buffer)? else { return Poll::Pending };
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, buffer.filled().len(), buffer.filled().len());
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
