//! Who a TLS key is right now, and what it may ask for.
//!
//! Invariant: a certificate proves possession of a key, never who it is. Who it
//! is stands in signed records and in the log, and is looked up for every
//! message, so that a revocation counts at once.

#[cfg(test)]
mod tests;

use probe::Plant;
use protocol::{
    failure::Failure,
    ids::{ClientId, NodeId, PublicKey},
    records::Keyset,
    wire::{ListSnapshots, Request},
};

use crate::{Ledger, RecordSet};

/// Who a TLS key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An orchestrator of the newest roster.
    Orchestrator(NodeId),
    /// An enrolled client.
    Client(ClientId),
    /// An admin of the newest keyset.
    Admin(PublicKey),
    /// A client that was revoked. It hears why, and nothing else.
    Revoked,
    /// Nobody that is known here.
    Stranger,
}

impl Standing {
    /// Who a key is. The newest keyset counts, whichever way it came: by gossip or
    /// through the log.
    pub fn of(records: &RecordSet, ledger: &Ledger, key: &PublicKey) -> Self {
        if let Some(keyset) = newest_keyset(records, ledger) {
            if let Some(orchestrator) = keyset.orchestrators.iter().find(|orchestrator| orchestrator.key == *key) {
                return Self::Orchestrator(orchestrator.id());
            }
            if keyset.admins.iter().any(|admin| admin.key == *key) {
                return Self::Admin(*key);
            }
        }
        // A revocation counts even where the log has not told of the client yet.
        let client = ClientId::of_key(key);
        if records.client_revoked(&client) && !probe::planted(Plant::RevokedServed) {
            return Self::Revoked;
        }
        match ledger.client_by_key(key) {
            Some(_) => Self::Client(client),
            None => Self::Stranger,
        }
    }

    /// The client, if it is one.
    pub fn client(&self) -> Option<ClientId> {
        match self {
            Self::Client(client) => Some(*client),
            _ => None,
        }
    }

    /// How a person would say it.
    const fn said(&self) -> &'static str {
        match self {
            Self::Orchestrator(_) => "an orchestrator's",
            Self::Client(_) => "an enrolled client's",
            Self::Admin(_) => "an admin's",
            Self::Revoked => "a revoked client's",
            Self::Stranger => "not known to this cluster: enroll this client, or use an admin's key",
        }
    }
}

fn newest_keyset<'a>(records: &'a RecordSet, ledger: &'a Ledger) -> Option<&'a Keyset> {
    [records.keyset(), ledger.keyset()]
        .into_iter()
        .flatten()
        .max_by_key(|(number, _)| *number)
        .map(|(_, keyset)| keyset)
}

/// Whether someone of this standing may ask for this. What it may be given is
/// looked at where the request is carried out.
pub fn may(standing: &Standing, request: &Request) -> Result<(), Failure> {
    use Standing::{Admin, Client, Orchestrator, Revoked};
    if *standing == Revoked {
        return Err(Failure::denied(
            "this client was revoked: ask the operator why; to come back it needs new keys and a new token",
        ));
    }
    let (allowed, whom) = match request {
        // `Adopt` is proved by the keyset in it, not by the caller.
        Request::Hello(_) | Request::Adopt(_) | Request::Speak(_) => (true, "anyone"),
        // A client that lost the answer asks again.
        Request::Redeem(_) => (matches!(standing, Standing::Stranger | Client(_)), "clients that join"),
        Request::Release(_)
        | Request::Acknowledge(_)
        | Request::Configure(_)
        | Request::Watch(_)
        | Request::Grant(_)
        | Request::MintPuts(_)
        | Request::MintGets(_)
        | Request::Commit(_)
        | Request::Close(_)
        | Request::Survey(_)
        | Request::Report(_) => (matches!(standing, Client(_)), "enrolled clients"),
        Request::ListSnapshots(list) => (may_list(standing, list), "that client and admins"),
        Request::Submit(_)
        | Request::Status(_)
        | Request::ListClients(_)
        | Request::ListTokens(_)
        | Request::Found(_)
        | Request::Import(_)
        | Request::Inspect(_)
        | Request::Examine(_)
        | Request::ListAudit(_) => (matches!(standing, Admin(_)), "admins"),
        Request::PutRelease(_) | Request::GetRecords(_) => {
            (matches!(standing, Admin(_) | Orchestrator(_)), "admins and orchestrators")
        }
        Request::Raft(_)
        | Request::Propose(_)
        | Request::ReadIndex(_)
        | Request::Push(_)
        | Request::Reconcile(_)
        | Request::Fetch(_)
        | Request::Recall(_) => (matches!(standing, Orchestrator(_)), "orchestrators"),
    };
    if allowed {
        return Ok(());
    }
    Err(Failure::denied(format!("{} is for {whom}, and your key is {}", request.name(), standing.said())))
}

fn may_list(standing: &Standing, list: &ListSnapshots) -> bool {
    match (standing, list.client) {
        (Standing::Client(_), None) => true,
        (Standing::Client(caller), Some(client)) => *caller == client,
        (Standing::Admin(_), _) => true,
        _ => false,
    }
}
