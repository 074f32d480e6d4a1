//! UDP sockets for QUIC, and name lookups.

use std::{io, net::SocketAddr, net::UdpSocket, sync::Arc};

use ::env::Net;
use async_trait::async_trait;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use rustix::net::sockopt;

/// Bytes that the kernel should hold for a socket, each way: a burst of gossip and
/// calls from many clients fits while this process is not running.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The machine's network.
#[derive(Debug, Clone, Copy)]
pub struct UdpNet;

#[async_trait]
impl Net for UdpNet {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        enlarge_buffers(&socket);
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }

    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(host_and_port).await?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host_and_port} has no address")));
        }
        Ok(addresses)
    }
}

/// Asks for large buffers: beyond the system's limit if this process may, and
/// otherwise up to it. Small ones only cost packets under load.
fn enlarge_buffers(socket: &UdpSocket) {
    let receive = sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER_BYTES)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER_BYTES));
    let send = sockopt::set_socket_send_buffer_size_force(socket, SOCKET_BUFFER_BYTES)
        .or_else(|_| sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER_BYTES));
    if let Err(error) = receive.and(send) {
        tracing::debug!(%error, "socket buffers stay as they are");
    }
}
