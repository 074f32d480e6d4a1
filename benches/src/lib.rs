//! Micro and whole-program benchmarks.
//!
//! `cargo bench -p benches` measures cutting, sealing and packing in bytes a
//! second. `just compare` runs the whole program, and other backup programs, on the
//! same files. `just load` enrolls a fleet of simulated clients at three orchestrators,
//! keeps a part of it connected, and measures what that costs and how soon a change of
//! policy reaches it. Its figures for time are those of orchestrators and clients
//! together, which share the machine: look at what else runs there.
//!
//! On two cores, little else running, at its full size: 100,000 clients enrolled at 590 a
//! second, with 1.9 ms of the three orchestrators' processors for each, and 0.5 KiB of memory
//! at each orchestrator; 10,000 of them live and configured 7.6 s after they all came, with
//! 49 KiB for each at its orchestrator; a change of policy at 99 % of them after 1.5 s; and
//! when idle, 16 % of one core for the three, of which 2 % are without any client. With 5,000
//! enrolled and 500 live, a change is at 99 % after 76 ms.
//!
//! `just ledger` writes the backup of a ledger with very many clients and snapshots, which
//! never were, into the storage of a small cluster, loses that cluster's orchestrators, and
//! has `nuthatch cluster rebuild` make others of it; then one is restarted, and one replaced.
//! On two cores, 100,000 clients with 1,000,000 snapshots, none of whose commits were in the
//! storage: 35 s for the rebuild, 32,000 pieces of the ledger a second, with 624 MiB in the
//! command; then 913 MiB in each orchestrator, 200 MiB for a snapshot of the ledger on its
//! disk, 213 MiB for a backup of it, written within 3 s; 1.0 s for `client list`; 3.4 s until
//! one that was restarted is whole again, 5.0 s for an empty one; and when idle, 1.6 % of one
//! core for the three. A tenth of that: 7 s, 160 MiB and 220 MiB; and with all its 200,000
//! commits in the built-in storage, 13 s.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark measures the real machine"
)]

pub mod cluster;
pub mod machine;
pub mod node;
pub mod process;
pub mod setting;
pub mod trouble;

use protocol::{
    ids::{ClientId, DomainId, PublicKey, RepositoryId},
    records::{Chunker, Cipher, Codec, Domain, Trust},
    sign::Signer,
};
use repo::{Keys, RepoError};

/// The chunk sizes that new domains get.
pub const CHUNKER: Chunker = Chunker { min: 256 << 10, average: 1 << 20, max: 4 << 20 };

/// A domain with the defaults.
pub fn domain() -> Domain {
    Domain {
        id: DomainId([2; 16]),
        name: "bench".into(),
        repository: RepositoryId([1; 16]),
        trust: Trust::Trusting,
        chunker: CHUNKER,
        codec: Codec::Zstd(1),
        cipher: Cipher::ChaCha20Poly1305,
        generation: 0,
    }
}

/// A client of that domain.
pub fn keys() -> Result<Keys, RepoError> {
    let client = ClientId::of_key(&PublicKey([3; 32]));
    Keys::new(domain(), client, Signer::from_seed(&[4; 32]), &[(0, [5; 32])], [6; 32], [7; 32])
}

/// Bytes that do not compress.
pub fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compress about as source text does: words of a small vocabulary, and numbers.
pub fn text(len: usize) -> Vec<u8> {
    let noise = random(len / 4 + 1024);
    let mut bytes = Vec::with_capacity(len + 32);
    let mut at = 0;
    while bytes.len() < len {
        let [a, b] = [noise[at % noise.len()], noise[(at + 1) % noise.len()]];
        at += 2;
        let word = u16::from_le_bytes([a, b]) % 2000;
        bytes.extend_from_slice(format!("w{:x}", u32::from(word) * 40_503 % 65_521).as_bytes());
        bytes.push(if a % 9 == 0 { b'\n' } else { b' ' });
        if a % 31 == 0 {
            bytes.extend_from_slice(format!("= {};", u32::from(b) * 7919 + u32::from(a)).as_bytes());
        }
    }
    bytes.truncate(len);
    bytes
}
