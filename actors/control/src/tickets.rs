//! Which objects a client may be given tickets for.
//!
//! Invariant: a ticket to write is only for a name under the caller's own open
//! lease, at a place of its own (I10). A ticket to read is only for its own
//! domain's packs and index and its own snapshots and pages.

#[cfg(test)]
mod tests;

use probe::Plant;
use protocol::{
    commands::Enrollment,
    failure::Failure,
    ids::ClientId,
    limits,
    names::{ObjectKey, Place},
    wire::{MintGets, MintPuts, PutRequest, Report},
};

use crate::{Ledger, OpenLease};

/// Whether this client may be given all these rights to upload.
pub fn may_put(ledger: &Ledger, client: &ClientId, request: &MintPuts) -> Result<(), Failure> {
    check_count(request.objects.len())?;
    let enrollment = enrollment(ledger, client)?;
    let lease = ledger
        .open_lease(&request.lease)
        .or_else(|| ledger.leases(client).next().filter(|_| probe::planted(Plant::AnyLeaseMints)))
        .filter(|lease| lease.client == *client)
        .ok_or_else(|| ledger.ended(client, &request.lease))?;
    if lease.repository != request.repository {
        return Err(Failure::invalid(format!("lease {} is for repository {}", lease.id, lease.repository)));
    }
    request.objects.iter().try_for_each(|object| check_put(enrollment, lease, object))
}

/// Whether this client may be given all these rights to read.
pub fn may_get(ledger: &Ledger, client: &ClientId, request: &MintGets) -> Result<(), Failure> {
    check_count(request.objects.len())?;
    let enrollment = enrollment(ledger, client)?;
    match request.objects.iter().find(|key| !is_own(enrollment, key.place)) {
        None => Ok(()),
        Some(key) => Err(Failure::denied(format!("{key} belongs to another client or domain"))),
    }
}

/// Whether this client may say that these objects are damaged.
pub fn may_report(ledger: &Ledger, client: &ClientId, request: &Report) -> Result<(), Failure> {
    let enrollment = enrollment(ledger, client)?;
    if request.objects.len() > limits::REPORT_OBJECTS_MAX {
        return Err(Failure::invalid(format!("report at most {} objects at once", limits::REPORT_OBJECTS_MAX)));
    }
    // A commit is not reused by name, so there is nothing to condemn about it.
    let of_use = |key: &ObjectKey| is_own(enrollment, key.place) && !matches!(key.place, Place::Snapshot(_));
    match request.objects.iter().find(|key| !of_use(key)) {
        None => Ok(()),
        Some(key) => Err(Failure::denied(format!("{key} is not a pack, index segment or page of this client"))),
    }
}

fn check_put(enrollment: &Enrollment, lease: &OpenLease, object: &PutRequest) -> Result<(), Failure> {
    let PutRequest { key, len } = object;
    if !is_own(enrollment, key.place) {
        return Err(Failure::denied(format!("{key} belongs to another client or domain")));
    }
    if key.name.lease != lease.id && !probe::planted(Plant::AnyLeaseMints) {
        return Err(Failure::denied(format!("{key} was named under another lease than {}", lease.id)));
    }
    // A ticket of length 0 would let some storages honour headers that were not signed.
    if !(1..=limits::OBJECT_BYTES_MAX as u64).contains(len) {
        return Err(Failure::invalid(format!(
            "{key} has {len} bytes, and an object has 1 to {}",
            limits::OBJECT_BYTES_MAX
        )));
    }
    Ok(())
}

/// Whether a place is the client's own, or its domain's.
fn is_own(enrollment: &Enrollment, place: Place) -> bool {
    match place {
        Place::Pack(domain) | Place::Index(domain) => {
            domain == enrollment.domain || probe::planted(Plant::TicketOtherDomain)
        }
        Place::Snapshot(client) | Place::Refs(client) => {
            client == enrollment.client || probe::planted(Plant::TicketOtherClient)
        }
    }
}

fn check_count(count: usize) -> Result<(), Failure> {
    if count <= limits::TICKETS_PER_CALL_MAX {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{count} tickets asked for at once: ask for at most {}",
        limits::TICKETS_PER_CALL_MAX
    )))
}

fn enrollment<'a>(ledger: &'a Ledger, client: &ClientId) -> Result<&'a Enrollment, Failure> {
    ledger
        .enrollment(client)
        .ok_or_else(|| Failure::denied(format!("client {} is not enrolled: enroll it first", client.short())))
}
