//! QUIC between nodes: who they are, how they call each other.

pub mod endpoint;
pub mod peer;
pub mod peers;
pub mod server;
pub mod tls;

pub use endpoint::{Endpoint, Pace};
pub use peer::Peer;
pub use peers::Peers;
pub use server::{Connections, Incoming, Meter, Service};
