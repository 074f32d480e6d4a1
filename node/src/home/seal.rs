//! A key sealed with a passphrase.
//!
//! The file is JSON: version, the public half, Argon2id's parameters and salt, and
//! the sealed seed. The key that Argon2id makes of passphrase and salt seals once:
//! each file has its own random salt.

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::HEXLOWER;
use env::Rng;
use protocol::{failure::Failure, ids::PublicKey, sealed, sign::Signer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const VERSION: u32 = 1;
const KIND: &str = "nuthatch root key";
/// What new files are made with: RFC 9106's second recommendation. A guess costs
/// 64 MiB and a tenth of a second.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// Most that is believed of a file, so that a damaged one cannot take the machine down.
const MEMORY_KIB_MAX: u32 = 4 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 64;

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedKey {
    kind: String,
    version: u32,
    public: String,
    kdf: Kdf,
    /// Seed and tag, ChaCha20-Poly1305, with the public key as associated data.
    sealed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

impl SealedKey {
    /// Seals a seed. Takes a tenth of a second.
    pub fn seal(seed: &[u8; 32], passphrase: &str, rng: &dyn Rng) -> Result<Self, Failure> {
        let salt: [u8; 16] = rng.array();
        let kdf = Kdf {
            name: "argon2id".into(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: HEXLOWER.encode(&salt),
        };
        let public = Signer::from_seed(seed).public();
        let mut buffer = seed.to_vec();
        let key = kdf.derive(passphrase)?;
        sealed::seal_in_place(&key, &sealed::nonce(0), &public.0, &mut buffer);
        Ok(Self {
            kind: KIND.into(),
            version: VERSION,
            public: public.to_string(),
            kdf,
            sealed: HEXLOWER.encode(&buffer),
        })
    }

    /// Opens the seed.
    pub fn open(&self, passphrase: &str) -> Result<Zeroizing<[u8; 32]>, Failure> {
        if self.kind != KIND || self.version != VERSION {
            return Err(Failure::invalid(format!(
                "this is a {:?} of version {}, but this program knows {KIND:?} of version {VERSION}: update nuthatch",
                self.kind, self.version
            )));
        }
        let public: PublicKey = self.public.parse().map_err(|_| damaged())?;
        let mut buffer = Zeroizing::new(HEXLOWER.decode(self.sealed.as_bytes()).map_err(|_| damaged())?);
        let key = self.kdf.derive(passphrase)?;
        sealed::open_in_place("root key", &key, &sealed::nonce(0), &public.0, &mut buffer)
            .map_err(|_| Failure::denied("the passphrase does not open the root key"))?;
        let seed: [u8; 32] = buffer.as_slice().try_into().map_err(|_| damaged())?;
        Ok(Zeroizing::new(seed))
    }
}

impl Kdf {
    fn derive(&self, passphrase: &str) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let known = self.name == "argon2id"
            && self.memory_kib <= MEMORY_KIB_MAX
            && self.passes <= PASSES_MAX
            && self.lanes <= LANES_MAX;
        if !known {
            return Err(damaged());
        }
        let salt = HEXLOWER.decode(self.salt.as_bytes()).map_err(|_| damaged())?;
        let mut key = Zeroizing::new([0; 32]);
        let params = Params::new(self.memory_kib, self.passes, self.lanes, None).map_err(|_| damaged())?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut *key)
            .map_err(|_| damaged())?;
        Ok(key)
    }
}

fn damaged() -> Failure {
    Failure::corrupt("the file of the root key is damaged: restore it from a copy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::OsRandom;

    #[test]
    fn only_the_passphrase_opens_it() {
        let seed = [7; 32];
        let file = SealedKey::seal(&seed, "correct horse", &OsRandom).unwrap();
        let text = serde_json::to_string(&file).unwrap();
        assert!(!text.contains(&HEXLOWER.encode(&seed)));
        let mut read: SealedKey = serde_json::from_str(&text).unwrap();
        assert_eq!(*read.open("correct horse").unwrap(), seed);
        assert_eq!(read.open("correct hors").unwrap_err().code, protocol::failure::Code::Denied);
        // The public half is bound to it.
        read.public = Signer::from_seed(&[8; 32]).public().to_string();
        read.open("correct horse").unwrap_err();
    }

    #[test]
    fn absurd_parameters_are_refused_before_they_are_used() {
        let mut file = SealedKey::seal(&[7; 32], "x", &OsRandom).unwrap();
        file.kdf.memory_kib = u32::MAX;
        assert_eq!(file.open("x").unwrap_err().code, protocol::failure::Code::Corrupt);
    }
}
