//! The network of a node: UDP sockets for quinn, and the runtime that drives them.

use std::{fmt, io, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use quinn::{AsyncUdpSocket, Runtime};

/// Opens UDP sockets.
#[async_trait]
pub trait Net: Send + Sync {
    /// Binds a socket. Port 0 asks for any free one.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;
    /// Timers and tasks for quinn.
    fn runtime(&self) -> Arc<dyn Runtime>;
    /// The addresses of `host:port`, in order of preference.
    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>>;
}

impl fmt::Debug for dyn Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}
