//! Where things lie in storage.
//!
//! Invariant: every object but the marker is named `<lease id>-<SHA-256 of its
//! bytes>`. A name is minted under one lease and commits to its bytes, so
//! whatever a storage fails to enforce, an overwrite can only repeat the same
//! bytes (I9).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, DomainId, LeaseId, ParseIdError, Sha256};

/// The name of one object: the lease it was written under and the hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// The lease under which the name was minted.
    pub lease: LeaseId,
    /// SHA-256 of the object's bytes.
    pub hash: Sha256,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lease, self.hash)
    }
}

impl FromStr for ObjectName {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let fail = || ParseIdError { kind: "object name", text: text.into(), digits: 24 + 64 };
        let (lease, hash) = text.split_once('-').ok_or_else(fail)?;
        if hash.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(fail());
        }
        Ok(Self { lease: lease.parse().map_err(|_| fail())?, hash: hash.parse().map_err(|_| fail())? })
    }
}

/// Which part of a repository an object belongs to, before it has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// Sealed chunks of a domain.
    Pack(DomainId),
    /// Where a domain's chunks are.
    Index(DomainId),
    /// A client's commits.
    Snapshot(ClientId),
    /// A client's reference-list pages.
    Refs(ClientId),
}

/// The full address of one object within a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Which part of the repository.
    pub place: Place,
    /// Which object there.
    pub name: ObjectName,
}

/// The marker that makes a prefix a repository, relative to it.
pub const MARKER: &str = "nuthatch";

/// Whether every signer and server spells this path of an object the same way:
/// segments of unreserved characters, none of them empty or made of dots that lead elsewhere.
pub fn is_path(path: &str) -> bool {
    path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
        && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/".contains(&b))
}

impl Place {
    /// The object of this name at this place.
    pub const fn object(self, name: ObjectName) -> ObjectKey {
        ObjectKey { place: self, name }
    }
}

/// The path relative to the repository's prefix. Only unreserved characters and
/// `/`, so no signer or server ever has to escape it.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.place {
            Place::Pack(domain) => write!(f, "domain/{domain}/pack/{:02x}/{name}", name.hash.0[0]),
            Place::Index(domain) => write!(f, "domain/{domain}/index/{name}"),
            Place::Snapshot(client) => write!(f, "client/{client}/snapshot/{name}"),
            Place::Refs(client) => write!(f, "client/{client}/refs/{name}"),
        }
    }
}

impl FromStr for ObjectKey {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let fail = || ParseIdError { kind: "object key", text: text.into(), digits: 24 + 64 };
        let parts: Vec<&str> = text.split('/').collect();
        let key = match parts[..] {
            ["domain", domain, "pack", _, name] => Place::Pack(domain.parse()?).object(name.parse()?),
            ["domain", domain, "index", name] => Place::Index(domain.parse()?).object(name.parse()?),
            ["client", client, "snapshot", name] => Place::Snapshot(client.parse()?).object(name.parse()?),
            ["client", client, "refs", name] => Place::Refs(client.parse()?).object(name.parse()?),
            _ => return Err(fail()),
        };
        // One object, one spelling.
        if key.to_string() == text { Ok(key) } else { Err(fail()) }
    }
}
