//! What this scenario's clients and servers say to each other: one request and
//! one reply per QUIC stream.

use anyhow::Context;
use protocol::{
    ids::Sha256,
    wire::{PutTicket, ReadTicket},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Largest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Keep a value, and answer once it is durable.
    Put {
        /// Under which key; none is used twice.
        key: u64,
        /// The value.
        value: Vec<u8>,
    },
    /// Keep a value, durable or not.
    PutLazily {
        /// Under which key; none is used twice.
        key: u64,
        /// The value.
        value: Vec<u8>,
    },
    /// Return a value.
    Get {
        /// Of which key.
        key: u64,
    },
    /// The right to store an object.
    MintPut {
        /// Where.
        path: String,
        /// How long it is.
        len: u64,
        /// What it is.
        hash: Sha256,
    },
    /// The right to read an object.
    MintGet {
        /// Which.
        path: String,
    },
}

/// What a server answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// It is kept, as asked.
    Kept,
    /// What stands under the key.
    Value(Option<Vec<u8>>),
    /// The right to store.
    PutTicket(PutTicket),
    /// The right to read.
    ReadTicket(ReadTicket),
    /// It could not be done.
    Failed(String),
}

/// Writes one message and ends the stream.
pub async fn send<T: Serialize>(stream: &mut quinn::SendStream, message: &T) -> anyhow::Result<()> {
    stream.write_all(&postcard::to_allocvec(message)?).await?;
    stream.finish().context("ending a stream")
}

/// Reads one message up to the end of the stream.
pub async fn receive<T: DeserializeOwned>(stream: &mut quinn::RecvStream) -> anyhow::Result<T> {
    let bytes = stream.read_to_end(MESSAGE_BYTES_MAX).await?;
    postcard::from_bytes(&bytes).context("reading a message")
}
