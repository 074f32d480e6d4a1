//! QUIC between nodes: who they are, how they call each other.

pub mod connections;
pub mod endpoint;
pub mod peer;
pub mod peers;
pub mod server;
pub mod tls;

pub use connections::{Connections, Rank, Ranks};
pub use endpoint::{Endpoint, Pace};
pub use peer::Peer;
pub use peers::Peers;
pub use server::{Incoming, Meter, Service};
