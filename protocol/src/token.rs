//! Tokens: joining is one string.
//!
//! A token carries 256 random bits, the cluster's root key and the addresses of
//! orchestrators. From the bits come an Ed25519 key, whose public half an admin
//! signs into the ledger, and a box key, under which the domain's secrets are
//! sealed. Orchestrators never see the bits.
//!
//! As text: `nuthatch-token-` and lower-case base32 (RFC 4648, no padding) of
//! `version ‖ postcard(Body) ‖ first 4 bytes of BLAKE3 of all before`.

use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{
    codec::{self, DecodeError},
    ids::{ClusterId, PublicKey, TokenId},
    limits, sealed,
    sign::Signer,
};

const PREFIX: &str = "nuthatch-token-";
const VERSION: u8 = 1;
const SUM_LEN: usize = 4;

/// Why a text is not a token. Never quotes the text: it may be most of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not start as tokens do.
    #[error("this is not a token: tokens start with \"{PREFIX}\"")]
    NotAToken,
    /// Mistyped or cut short.
    #[error("the token is garbled: a character is wrong or missing; copy it again, whole")]
    Garbled,
    /// Made by a newer program.
    #[error("the token has version {0}, which this program does not know: update nuthatch")]
    UnknownVersion(u8),
}

/// The one string with which a client joins. Wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    secret: [u8; 32],
    /// The cluster's root key: what the client will believe.
    pub root: PublicKey,
    /// The number of the keyset when the token was made: no older one is believed.
    pub keyset_floor: u64,
    /// Where orchestrators listen: `host:port`.
    pub addresses: Vec<String>,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({}, ..)", self.id().short())
    }
}

impl Token {
    /// A token of these random bits.
    pub fn new(secret: [u8; 32], root: PublicKey, keyset_floor: u64, addresses: Vec<String>) -> Self {
        Self { secret, root, keyset_floor, addresses }
    }

    /// The cluster it belongs to.
    pub fn cluster(&self) -> ClusterId {
        ClusterId::of_root(&self.root)
    }

    /// The key with which it is redeemed.
    pub fn signer(&self) -> Signer {
        let mut seed = blake3::derive_key("nuthatch 2026 token signing key", &self.secret);
        let signer = Signer::from_seed(&seed);
        seed.zeroize();
        signer
    }

    /// Its id: the public half of that key.
    pub fn id(&self) -> TokenId {
        TokenId(self.signer().public().0)
    }

    /// Seals what its redeemers are to know. Opening takes the token and `release`.
    pub fn seal_welcome(&self, release: &[u8; 32], welcome: &Welcome) -> Vec<u8> {
        let mut buffer = codec::encode(welcome);
        sealed::seal_in_place(&self.welcome_key(release), &sealed::nonce(0), b"", &mut buffer);
        buffer
    }

    /// Opens a welcome.
    pub fn open_welcome(&self, release: &[u8; 32], mut welcome: Vec<u8>) -> Result<Welcome, DecodeError> {
        const WHAT: &str = "welcome";
        sealed::open_in_place(WHAT, &self.welcome_key(release), &sealed::nonce(0), b"", &mut welcome)?;
        let opened = codec::decode(WHAT, &welcome);
        welcome.zeroize();
        opened
    }

    /// One key for each (token, release value): both are used once, so one nonce is enough.
    fn welcome_key(&self, release: &[u8; 32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("nuthatch 2026 token box key");
        hasher.update(&self.secret).update(release);
        *hasher.finalize().as_bytes()
    }

    /// The string to hand over.
    pub fn to_text(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(codec::encode(self));
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(&sum.as_bytes()[..SUM_LEN]);
        let text = format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase());
        bytes.zeroize();
        text
    }
}

impl FromStr for Token {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(TokenError::NotAToken)?;
        let bytes = BASE32_NOPAD.decode(digits.to_ascii_uppercase().as_bytes()).map_err(|_| TokenError::Garbled)?;
        let (body, sum) = bytes.split_at_checked(bytes.len().wrapping_sub(SUM_LEN)).ok_or(TokenError::Garbled)?;
        if blake3::hash(body).as_bytes()[..SUM_LEN] != *sum {
            return Err(TokenError::Garbled);
        }
        let (version, body) = body.split_first().ok_or(TokenError::Garbled)?;
        if *version != VERSION {
            return Err(TokenError::UnknownVersion(*version));
        }
        let token: Self = codec::decode("token", body).map_err(|_| TokenError::Garbled)?;
        if token.addresses.len() > limits::TOKEN_ADDRESSES_MAX {
            return Err(TokenError::Garbled);
        }
        Ok(token)
    }
}

/// What a redeemer learns beside the token itself: the domain's secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The convergence secret of each generation so far, the newest last, with its number.
    pub convergence: Vec<(u32, [u8; 32])>,
    /// The domain's index key.
    pub index_key: [u8; 32],
}

impl Drop for Welcome {
    fn drop(&mut self) {
        self.convergence.iter_mut().for_each(|(_, secret)| secret.zeroize());
        self.index_key.zeroize();
    }
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Welcome({} generations)", self.convergence.len())
    }
}
