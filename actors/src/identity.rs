//! A node's own keys, made once with its empty data directory.
//!
//! Invariant: the keys are on disk before anyone is told their public halves.

use env::{Disk, Rng};
use protocol::{
    failure::Failure,
    ids::{NodeId, PublicKey},
    sealed::SealingSecret,
    sign::Signer,
    wire::NodeCard,
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::small_file;

/// The name of its file.
pub(crate) const FILE: &str = "identity";

/// What the identity file holds.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Seeds {
    tls: [u8; 32],
    sealing: [u8; 32],
    voter: u64,
}

/// A node's keys.
#[derive(Clone)]
pub struct Identity {
    seeds: Seeds,
    key: PublicKey,
}

impl Identity {
    /// Reads the node's keys, or makes them if the data directory has none.
    pub fn load_or_create(disk: &dyn Disk, rng: &dyn Rng) -> Result<Self, Failure> {
        let seeds = match small_file::read(disk, FILE)? {
            Some(seeds) => seeds,
            None => {
                let seeds = Seeds { tls: rng.array(), sealing: rng.array(), voter: fresh_voter(rng) };
                small_file::write(disk, FILE, &seeds)?;
                seeds
            }
        };
        Ok(Self::from_seeds(seeds))
    }

    /// An identity that is not kept: for an operator, whose key is the admin key.
    pub fn of_operator(admin_seed: [u8; 32]) -> Self {
        Self::from_seeds(Seeds { tls: admin_seed, sealing: [0; 32], voter: 0 })
    }

    /// An identity whose keys are kept elsewhere: a client's stand in its own file.
    pub fn of_client(tls_seed: [u8; 32], sealing_seed: [u8; 32]) -> Self {
        Self::from_seeds(Seeds { tls: tls_seed, sealing: sealing_seed, voter: 0 })
    }

    fn from_seeds(seeds: Seeds) -> Self {
        let key = Signer::from_seed(&seeds.tls).public();
        Self { seeds, key }
    }

    /// The public TLS key.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Signs records with the TLS key: what is signed tells the two uses apart.
    pub fn signer(&self) -> Signer {
        Signer::from_seed(&self.seeds.tls)
    }

    /// The secret half of the TLS key.
    pub(crate) fn tls_seed(&self) -> &[u8; 32] {
        &self.seeds.tls
    }

    /// The id of a node with these keys.
    pub fn node(&self) -> NodeId {
        NodeId::of_key(&self.key)
    }

    /// What a keyset says of the node beside its TLS key.
    pub fn card(&self) -> NodeCard {
        NodeCard { sealing: self.sealing().public(), voter: self.seeds.voter }
    }

    /// The key that opens what is sealed for this node.
    pub fn sealing(&self) -> SealingSecret {
        SealingSecret::from_seed(&self.seeds.sealing)
    }

    /// The voter id.
    pub fn voter(&self) -> u64 {
        self.seeds.voter
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.node())
    }
}

/// A voter id is never 0, so that 0 can stand for "none".
fn fresh_voter(rng: &dyn Rng) -> u64 {
    u64::from_le_bytes(rng.array()).max(1)
}
