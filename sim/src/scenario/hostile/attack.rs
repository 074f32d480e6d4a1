//! What should never be sent.

use std::{net::SocketAddr, time::Duration};

use actors::net::Peer;
use env::Env;
use protocol::{
    commands::Command,
    ids::{ClientId, Hash, LeaseId, PublicKey},
    limits,
    reconcile::{Prefix, Probe},
    sign::{self, Signed, Signer},
    wire,
};

/// How long is waited for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What strangers send: half a request, nonsense, too much of it, and gossip. The
/// first stays open as long as the connection.
pub async fn as_stranger(env: &Env, peer: &Peer) -> anyhow::Result<Vec<quinn::SendStream>> {
    let noise: [u8; 64] = env.rng.array();
    let (mut half, _) = peer.connection().open_bi().await?;
    half.write_all(&noise[..7]).await?;
    let (mut nonsense, mut answer) = peer.connection().open_bi().await?;
    nonsense.write_all(&noise).await?;
    nonsense.finish()?;
    // An answer or the end of the stream: both are right, and so is being cut off.
    let _ = answer.read_to_end(limits::FRAME_BYTES_MAX).await;
    let mut gossip = peer.connection().open_uni().await?;
    let _ = gossip.write_all(&poison(SocketAddr::from(([10, 0, 0, 9], 7400)))).await;
    Ok(vec![half])
}

/// What an orchestrator sends that was taken over.
pub async fn as_orchestrator(env: &Env, peer: &Peer, own: SocketAddr) -> anyhow::Result<()> {
    let noise: [u8; 64] = env.rng.array();
    for message in [noise.to_vec(), poison(own), poison(own)] {
        let mut gossip = peer.connection().open_uni().await?;
        gossip.write_all(&message).await?;
        gossip.finish()?;
    }
    let signed = Signed::new(&Signer::from_seed(&[1; 32]), sign::RECORD, noise.to_vec());
    let forged = Signed { author: PublicKey([1; 32]), ..signed };
    let close = Command::Close { client: ClientId([1; 16]), lease: LeaseId { incarnation: 1, index: 1 } };
    let large = Command::Admit { keyset: Signed { body: vec![0; limits::ENTRY_BYTES_MAX], ..forged.clone() } };
    let probe = Probe { range: Prefix::ALL, fingerprint: Hash([0; 32]) };
    let calls: Vec<wire::Request> = vec![
        wire::Raft { to: 0, message: noise.to_vec() }.into(),
        wire::Propose { commands: vec![close; limits::COMMANDS_PER_ENTRY_MAX + 1] }.into(),
        wire::Propose { commands: vec![large] }.into(),
        wire::Push { records: vec![forged; limits::RECORDS_PER_FRAME_MAX + 1] }.into(),
        wire::Reconcile { probes: vec![probe; limits::PROBES_MAX + 1] }.into(),
        wire::Fetch { hashes: vec![Hash([0; 32]); limits::RECORDS_PER_FRAME_MAX + 1] }.into(),
        wire::GetRecords { subjects: Vec::new(), after: None }.into(),
    ];
    for request in calls {
        let envelope = wire::Envelope { patience_ms: u32::MAX, request };
        send(peer, &protocol::codec::encode(&envelope)).await?;
    }
    send(peer, &vec![0; limits::FRAME_BYTES_MAX + 1]).await
}

/// Sends one request; what comes back is of no interest.
async fn send(peer: &Peer, frame: &[u8]) -> anyhow::Result<()> {
    let (mut stream, mut answer) = peer.connection().open_bi().await?;
    // One that is too long is not read to its end.
    if stream.write_all(frame).await.is_ok() {
        let _ = stream.finish();
    }
    let _ = tokio::time::timeout(PATIENCE, answer.read_to_end(limits::FRAME_BYTES_MAX)).await;
    Ok(())
}

/// A message of chitchat 0.11 that tells of a node, and then of keys of it that are
/// newer than its newest: the receiver's task fails an assertion.
fn poison(own: SocketAddr) -> Vec<u8> {
    let mut id = Vec::new();
    text(&mut id, "nobody");
    id.extend(1_u64.to_le_bytes());
    let SocketAddr::V4(own) = own else { return id };
    id.push(4);
    id.extend(own.ip().octets());
    id.extend(own.port().to_le_bytes());

    let mut changes = vec![0];
    changes.extend(&id);
    changes.extend([0; 16]);
    changes.push(1);
    text(&mut changes, "key");
    text(&mut changes, "value");
    changes.extend(1000_u64.to_le_bytes());
    changes.push(0);
    changes.push(2);
    changes.extend(999_u64.to_le_bytes());

    // Magic, version, kind: answer to a greeting. Then a digest of one node.
    let mut message = 45_139_u16.to_le_bytes().to_vec();
    message.extend([0, 1]);
    message.extend(1_u16.to_le_bytes());
    message.extend(&id);
    message.extend([0; 24]);
    // One block, not compressed, and the last.
    message.push(2);
    message.extend((changes.len() as u16).to_le_bytes());
    message.extend(changes);
    message.push(0);
    message
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
}
