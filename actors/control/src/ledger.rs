//! The log's state machine: what the orchestrators have decided.
//!
//! Invariant: `apply` reads nothing but this state and the entry, so replicas
//! that applied the same entries are equal, serialized or not. A decision that
//! was given out is never taken back: a token stays redeemed by the keys that
//! came first, a lease ends once, a committed snapshot stays.
//!
//! What the log cannot know, its proposers check before they propose: that
//! nobody was revoked (converging records), that a repository is the one of the
//! client's domain, that a redemption came over the TLS session it names, and
//! that a commit object exists and says what is claimed.

mod admit;
mod audit;
mod found;
mod lease;
mod level;
mod publish;
mod redeem;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use protocol::{
    codec::DecodeError,
    commands::{Command, Decided, Enrollment, Entry, Outcome, SnapshotRecord},
    failure::Failure,
    ids::{ClientId, ClusterId, DomainId, LeaseId, PublicKey, RepositoryId, TokenId},
    limits,
    records::{Keyset, TokenTerms},
    time::UnixMillis,
};
use serde::{Deserialize, Serialize};

use admit::Admitted;
use audit::Audit;
use found::Import;
pub use lease::OpenLease;
use lease::{Chain, Wish};
pub use level::Later;
pub use publish::{Published, Reuse};
use redeem::TokenUse;
pub use redeem::{Refusals, read_redemption};

/// Everything that the log has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    cluster: ClusterId,
    root: PublicKey,
    incarnation: u32,
    /// Index of the last entry that was applied.
    applied: Option<u64>,
    decided: UnixMillis,
    keyset: Option<Admitted>,
    tokens: BTreeMap<TokenId, TokenUse>,
    /// Each of them is shared with a copy of the ledger until it changes: a snapshot of the
    /// ledger is taken from such a copy, without a second one of everything.
    clients: BTreeMap<ClientId, Arc<Client>>,
    /// Whose the open leases are; each of them stands in its chain.
    open: BTreeMap<LeaseId, (ClientId, RepositoryId)>,
    /// What each domain's members may reuse in each repository.
    reuse: BTreeMap<(RepositoryId, DomainId), Reuse>,
    /// From what this ledger began, if another was lost before it.
    import: Option<Import>,
    /// Who did what.
    audit: Audit,
    /// What came after level 1: apart, since an image of that has none of it.
    #[serde(skip)]
    later: Later,
}

/// One enrolled client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Client {
    enrollment: Enrollment,
    /// Whether it has opened its token's welcome.
    welcomed: bool,
    chains: BTreeMap<RepositoryId, Chain>,
}

/// Where in the log a command stands: what makes lease ids unique.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: u64,
    position: usize,
}

impl Ledger {
    /// The ledger of a cluster before its first entry.
    pub fn new(cluster: ClusterId, root: PublicKey, incarnation: u32) -> Self {
        Self {
            cluster,
            root,
            incarnation,
            applied: None,
            decided: UnixMillis::default(),
            keyset: None,
            tokens: BTreeMap::new(),
            clients: BTreeMap::new(),
            open: BTreeMap::new(),
            reuse: BTreeMap::new(),
            import: None,
            audit: Audit::default(),
            later: Later::default(),
        }
    }

    /// Applies the entry at `index` of the log. Outcomes come in the order of
    /// its commands. A command that is refused changes nothing but what is
    /// remembered of its token: the newest terms, and that it was refused.
    pub fn apply(&mut self, index: u64, entry: &Entry) -> Vec<Outcome> {
        if self.applied.is_some_and(|applied| index <= applied) {
            let again = Failure::internal(format!("entry {index} of the log was applied before: this is a defect"));
            return vec![Err(again); entry.commands.len()];
        }
        self.applied = Some(index);
        self.decided = self.decided.max(entry.at);
        self.note_changed(index, entry);
        let places = (0..).map(|position| Place { index, position });
        places.zip(&entry.commands).map(|(place, command)| self.decide(place, command)).collect()
    }

    fn decide(&mut self, place: Place, command: &Command) -> Outcome {
        if place.position >= limits::COMMANDS_PER_ENTRY_MAX {
            return Err(Failure::invalid(format!(
                "an entry of the log holds at most {} commands: propose the rest in another",
                limits::COMMANDS_PER_ENTRY_MAX
            )));
        }
        self.check_level(command)?;
        let rebuilds = matches!(command, Command::Admit { .. } | Command::Found { .. } | Command::Import { .. });
        if self.is_importing() && !rebuilds {
            return Err(Failure::retry("the ledger is being rebuilt from its backup: try again when that is done"));
        }
        match command {
            Command::Admit { keyset } => self.admit(keyset).map(Decided::Admitted),
            Command::Redeem { terms, redemption } => self.redeem(terms, redemption).map(Decided::Redeemed),
            Command::Grant { client, repository, lineage, attempt, after } => {
                self.grant(place, Wish { client, repository, lineage, attempt, after }).map(Decided::Granted)
            }
            Command::Commit { client, commit } => self.commit(client, commit).map(Decided::Committed),
            Command::Close { client, lease } => self.close(place, client, lease).map(|()| Decided::Closed),
            Command::Acknowledge { client, token } => self.acknowledge(client, token).map(|()| Decided::Acknowledged),
            Command::Claim { node, repository, domain } => {
                self.claim(place, node, repository, domain).map(Decided::Claimed)
            }
            Command::Publish { publication } => self.publish(place, publication).map(|()| Decided::Published),
            Command::Condemn { repository, domain, objects } => {
                self.condemn(repository, domain, objects).map(Decided::Condemned)
            }
            Command::Found { charter } => self.found(charter).map(Decided::Imported),
            Command::Import { from, items } => self.import(*from, items).map(Decided::Imported),
            Command::Witness { record } => self.witness(record).map(|()| Decided::Witnessed),
            Command::Raise { level, statements } => self.raise(*level, statements).map(Decided::Raised),
            Command::NoteBackup { backup } => {
                self.note_backup(backup);
                Ok(Decided::BackupNoted)
            }
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// The root's key.
    pub fn root(&self) -> &PublicKey {
        &self.root
    }

    /// Which life of the ledger this is.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Index of the last entry that was applied.
    pub fn applied(&self) -> Option<u64> {
        self.applied
    }

    /// The decided time: the highest clock of any proposer so far.
    pub fn decided(&self) -> UnixMillis {
        self.decided
    }

    /// The keyset in force for commands, with its number.
    pub fn keyset(&self) -> Option<(u64, &Keyset)> {
        self.keyset.as_ref().map(|admitted| (admitted.number, &admitted.keyset))
    }

    /// A client's enrollment.
    pub fn enrollment(&self, client: &ClientId) -> Option<&Enrollment> {
        self.clients.get(client).map(|client| &client.enrollment)
    }

    /// The client that proves itself with this TLS key.
    pub fn client_by_key(&self, key: &PublicKey) -> Option<&Enrollment> {
        self.enrollment(&ClientId::of_key(key)).filter(|enrollment| enrollment.keys.tls == *key)
    }

    /// Everyone who is enrolled, by client id.
    pub fn enrollments(&self) -> impl ExactSizeIterator<Item = &Enrollment> {
        self.clients.values().map(|client| &client.enrollment)
    }

    /// Those of them that come after a client, by client id.
    pub fn enrollments_after(&self, after: Option<ClientId>) -> impl Iterator<Item = &Enrollment> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.clients.range((start, Bound::Unbounded)).map(|(_, client)| &client.enrollment)
    }

    /// The clients that redeemed a token, in the order in which they did.
    pub fn redeemed(&self, token: &TokenId) -> &[ClientId] {
        self.tokens.get(token).map_or(&[], |used| &used.redeemed)
    }

    /// Whether a client redeemed a token. Found by the client: a token may have let a
    /// hundred thousand in.
    pub fn has_redeemed(&self, client: &ClientId, token: &TokenId) -> bool {
        self.tokens.contains_key(token) && self.enrollment(client).is_some_and(|found| found.token == *token)
    }

    /// Whether a client has said that it opened its token's welcome.
    pub fn is_welcomed(&self, client: &ClientId) -> bool {
        self.clients.get(client).is_some_and(|client| client.welcomed)
    }

    /// How many clients have opened the welcome of a token. Once that is all its
    /// uses, nobody needs its release value any more.
    pub fn welcomed(&self, token: &TokenId) -> u32 {
        self.tokens.get(token).map_or(0, |used| used.welcomed)
    }

    /// How many more clients may redeem the token of these terms.
    pub fn uses_left(&self, terms: &TokenTerms) -> u32 {
        let redeemed = u32::try_from(self.redeemed(&terms.token).len()).unwrap_or(u32::MAX);
        terms.uses.saturating_sub(redeemed)
    }

    /// The tokens that were shown by more keys than they have uses: the operator
    /// should hear of them, since a token may have been stolen.
    pub fn refused_redemptions(&self) -> impl Iterator<Item = (&TokenId, &Refusals)> {
        self.tokens.iter().filter_map(|(token, used)| used.refused.as_ref().map(|refusals| (token, refusals)))
    }

    /// The client's open lease in a repository.
    pub fn lease(&self, client: &ClientId, repository: &RepositoryId) -> Option<&OpenLease> {
        self.clients.get(client)?.chains.get(repository)?.lease.as_ref()
    }

    /// A client's open leases, by repository.
    pub fn leases(&self, client: &ClientId) -> impl Iterator<Item = &OpenLease> {
        self.chains(client).filter_map(|chain| chain.lease.as_ref())
    }

    /// The open lease of this id.
    pub fn open_lease(&self, lease: &LeaseId) -> Option<&OpenLease> {
        let (client, repository) = self.open.get(lease)?;
        self.lease(client, repository)
    }

    /// All open leases, the oldest first.
    pub fn open_leases(&self) -> impl Iterator<Item = &OpenLease> {
        self.open.values().filter_map(|(client, repository)| self.lease(client, repository))
    }

    /// Open leases that have outlived their time at `now`, the oldest first:
    /// whoever sees them proposes to close them.
    pub fn overdue_leases(&self, now: UnixMillis) -> impl Iterator<Item = &OpenLease> {
        self.open_leases().filter(move |lease| lease.expires <= now)
    }

    /// A client's snapshots in all repositories, the oldest first.
    pub fn snapshots(&self, client: &ClientId) -> Vec<&SnapshotRecord> {
        let mut snapshots: Vec<_> = self.chains(client).flat_map(|chain| chain.snapshots.values()).collect();
        snapshots.sort_by_key(|snapshot| (snapshot.at, snapshot.commit.lease));
        snapshots
    }

    /// How many snapshots a client has.
    pub fn snapshots_count(&self, client: &ClientId) -> usize {
        self.chains(client).map(|chain| chain.snapshots.len()).sum()
    }

    /// The newest snapshot of a client.
    pub fn snapshot_newest(&self, client: &ClientId) -> Option<&SnapshotRecord> {
        self.chains(client).filter_map(Chain::newest).max_by_key(|snapshot| (snapshot.at, snapshot.commit.lease))
    }

    fn chains(&self, client: &ClientId) -> impl Iterator<Item = &Chain> {
        self.clients.get(client).into_iter().flat_map(|client| client.chains.values())
    }
}

/// Authentic or refused: a signature that does not match is not allowed, bytes
/// that cannot be read make no sense.
fn refused(error: DecodeError) -> Failure {
    match error {
        DecodeError::Forged { .. } => Failure::denied(error.to_string()),
        _ => Failure::invalid(error.to_string()),
    }
}
