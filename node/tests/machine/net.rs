//! Sockets and names.

use std::{io::IoSliceMut, net::SocketAddr, sync::Arc, task::Poll};

use env::Net as _;
use node::env::UdpNet;
use quinn::{AsyncUdpSocket, udp};

const ANY: &str = "127.0.0.1:0";

#[tokio::test]
async fn datagrams_travel_between_two_sockets() {
    let bind = || UdpNet.bind(ANY.parse().unwrap()).unwrap();
    let (from, to): (Arc<dyn AsyncUdpSocket>, _) = (bind(), bind());
    let transmit = udp::Transmit {
        destination: to.local_addr().unwrap(),
        ecn: None,
        contents: b"hello",
        segment_size: None,
        src_ip: None,
    };
    let mut poller = from.clone().create_io_poller();
    std::future::poll_fn(|context| poller.as_mut().poll_writable(context)).await.unwrap();
    from.try_send(&transmit).unwrap();
    let mut buffer = [0; 1500];
    let (address, len) = std::future::poll_fn(|context| {
        let mut meta = [udp::RecvMeta::default()];
        match to.poll_recv(context, &mut [IoSliceMut::new(&mut buffer)], &mut meta) {
            Poll::Ready(received) => Poll::Ready(received.map(|_| (meta[0].addr, meta[0].len)).unwrap()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    assert_eq!((address, &buffer[..len]), (from.local_addr().unwrap(), &b"hello"[..]));
}

#[tokio::test]
async fn a_port_is_bound_once() {
    let first = UdpNet.bind(ANY.parse().unwrap()).unwrap();
    UdpNet.bind(first.local_addr().unwrap()).unwrap_err();
}

#[tokio::test]
async fn names_and_addresses_resolve() {
    let expected: SocketAddr = "127.0.0.1:4242".parse().unwrap();
    assert_eq!(UdpNet.resolve("127.0.0.1:4242").await.unwrap(), [expected]);
    assert!(UdpNet.resolve("localhost:4242").await.unwrap().iter().all(|address| address.ip().is_loopback()));
    UdpNet.resolve("127.0.0.1").await.unwrap_err();
}
