//! Ed25519 signatures over exact bytes, each kind in a context of its own.
//!
//! Invariant: what is signed is `len(context) ‖ context ‖ body`, so a signature
//! made for one kind of thing is worth nothing for another.

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::{
    codec::DecodeError,
    ids::{Hash, PublicKey, SealingKey},
    sealed::SealingSecret,
};

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context(pub &'static str);

/// A converging record (`records`).
pub const RECORD: Context = Context("nuthatch 2026 record");
/// The redemption of a token, by the token's own key.
pub const REDEMPTION: Context = Context("nuthatch 2026 redemption");
/// A commit object, by the client's commit key.
pub const COMMIT: Context = Context("nuthatch 2026 commit");
/// An index segment, by its author.
pub const SEGMENT: Context = Context("nuthatch 2026 segment");

/// The root's word that a lost ledger begins again (`ledger`).
pub const CHARTER: Context = Context("nuthatch 2026 charter");
/// The ledger's own backup, by the orchestrator that wrote it.
pub const LEDGER: Context = Context("nuthatch 2026 ledger backup");
/// An orchestrator's word for what its program speaks (`levels`).
pub const LEVELS: Context = Context("nuthatch 2026 levels");

/// An Ed25519 key that signs. Its bytes are wiped when it is dropped.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl Signer {
    /// The key with these 32 secret bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The X25519 key pair that belongs to this one.
    pub fn sealing(&self) -> SealingSecret {
        let mut scalar = self.0.to_scalar_bytes();
        let secret = SealingSecret::from_scalar(&scalar);
        scalar.zeroize();
        secret
    }

    /// Signs `body` in a context.
    pub fn sign(&self, context: Context, body: &[u8]) -> Signature {
        Signature::from_bytes(self.0.sign(&message(context, body)).to_bytes())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.public().short())
    }
}

/// An Ed25519 signature, in two halves because serde knows arrays up to 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature([u8; 32], [u8; 32]);

impl Signature {
    /// From the 64 bytes of RFC 8032.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&bytes[..32]);
        s.copy_from_slice(&bytes[32..]);
        Self(r, s)
    }

    /// The 64 bytes of RFC 8032.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        bytes
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// The X25519 public key that belongs to an Ed25519 one: the same point in Montgomery form.
pub fn to_x25519(key: &PublicKey) -> Result<SealingKey, DecodeError> {
    let forged = |_| DecodeError::Forged { what: "public key", reason: "it is no Ed25519 key" };
    let key = VerifyingKey::from_bytes(&key.0).map_err(forged)?;
    Ok(SealingKey(key.to_montgomery().to_bytes()))
}

fn message(context: Context, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 + context.0.len() + body.len());
    message.push(context.0.len() as u8);
    message.extend_from_slice(context.0.as_bytes());
    message.extend_from_slice(body);
    message
}

/// Checks a signature strictly (RFC 8032, no small-order keys).
pub fn verify(
    what: &'static str,
    context: Context,
    key: &PublicKey,
    body: &[u8],
    signature: &Signature,
) -> Result<(), DecodeError> {
    let forged = |reason| DecodeError::Forged { what, reason };
    let key = VerifyingKey::from_bytes(&key.0).map_err(|_| forged("its author is not a key"))?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.to_bytes());
    key.verify_strict(&message(context, body), &signature).map_err(|_| forged("the signature does not match"))
}

/// Bytes, who signed them, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Whose signature it is.
    pub author: PublicKey,
    /// The signed bytes, exactly as they were signed.
    pub body: Vec<u8>,
    /// The author's signature over the body.
    pub signature: Signature,
}

impl Signed {
    /// Signs a body.
    pub fn new(signer: &Signer, context: Context, body: Vec<u8>) -> Self {
        let signature = signer.sign(context, &body);
        Self { author: signer.public(), body, signature }
    }

    /// Checks the signature. Whether the author may say this is another question.
    pub fn verify(&self, what: &'static str, context: Context) -> Result<(), DecodeError> {
        verify(what, context, &self.author, &self.body, &self.signature)
    }

    /// BLAKE3 of author and body: what tells two records apart. The signature is
    /// left out, since one author may sign one body in several ways.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.author.0).update(&self.body);
        Hash(*hasher.finalize().as_bytes())
    }
}
