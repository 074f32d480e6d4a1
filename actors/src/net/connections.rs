//! The connections that others have made to this node.
//!
//! Invariant: what strangers hold open is bounded, whoever they say they are, and
//! never takes the place of someone who is known here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use probe::Plant;
use protocol::{ids::PublicKey, limits};
use quinn::{Connection, VarInt};

use super::peer::{CLOSE_DENIED, CLOSE_FULL};

/// What a caller is told when it is cut off.
const REVOKED: &[u8] = b"this client was revoked: ask the operator why; to come back it needs new keys and a new token";

/// What an admin or orchestrator is told that is one no more.
const REMOVED: &[u8] = b"this key is no admin's or orchestrator's any more: a newer keyset does not name it";

/// What a caller may occupy, by who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Revoked: may not stay.
    Refused,
    /// Nobody that is known here, or not yet.
    Stranger,
    /// An enrolled client.
    Client,
    /// An orchestrator or an admin.
    Member,
}

impl Rank {
    /// Calls that it may have under way.
    pub(super) const fn streams_max(self) -> u32 {
        match self {
            Self::Refused | Self::Stranger => limits::STREAMS_PER_STRANGER_MAX,
            Self::Client => limits::STREAMS_PER_CLIENT_MAX,
            Self::Member => limits::STREAMS_PER_PEER_MAX,
        }
    }

    /// The longest request that is read from it, in bytes.
    pub(super) const fn request_bytes_max(self) -> usize {
        match self {
            Self::Refused | Self::Stranger | Self::Client => limits::REQUEST_BYTES_MAX,
            Self::Member => limits::FRAME_BYTES_MAX,
        }
    }

    /// Bytes that may be on their way from it and not yet read.
    const fn window_bytes(self) -> u32 {
        match self {
            Self::Refused | Self::Stranger | Self::Client => limits::WINDOW_BYTES_MIN,
            Self::Member => limits::WINDOW_BYTES_MAX,
        }
    }

    fn grant(self, connection: &Connection) {
        connection.set_max_concurrent_bi_streams(VarInt::from_u32(self.streams_max()));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(self.streams_max()));
        connection.set_receive_window(VarInt::from_u32(self.window_bytes()));
    }
}

/// Says what a key may occupy now.
pub trait Ranks {
    /// The rank of a key, or `None` while there is nobody here who could tell: that is
    /// no reason to take anything from a caller who has it.
    fn rank(&self, key: &PublicKey) -> Option<Rank>;
}

/// The connections that others have made to this node. Clones share them.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<Listing>>);

#[derive(Default)]
struct Listing {
    by_key: BTreeMap<PublicKey, Vec<Entry>>,
    count: usize,
    /// Those that were strangers when they came, the oldest first.
    strangers: VecDeque<(PublicKey, usize)>,
}

struct Entry {
    connection: Connection,
    rank: Rank,
}

/// A place in the list, given back when it is dropped.
pub(super) struct Place {
    connections: Connections,
    key: PublicKey,
    id: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.with(|listing| listing.remove(&self.key, self.id));
    }
}

impl Connections {
    fn with<R>(&self, look: impl FnOnce(&mut Listing) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lists a connection, if there is room for it and its key may stay.
    pub(super) fn add(&self, key: PublicKey, connection: &Connection, ranks: &dyn Ranks) -> Option<Place> {
        let id = connection.stable_id();
        let full = self.with(|listing| {
            let full = listing.count >= limits::CONNECTIONS_MAX;
            if !full {
                listing.add(key, connection.clone());
            }
            full
        });
        if full {
            connection.close(CLOSE_FULL, b"this orchestrator has as many connections as it can bear");
            return None;
        }
        let place = Place { connections: self.clone(), key, id };
        // Asked after it was listed: a revocation that comes now finds it in the list.
        let rank = ranks.rank(&key).unwrap_or(Rank::Stranger);
        self.with(|listing| listing.rank(&key, id, rank));
        if rank == Rank::Stranger {
            self.with(|listing| listing.add_stranger(key, id, ranks));
        }
        connection.close_reason().is_none().then_some(place)
    }

    /// Keys with an open connection, and the bytes each has sent over it.
    pub fn open(&self) -> Vec<(PublicKey, u64)> {
        self.with(|listing| {
            let each = |(key, entries): (&PublicKey, &Vec<Entry>)| -> Vec<(PublicKey, u64)> {
                entries.iter().map(|entry| (*key, entry.connection.stats().udp_rx.bytes)).collect()
            };
            listing.by_key.iter().flat_map(each).collect()
        })
    }

    /// Looks at every key anew: cuts those that may not stay, and gives the others
    /// what they may occupy.
    pub fn review(&self, ranks: &dyn Ranks) {
        let keys: Vec<PublicKey> = self.with(|listing| listing.by_key.keys().copied().collect());
        for key in keys {
            let Some(rank) = ranks.rank(&key) else { continue };
            self.with(|listing| {
                for entry in listing.by_key.get_mut(&key).into_iter().flatten() {
                    entry.take(rank);
                }
            });
        }
    }
}

impl Listing {
    fn add(&mut self, key: PublicKey, connection: Connection) {
        let entries = self.by_key.entry(key).or_default();
        if let Some(oldest) = entries.first().filter(|_| entries.len() >= limits::CONNECTIONS_PER_KEY_MAX) {
            oldest.connection.close(CLOSE_FULL, b"the same key has opened many newer connections");
        }
        entries.push(Entry { connection, rank: Rank::Stranger });
        self.count += 1;
    }

    fn rank(&mut self, key: &PublicKey, id: usize, rank: Rank) {
        let entries = self.by_key.get_mut(key).into_iter().flatten();
        for entry in entries.filter(|entry| entry.connection.stable_id() == id) {
            entry.take(rank);
        }
    }

    /// One more stranger: of too many, the one that came first has to go.
    fn add_stranger(&mut self, key: PublicKey, id: usize, ranks: &dyn Ranks) {
        self.strangers.push_back((key, id));
        if self.strangers.len() <= limits::STRANGERS_MAX || probe::planted(Plant::StrangersUnbounded) {
            return;
        }
        // Whoever has joined since is a stranger no more.
        self.strangers.retain(|(key, _)| matches!(ranks.rank(key), Some(Rank::Stranger) | None));
        while self.strangers.len() > limits::STRANGERS_MAX
            && let Some((key, id)) = self.strangers.pop_front()
        {
            let entries = self.by_key.get(&key).into_iter().flatten();
            for entry in entries.filter(|entry| entry.connection.stable_id() == id) {
                entry.connection.close(CLOSE_FULL, b"too many strangers knock: try again");
            }
        }
    }

    fn remove(&mut self, key: &PublicKey, id: usize) {
        if let Some(entries) = self.by_key.get_mut(key) {
            let before = entries.len();
            entries.retain(|entry| entry.connection.stable_id() != id);
            self.count -= before - entries.len();
            if entries.is_empty() {
                self.by_key.remove(key);
            }
        }
        self.strangers.retain(|(_, stranger)| *stranger != id);
    }
}

impl Entry {
    fn take(&mut self, rank: Rank) {
        if rank == Rank::Refused && !probe::planted(Plant::RevokedStays) {
            self.connection.close(CLOSE_DENIED, REVOKED);
        } else if self.rank == Rank::Member && rank == Rank::Stranger {
            self.connection.close(CLOSE_DENIED, REMOVED);
        } else if rank != self.rank {
            rank.grant(&self.connection);
        }
        self.rank = rank;
    }
}
