//! Every key of the data plane, each from its own `derive_key` context.
//!
//! Three secrets are given from outside: a convergence secret for each generation
//! of the domain, the domain's index key, and the client's own secret. Everything
//! else is derived here, so that no key ever serves two purposes.

use crate::{format::Fields, ids::LineageId};

/// The suite byte of BLAKE3 message keys and ChaCha20-Poly1305: part of what
/// chunk keys are derived from, so that two suites never share a key.
pub const SUITE_CHACHA20_POLY1305: u8 = 1;

fn derive(context: &'static str, secret: &[u8; 32], more: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(secret).update(more);
    *hasher.finalize().as_bytes()
}

/// Keys the message keys of a generation's chunks.
pub fn chunk_key(convergence: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 chunk key", convergence, &[SUITE_CHACHA20_POLY1305])
}

/// Keys the message keys of a client's own chunks: its trees.
pub fn tree_key(client_secret: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 tree chunk key", client_secret, &[SUITE_CHACHA20_POLY1305])
}

/// The gear table of a generation's chunker: 256 little-endian words of the
/// extendable output.
pub fn gear_table(convergence: &[u8; 32]) -> [u64; 256] {
    let mut bytes = [0; 256 * 8];
    blake3::Hasher::new_derive_key("nuthatch 2026 chunker gear table")
        .update(convergence)
        .finalize_xof()
        .fill(&mut bytes);
    let mut fields = Fields::new("gear table", &bytes);
    // The output has exactly the bytes of 256 words.
    std::array::from_fn(|_| fields.u64().unwrap_or_default())
}

/// Seals the manifest with this object id.
pub fn manifest_key(client_secret: &[u8; 32], object_id: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 manifest key", client_secret, object_id)
}

/// The lineage of backups of these sources: absolute paths, in any order.
pub fn lineage(client_secret: &[u8; 32], sources: &[&[u8]]) -> LineageId {
    let mut sources = sources.to_vec();
    sources.sort_unstable();
    sources.dedup();
    let mut hasher = blake3::Hasher::new_derive_key("nuthatch 2026 lineage");
    hasher.update(client_secret);
    for source in sources {
        hasher.update(&(source.len() as u64).to_le_bytes()).update(source);
    }
    let mut id = [0; LineageId::LEN];
    hasher.finalize_xof().fill(&mut id);
    LineageId(id)
}

/// What orchestrators and sweepers are given to read a client's reference lists.
pub fn list_key(client_secret: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 reference list key", client_secret, b"")
}

/// Seals the reference-list page with this page id.
pub fn page_key(list_key: &[u8; 32], page_id: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 reference page key", list_key, page_id)
}

/// Keys the ids of reference-list pages.
pub fn page_id_key(list_key: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 reference page id key", list_key, b"")
}

/// Seals the table of contents of the pack with this object id.
pub fn pack_key(index_key: &[u8; 32], object_id: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 pack contents key", index_key, object_id)
}

/// Seals head and blocks of the index segment with this object id.
pub fn segment_key(index_key: &[u8; 32], object_id: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 index segment key", index_key, object_id)
}

/// Keys the hashes of plaintext by which a client knows again what it sealed
/// before. Never leaves the client.
pub fn plaintext_hash_key(client_secret: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 plaintext hash key", client_secret, b"")
}

/// Seals and names what a client keeps in its local cache.
pub fn cache_key(client_secret: &[u8; 32]) -> [u8; 32] {
    derive("nuthatch 2026 local cache key", client_secret, b"")
}
