//! What a client needs to know to read and write its repository.

use std::{collections::BTreeMap, path::PathBuf};

use protocol::{
    format::{chunk::Under, keys},
    ids::{ClientId, LineageId, PublicKey, RepositoryId},
    limits,
    names::{ObjectKey, ObjectName, Place},
    records::{Domain, Trust},
    sign::Signer,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::RepoError;

/// A client's keys, and the choices of its domain. Secrets are wiped when it is dropped.
pub struct Keys {
    pub(crate) repository: RepositoryId,
    pub(crate) domain: Domain,
    pub(crate) client: ClientId,
    pub(crate) signer: Signer,
    pub(crate) secrets: Secrets,
}

/// The derived keys.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secrets {
    #[zeroize(skip)]
    generations: BTreeMap<u32, [u8; 32]>,
    tree: [u8; 32],
    pub(crate) gear: [u64; 256],
    pub(crate) index: [u8; 32],
    pub(crate) client: [u8; 32],
    pub(crate) list: [u8; 32],
    pub(crate) plaintext_hash: [u8; 32],
    pub(crate) cache: [u8; 32],
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.secrets.generations.values_mut().for_each(Zeroize::zeroize);
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({:?}, {:?}, ..)", self.client, self.domain.id)
    }
}

impl Keys {
    /// Derives everything. `convergence` has the domain's secret of each
    /// generation, `client_secret` is the client's own: its trees, lists and cache
    /// are sealed under what is derived from it. `signer` is its commit key.
    pub fn new(
        domain: Domain,
        client: ClientId,
        signer: Signer,
        convergence: &[(u32, [u8; 32])],
        index_key: [u8; 32],
        client_secret: [u8; 32],
    ) -> Result<Self, RepoError> {
        let newest = convergence.iter().find(|(generation, _)| *generation == domain.generation).ok_or_else(|| {
            RepoError::invalid(format!(
                "the secret of generation {} of domain {} is not there: enroll again",
                domain.generation, domain.name
            ))
        })?;
        let secrets = Secrets {
            generations: convergence.iter().map(|(number, secret)| (*number, keys::chunk_key(secret))).collect(),
            tree: keys::tree_key(&client_secret),
            gear: keys::gear_table(&newest.1),
            index: index_key,
            client: client_secret,
            list: keys::list_key(&client_secret),
            plaintext_hash: keys::plaintext_hash_key(&client_secret),
            cache: keys::cache_key(&client_secret),
        };
        Ok(Self { repository: domain.repository, domain, client, signer, secrets })
    }

    /// Whose keys these are.
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The domain whose chunks are written.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The public half of the commit key.
    pub fn commit_key(&self) -> PublicKey {
        self.signer.public()
    }

    /// The lineage of backups of these sources: those that build on each other.
    pub fn lineage(&self, sources: &[PathBuf]) -> LineageId {
        let sources: Vec<&[u8]> = sources.iter().map(|path| path.as_os_str().as_encoded_bytes()).collect();
        keys::lineage(&self.secrets.client, &sources)
    }

    /// The key of what a chunk was sealed under.
    pub(crate) fn chunk_key(&self, under: Under) -> Result<&[u8; 32], RepoError> {
        match under {
            Under::Own => Ok(&self.secrets.tree),
            Under::Hole => Err(RepoError::internal("a hole has no key")),
            Under::Generation(number) => self.secrets.generations.get(&number).ok_or_else(|| {
                RepoError::invalid(format!(
                    "the secret of generation {number} of domain {} is not there: enroll again",
                    self.domain.name
                ))
            }),
        }
    }

    /// Under what new chunks of files are sealed.
    pub(crate) fn newest(&self) -> Under {
        Under::Generation(self.domain.generation)
    }

    /// Whether a file of this length is sealed under the client's own secret: among
    /// strangers a short one could be guessed, and sharing it saves little.
    pub(crate) fn seals_privately(&self, file_len: u64) -> bool {
        self.domain.trust == Trust::Strangers && file_len < limits::PRIVATE_FILE_BYTES_MAX
    }

    pub(crate) fn pack(&self, name: ObjectName) -> ObjectKey {
        Place::Pack(self.domain.id).object(name)
    }

    pub(crate) fn segment(&self, name: ObjectName) -> ObjectKey {
        Place::Index(self.domain.id).object(name)
    }

    pub(crate) fn commit(&self, name: ObjectName) -> ObjectKey {
        Place::Snapshot(self.client).object(name)
    }

    pub(crate) fn refs(&self, name: ObjectName) -> ObjectKey {
        Place::Refs(self.client).object(name)
    }

    /// The name of something in the local cache, which other repositories, clients
    /// and kinds never share.
    pub(crate) fn cache_name(&self, kind: &[u8; 4], parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secrets.cache);
        hasher.update(kind).update(&self.repository.0).update(&self.client.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }
}
