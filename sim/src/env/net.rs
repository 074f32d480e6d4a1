//! The network of a simulated machine, as quinn sees it.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use async_trait::async_trait;
use quinn::{
    AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use crate::kernel::{Life, network::Inbox};

/// Opens sockets on the simulated network.
#[derive(Debug)]
pub struct SimNet(Life);

impl SimNet {
    /// The network as this life reaches it.
    pub fn new(life: Life) -> Self {
        Self(life)
    }
}

#[async_trait]
impl env::Net for SimNet {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let (address, inbox) = self.0.bind(address)?;
        Ok(Arc::new(Socket { life: self.0.clone(), address, inbox }))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(Tasks)
    }

    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host_and_port.parse() {
            return Ok(vec![address]);
        }
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("{host_and_port:?} is not host:port"));
        let (host, port) = host_and_port.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let found: Option<IpAddr> = self.0.kernel().network(|network| network.resolve(host));
        let address = found
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no host of the name {host:?}")))?;
        Ok(vec![SocketAddr::new(address, port)])
    }
}

/// A bound socket; dropping it frees the address.
#[derive(Debug)]
struct Socket {
    life: Life,
    address: SocketAddr,
    inbox: Arc<Inbox>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.life.unbind(self.address);
    }
}

/// A simulated socket always takes what is sent.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.life.send(self.address, transmit.destination, transmit.contents);
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((from, packet)) = self.inbox.take(context.waker()) else { break };
            // What does not fit is cut off, as the kernel's own sockets do.
            let length = packet.len().min(buffer.len());
            buffer[..length].copy_from_slice(&packet[..length]);
            *meta = RecvMeta::default();
            meta.addr = from;
            meta.len = length;
            meta.stride = length;
            received += 1;
        }
        if received == 0 { Poll::Pending } else { Poll::Ready(Ok(received)) }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Runs quinn's tasks and timers on the node's runtime.
#[derive(Debug)]
struct Tasks;

#[derive(Debug)]
struct Timer(Pin<Box<tokio::time::Sleep>>);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.as_mut().reset(at.into());
    }
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Said in full: with quinn's own tokio runtime compiled in, there are two of this name.
        Future::poll(self.0.as_mut(), context)
    }
}

impl Runtime for Tasks {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(Box::pin(tokio::time::sleep_until(at.into()))))
    }

    #[expect(clippy::disallowed_methods, reason = "quinn owns these tasks; they end with its endpoint")]
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
