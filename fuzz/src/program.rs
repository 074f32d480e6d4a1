//! What targets of the program share beside.

use std::{io, sync::Mutex};

use env::disk::Guard;
use protocol::{
    ids::{ClientId, DomainId, PublicKey, RepositoryId},
    records::{Chunker, Cipher, Codec, Domain, Trust},
};

use crate::{KEY, signer};

/// The domain of whatever needs one.
pub fn domain() -> Domain {
    Domain {
        id: DomainId([2; 16]),
        name: "fuzz".into(),
        repository: RepositoryId([1; 16]),
        trust: Trust::Trusting,
        chunker: Chunker { min: 256 << 10, average: 1 << 20, max: 4 << 20 },
        codec: Codec::Zstd(1),
        cipher: Cipher::ChaCha20Poly1305,
        generation: 0,
    }
}

/// The secret of that domain's only generation.
pub const CONVERGENCE: [u8; 32] = [5; 32];

/// A member's keys.
pub fn keys() -> repo::Keys {
    let client = ClientId::of_key(&PublicKey([3; 32]));
    repo::Keys::new(domain(), client, signer(), &[(0, CONVERGENCE)], KEY, KEY).expect("the keys fit the domain")
}

/// A data directory in which every file holds the same bytes.
pub struct OneFile(pub Mutex<Vec<u8>>);

impl OneFile {
    /// With these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }
}

impl env::Disk for OneFile {
    fn file(&self, _: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn exists(&self, _: &str) -> io::Result<bool> {
        Ok(true)
    }
    fn read(&self, _: &str) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().expect("nothing panics while it holds the lock").clone())
    }
    fn replace(&self, _: &str, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn lock(&self, _: &str) -> io::Result<Box<dyn Guard>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn mark(&self, _: &str) -> io::Result<env::disk::Mark> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn room(&self) -> io::Result<env::disk::Room> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn place(&self) -> String {
        "memory".into()
    }
}
