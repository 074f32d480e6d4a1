//! What a client keeps of itself: its keys, whom it believes, and its domain's
//! secrets.
//!
//! Invariant: the keys are on disk before they are shown to anyone, and who redeems a
//! token again does so with the same keys. They are replaced only while nothing has
//! been sealed with them: when another token is tried before any has worked.

use std::collections::BTreeMap;

use env::{Disk, Rng};
use probe::Plant;
use protocol::{
    commands::{ClientKeys, Enrollment},
    failure::Failure,
    ids::{ClientId, PublicKey, TokenId},
    records::Subject,
    sealed::SealingSecret,
    sign::Signer,
    token::Welcome,
};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::link::Trust;
use crate::{identity::Identity, small_file};

const FILE: &str = "client";
const LOCK: &str = "profile";

/// The secret halves of a client's keys.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Seeds {
    tls: [u8; 32],
    commit: [u8; 32],
    sealing: [u8; 32],
    /// Seals trees and lists: see FORMAT.md.
    secret: [u8; 32],
}

/// A client's own state.
#[derive(Clone, Serialize, Deserialize)]
pub struct Profile {
    seeds: Seeds,
    /// The token for which the keys were made.
    token: TokenId,
    root: PublicKey,
    keyset_floor: u64,
    addresses: Vec<String>,
    /// The highest version seen of each record that the client works by.
    floors: BTreeMap<Subject, u64>,
    /// Set once the log has decided the enrollment.
    pub enrollment: Option<Enrollment>,
    /// Set once the welcome was opened.
    pub welcome: Option<Welcome>,
}

impl Profile {
    /// Reads the profile of a client that has begun to enroll; None if there is none.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, Failure> {
        small_file::read(disk, FILE)
    }

    /// The profile of a client that is enrolled; says what to do if there is none.
    pub fn enrolled(disk: &dyn Disk) -> Result<(Self, Enrollment, Welcome), Failure> {
        let missing = || {
            Failure::invalid(format!(
                "this machine is not enrolled (nothing in {}): get a token from the operator and run `nuthatch enroll`",
                disk.place()
            ))
        };
        let profile = Self::load(disk)?.ok_or_else(missing)?;
        match (profile.enrollment.clone(), profile.welcome.clone()) {
            (Some(enrollment), Some(welcome)) => Ok((profile, enrollment, welcome)),
            _ => Err(Failure::invalid(
                "the enrollment of this machine was not finished: run `nuthatch enroll` again with the same token",
            )),
        }
    }

    /// New keys, not on disk yet.
    pub fn create(rng: &dyn Rng, token: TokenId, trust: &Trust) -> Self {
        let seeds = Seeds { tls: rng.array(), commit: rng.array(), sealing: rng.array(), secret: rng.array() };
        Self {
            seeds,
            token,
            root: trust.root,
            keyset_floor: trust.keyset_floor,
            addresses: trust.addresses.clone(),
            floors: BTreeMap::new(),
            enrollment: None,
            welcome: None,
        }
    }

    /// Writes the profile to disk.
    pub fn save(&self, disk: &dyn Disk) -> Result<(), Failure> {
        small_file::write(disk, FILE, self)
    }

    /// Writes what was learnt to disk, beside what another process of this client has
    /// learnt meanwhile. If that one is at it right now, it is left for the next time.
    pub fn keep(&mut self, disk: &dyn Disk) -> Result<(), Failure> {
        let Ok(_guard) = disk.lock(LOCK) else { return Ok(()) };
        if let Some(other) = Self::load(disk)? {
            if other.keyset_floor > self.keyset_floor {
                self.keyset_floor = other.keyset_floor;
                self.addresses = other.addresses;
            }
            for (subject, version) in other.floors {
                let floor = self.floors.entry(subject).or_default();
                *floor = version.max(*floor);
            }
        }
        self.save(disk)
    }

    /// The token for which the keys were made.
    pub fn token(&self) -> &TokenId {
        &self.token
    }

    /// Whom the client believes.
    pub fn trust(&self) -> Trust {
        Trust { root: self.root, keyset_floor: self.keyset_floor, addresses: self.addresses.clone() }
    }

    /// Takes over what a link has learnt. True if anything is new.
    pub fn learn(&mut self, trust: Trust) -> bool {
        let new = trust.keyset_floor > self.keyset_floor || trust.addresses != self.addresses;
        self.keyset_floor = self.keyset_floor.max(trust.keyset_floor);
        self.addresses = trust.addresses;
        new
    }

    /// Refuses versions of records that are older than one seen before.
    pub fn check_floors(&self, versions: &[(Subject, u64)]) -> Result<(), Failure> {
        let floor = |subject| self.floors.get(subject).copied().unwrap_or_default();
        match versions.iter().find(|(subject, version)| *version < floor(subject)) {
            _ if probe::planted(Plant::PolicyRollsBack) => Ok(()),
            None => Ok(()),
            Some((subject, version)) => Err(Failure::denied(format!(
                "the orchestrator sent version {version} of {subject:?}, but {} was seen: it lags, or lies",
                floor(subject)
            ))),
        }
    }

    /// Remembers the versions of records, after the same check. True if one is new.
    pub fn raise_floors(&mut self, versions: &[(Subject, u64)]) -> Result<bool, Failure> {
        self.check_floors(versions)?;
        let mut new = false;
        for (subject, version) in versions {
            let floor = self.floors.entry(*subject).or_default();
            new |= version > floor;
            *floor = *version;
        }
        Ok(new)
    }

    /// The version of each record that the client works by.
    pub fn works_by(&self) -> &BTreeMap<Subject, u64> {
        &self.floors
    }

    /// The keys with which it speaks TLS and opens what is sealed for it.
    pub fn identity(&self) -> Identity {
        Identity::of_client(self.seeds.tls, self.seeds.sealing)
    }

    /// The public halves.
    pub fn keys(&self) -> ClientKeys {
        ClientKeys {
            tls: self.identity().key(),
            commit: self.commit_signer().public(),
            sealing: SealingSecret::from_seed(&self.seeds.sealing).public(),
        }
    }

    /// The client's id.
    pub fn client(&self) -> ClientId {
        ClientId::of_key(&self.keys().tls)
    }

    /// The key that signs commits and index segments.
    pub fn commit_signer(&self) -> Signer {
        Signer::from_seed(&self.seeds.commit)
    }

    /// The client's own secret, from which the keys of trees and lists are derived.
    pub fn secret(&self) -> &[u8; 32] {
        &self.seeds.secret
    }
}
