//! Secrets under a key: to one holder's public key, or under a shared symmetric key.
//!
//! To a public key: HPKE (RFC 9180) base mode, DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256, ChaCha20-Poly1305. Under a symmetric key: ChaCha20-Poly1305
//! (RFC 8439).
//!
//! Invariant: a symmetric key seals under one nonce once. Callers derive a key
//! for each object, or number the nonces.

use std::convert::Infallible;

use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _};
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305 as HpkeAead,
    kdf::HkdfSha256, kem::X25519HkdfSha256,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{codec::DecodeError, ids::SealingKey};

/// Length of the authentication tag that sealing adds.
pub const TAG_LEN: usize = 16;

/// Something sealed to the holder of one X25519 key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedBox {
    /// Who can open it.
    pub to: SealingKey,
    /// HPKE's encapsulated key.
    pub encapsulated: [u8; 32],
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

/// Draws randomness for one sealing.
struct Entropy<'a>(&'a mut dyn FnMut(&mut [u8]));

impl rand_core::TryRng for Entropy<'_> {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        (self.0)(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        (self.0)(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        (self.0)(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Entropy<'_> {}

/// Seals `plaintext` to `to`. `info` says what it is; opening needs the same. The
/// randomness comes from `fill`.
pub fn seal_to(
    to: &SealingKey,
    info: &[u8],
    plaintext: &[u8],
    fill: &mut dyn FnMut(&mut [u8]),
) -> Result<SealedBox, DecodeError> {
    let refuse = |_| DecodeError::Malformed { what: "sealing key", reason: "not a usable X25519 key".into() };
    let key = <X25519HkdfSha256 as hpke::Kem>::PublicKey::from_bytes(&to.0).map_err(refuse)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<HpkeAead, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &key,
        info,
        plaintext,
        &[],
        &mut Entropy(fill),
    )
    .map_err(refuse)?;
    Ok(SealedBox { to: *to, encapsulated: encapsulated.to_bytes().into(), ciphertext })
}

/// The private half of a sealing key.
pub struct SealingSecret {
    private: <X25519HkdfSha256 as hpke::Kem>::PrivateKey,
    public: SealingKey,
}

impl SealingSecret {
    /// The key pair that HPKE's `DeriveKeyPair` makes of this seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(seed);
        Self { private, public: SealingKey(public.to_bytes().into()) }
    }

    /// The key pair with these 32 secret bytes, as RFC 7748 reads them.
    pub fn from_scalar(scalar: &[u8; 32]) -> Self {
        // Any 32 bytes are a private key: X25519 sets the bits that matter.
        let private = <X25519HkdfSha256 as hpke::Kem>::PrivateKey::from_bytes(scalar)
            .unwrap_or_else(|_| unreachable!("a private key of X25519 has 32 bytes"));
        let public = X25519HkdfSha256::sk_to_pk(&private);
        Self { private, public: SealingKey(public.to_bytes().into()) }
    }

    /// The public half.
    pub fn public(&self) -> SealingKey {
        self.public
    }

    /// Opens a box that was sealed to this key with the same `info`.
    pub fn open(&self, sealed: &SealedBox, info: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecodeError> {
        let refuse = |_| DecodeError::Forged { what: "sealed box", reason: "this key does not open it" };
        let encapsulated =
            <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapsulated).map_err(refuse)?;
        hpke::single_shot_open::<HpkeAead, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            info,
            &sealed.ciphertext,
            &[],
        )
        .map(Zeroizing::new)
        .map_err(refuse)
    }
}

/// A 96-bit nonce that is just a number: for keys that seal a numbered sequence.
pub fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// Seals `buffer` in place under a symmetric key and appends the tag.
pub fn seal_in_place(key: &[u8; 32], nonce: &[u8; 12], associated: &[u8], buffer: &mut Vec<u8>) {
    // Fails only for plaintexts of 256 GiB and more.
    ChaCha20Poly1305::new(key.into())
        .encrypt_in_place(nonce.into(), associated, buffer)
        .unwrap_or_else(|_| unreachable!("no object comes near the 256 GiB that ChaCha20-Poly1305 can seal"));
}

/// Opens `buffer` in place: on success it holds the plaintext.
pub fn open_in_place(
    what: &'static str,
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    ChaCha20Poly1305::new(key.into())
        .decrypt_in_place(nonce.into(), associated, buffer)
        .map_err(|_| DecodeError::Forged { what, reason: "it was damaged, or sealed with another key" })
}
