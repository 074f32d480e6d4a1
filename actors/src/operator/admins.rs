//! Adding and removing admins.
//!
//! Invariant: whoever leaves takes nothing along. What counts and was signed by that admin
//! is signed again by this one before the keyset that removes it, so that at no moment a
//! domain is gone, or a client that was revoked is one again.

use protocol::{
    failure::Failure,
    ids::PublicKey,
    limits,
    records::{Admin, Payload, Record, SecretId, Subject},
    sign::Signer,
    wire,
};

use super::Operator;

/// Bytes of records in one call.
const RECORDS_BYTES: usize = limits::RECORDS_BYTES_MAX / 2;
/// Admins that a keyset has room for, beside its orchestrators: a record stays below
/// `limits::RECORD_BYTES_MAX`.
const ADMINS_MAX: usize = 100;

/// What a change of the admins came to.
#[derive(Debug, Clone)]
pub struct ChangedAdmins {
    /// The number of the keyset in force.
    pub keyset: u64,
    /// Who joined, or left.
    pub admin: Admin,
    /// Records that were signed again.
    pub signed_again: usize,
}

impl Operator {
    /// This operator's own key.
    pub fn key(&self) -> PublicKey {
        self.signer.public()
    }

    /// Lets another key sign records. The same again is no failure.
    pub async fn add_admin(&self, admin: Admin, root: &Signer) -> Result<ChangedAdmins, Failure> {
        let roster = self.roster().await?;
        let mut keyset = roster.keyset.clone();
        if let Some(known) = keyset.admins.iter().find(|known| known.key == admin.key) {
            return Ok(ChangedAdmins { keyset: roster.record.version(), admin: known.clone(), signed_again: 0 });
        }
        if keyset.admins.iter().any(|known| known.name == admin.name) {
            return Err(Failure::invalid(format!("an admin is called {:?} already: give another name", admin.name)));
        }
        if keyset.orchestrators.iter().any(|node| node.key == admin.key) {
            return Err(Failure::invalid("this key is an orchestrator's: an admin needs one of its own"));
        }
        if keyset.admins.len() >= ADMINS_MAX {
            return Err(Failure::invalid(format!("a cluster has at most {ADMINS_MAX} admins")));
        }
        keyset.admins.push(admin.clone());
        let record = self.sign_keyset(&roster, keyset, root).await?;
        Ok(ChangedAdmins { keyset: record.version(), admin, signed_again: 0 })
    }

    /// Ends what an admin may do: what it signs from now on, and signed before, counts no
    /// more. What counts now is signed again by this operator.
    pub async fn remove_admin(&self, leaving: &Admin, root: &Signer) -> Result<ChangedAdmins, Failure> {
        let roster = self.roster().await?;
        if leaving.key == self.key() {
            return Err(Failure::invalid(
                "this is the admin whose directory is used: have another one remove it, who then signs its records again",
            ));
        }
        if roster.keyset.admins.iter().all(|admin| admin.key != self.key()) {
            return Err(Failure::denied("the admin whose directory is used is none of this cluster any more"));
        }
        let signed_again = self.sign_again(leaving).await?;
        let mut keyset = roster.keyset.clone();
        keyset.admins.retain(|admin| admin.key != leaving.key);
        let record = self.sign_keyset(&roster, keyset, root).await?;
        Ok(ChangedAdmins { keyset: record.version(), admin: leaving.clone(), signed_again })
    }

    /// Signs what counts and is an admin's, each a version higher. How many there were.
    async fn sign_again(&self, leaving: &Admin) -> Result<usize, Failure> {
        let mut records = self.records(Vec::new()).await?;
        // Credentials are not listed: they are asked for.
        let secrets = records.iter().filter_map(|record| match record.payload() {
            Payload::Storage(storage) => Some(Subject::Secret(SecretId::StorageMinting(storage.repository))),
            _ => None,
        });
        let secrets: Vec<Subject> = secrets.collect();
        if !secrets.is_empty() {
            records.extend(self.records(secrets).await?);
        }
        let theirs: Vec<&Record> = records
            .iter()
            .filter(|record| *record.author() == leaving.key && !matches!(record.payload(), Payload::Keyset(_)))
            .collect();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for record in &theirs {
            let len = record.signed().body.len();
            if bytes + len > RECORDS_BYTES || batch.len() >= limits::RECORDS_PER_FRAME_MAX {
                self.call(wire::Submit { records: std::mem::take(&mut batch) }).await?;
                bytes = 0;
            }
            bytes += len;
            batch.push(self.sign(record.version() + 1, record.payload().clone()));
        }
        if !batch.is_empty() {
            self.call(wire::Submit { records: batch }).await?;
        }
        Ok(theirs.len())
    }
}
