//! One connection to one peer, and calls over it.

use std::time::Duration;

use protocol::{
    codec,
    failure::{Code, Failure},
    ids::PublicKey,
    limits,
    wire::{Answer, Call, Envelope},
};
use quinn::{Connection, ConnectionError, VarInt};

use super::tls;

/// Closed because its owner is done with it.
pub(crate) const CLOSE_DONE: VarInt = VarInt::from_u32(0);
/// Closed because the peer does not (or no longer) belong here.
pub(crate) const CLOSE_DENIED: VarInt = VarInt::from_u32(1);
/// Closed because there is no room.
pub(crate) const CLOSE_FULL: VarInt = VarInt::from_u32(3);
/// Closed because nothing came back in time.
pub(crate) const CLOSE_SILENT: VarInt = VarInt::from_u32(2);

/// A peer that has proved to hold `key`.
#[derive(Debug, Clone)]
pub struct Peer {
    connection: Connection,
    key: PublicKey,
}

impl Peer {
    /// The peer of an established connection.
    pub(super) fn of(connection: Connection) -> Result<Self, Failure> {
        let key = tls::peer_key(&connection)
            .ok_or_else(|| Failure::denied("the peer showed no certificate with an Ed25519 key"))?;
        Ok(Self { connection, key })
    }

    /// The key that it has proved to hold.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether calls can still be made.
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Ends the connection: calls under way fail at once.
    pub fn close(&self) {
        self.connection.close(CLOSE_DONE, b"done");
    }

    /// Calls, and waits for the reply no longer than `patience`.
    ///
    /// Fails with `Retry` if the request may or may not have been carried out.
    pub async fn call<C: Call>(&self, call: C, patience: Duration) -> Result<C::Reply, Failure> {
        self.ask(call, patience).await?
    }

    /// Like `call`, telling what the peer answered (inside) from what became of the
    /// request on its way (outside).
    pub(super) async fn ask<C: Call>(&self, call: C, patience: Duration) -> Result<Result<C::Reply, Failure>, Failure> {
        let request = call.into();
        let name = request.name();
        let patience_ms = patience.as_millis().try_into().unwrap_or(u32::MAX);
        let frame = codec::encode(&Envelope { patience_ms, request });
        if frame.len() > limits::FRAME_BYTES_MAX {
            return Ok(Err(Failure::invalid(format!("a {name} request of {} bytes is too large", frame.len()))));
        }
        let bytes = tokio::time::timeout(patience, self.exchange(&frame))
            .await
            .map_err(|_| Failure::retry(format!("no reply to {name} within {patience:?}")))?
            .map_err(|reason| self.broken(name, &reason))?;
        let answer = codec::decode::<Answer>("reply", &bytes).unwrap_or_else(|error| Err(error.into()));
        Ok(answer.and_then(|reply| {
            let other = || Failure::new(Code::Corrupt, format!("the peer answered {name} with something else"));
            C::reply(reply).ok_or_else(other)
        }))
    }

    /// Why a call failed with its connection: a peer that turned us away said so.
    fn broken(&self, name: &str, reason: &str) -> Failure {
        match self.connection.close_reason() {
            Some(ConnectionError::ApplicationClosed(close)) if close.error_code == CLOSE_DENIED => {
                Failure::denied(format!("the orchestrator refuses us: {}", String::from_utf8_lossy(&close.reason)))
            }
            _ => Failure::retry(format!("the connection broke during {name}: {reason}")),
        }
    }

    async fn exchange(&self, frame: &[u8]) -> Result<Vec<u8>, String> {
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(|error| error.to_string())?;
        send.write_all(frame).await.map_err(|error| error.to_string())?;
        send.finish().map_err(|error| error.to_string())?;
        receive.read_to_end(limits::FRAME_BYTES_MAX).await.map_err(|error| error.to_string())
    }

    /// Sends one gossip message. Lost silently if the connection breaks, as a datagram would be.
    pub(crate) async fn gossip(&self, message: &[u8]) {
        let Ok(mut send) = self.connection.open_uni().await else { return };
        if send.write_all(message).await.is_ok() {
            let _ = send.finish();
        }
    }

    /// Keying material of the TLS session, as RFC 8446 section 7.5 exports it.
    pub fn exporter(&self, label: &[u8]) -> Result<[u8; 32], Failure> {
        exporter(&self.connection, label)
    }
}

/// Keying material of a connection's TLS session.
pub(crate) fn exporter(connection: &Connection, label: &[u8]) -> Result<[u8; 32], Failure> {
    let mut output = [0; 32];
    connection
        .export_keying_material(&mut output, label, b"")
        .map_err(|_| Failure::internal("cannot export keying material from TLS"))?;
    Ok(output)
}
