//! A lost cluster begins again: on new orchestrators, from its ledger's backup.
//!
//! Invariant: each step may be interrupted and the whole repeated. Nothing is believed but
//! what the root signed, or what was signed by an orchestrator that a keyset of the root
//! names; what the storage holds beside the backup counts only with its client's signature.

mod objects;
mod roots;

use std::collections::BTreeMap;

use env::{Env, Steward};
use probe::Point;
use protocol::{
    codec,
    failure::{Code, Failure},
    format::ledger::{HEADS, Head, Kept, PARTS, open_part},
    ids::{ClusterId, PublicKey},
    ledger::{Charter, EMPTY_DIGEST, Item, digest},
    limits,
    records::{Admin, Keyset, Orchestrator, Payload, Record, RecordBody, SecretId, Storage, StorageCredential},
    sign::Signer,
    time::UnixMillis,
    wire,
};

use self::objects::{named, unusable};
use super::{Candidate, Operator, PATIENCE, Roster, adopt_one, meet, names_the_same};
use crate::{
    client::{Trust, any_port},
    identity::Identity,
    net::{Endpoint, Pace},
};

/// Backups that are tried, the newest first, until one can be read whole.
const BACKUPS_TRIED_MAX: usize = limits::LEDGER_BACKUPS_KEPT;
/// Bytes of pieces in one command: far enough below `limits::ENTRY_BYTES_MAX`.
const IMPORT_BYTES: usize = 128 << 10;
/// Incarnations that one rebuild begins: more are not its own.
const BEGINNINGS_MAX: usize = 3;
/// Records in one call, as far as they fit.
const RECORDS_BYTES: usize = limits::RECORDS_BYTES_MAX / 2;
/// Secrets that are sealed and handed over at once.
const SECRETS_AT_ONCE: usize = 32;

/// What a storage has of a lost cluster.
pub struct Remains {
    /// When the backup was written.
    pub at: UnixMillis,
    /// The newest keyset in it, with its number.
    pub keyset: (u64, Keyset),
    /// The incarnation that begins now.
    pub incarnation: u32,
    /// Backups that are newer, and could not be used: why.
    pub skipped: Vec<String>,
    /// Snapshots that are in the storage and not in the backup: they were committed later.
    pub later: usize,
    /// Clients that have something in the storage, and of whom the backup does not know:
    /// they joined later, and have to join again.
    pub unknown: Vec<String>,
    /// Commits that the storage has damaged: if they were snapshots, these are lost.
    pub damaged: Vec<String>,
    /// Whether the lost orchestrators used the credential that was given as well.
    pub same_credential: bool,
    records: Vec<Record>,
    secrets: BTreeMap<SecretId, Vec<u8>>,
    items: Vec<Item>,
}

/// What a cluster came to be that began again.
pub struct Rebuilt {
    /// The roster, once everything is in force.
    pub roster: Roster,
    /// Whom the operator is to believe from now on, and where they are.
    pub trust: Trust,
}

impl Remains {
    /// Reads what is left in a storage. Nothing is changed.
    pub async fn read(
        env: &Env,
        storage: &Storage,
        credential: &StorageCredential,
        root: &Signer,
    ) -> Result<Self, Failure> {
        let steward = env.storages.steward(storage, credential).map_err(unusable)?;
        let heads = steward.list(HEADS).await.map_err(unusable)?;
        let (mut skipped, mut found) = (Vec::new(), None);
        for (path, _) in heads.iter().rev().take(BACKUPS_TRIED_MAX) {
            match read_backup(&*steward, path, root).await {
                Ok(remains) => {
                    found = Some(remains);
                    break;
                }
                // A storage that does not answer now is no reason to begin from an older one.
                Err(failure) if failure.code == Code::Retry => return Err(failure),
                Err(failure) => skipped.push(format!("{path}: {failure}")),
            }
        }
        let Some(mut remains) = found else {
            let more = skipped.first().map(|why| format!(" The newest cannot be used: {why}.")).unwrap_or_default();
            return Err(Failure::not_found(format!(
                "{}/{} holds no backup of a ledger of this cluster that can be read.{more}",
                storage.bucket, storage.prefix
            )));
        };
        remains.skipped = skipped;
        let seen = heads.iter().filter_map(|(path, _)| named(path)).map(|name| name.lease.incarnation).max();
        remains.incarnation = remains.incarnation.max(seen.unwrap_or(0));
        for other in remains.storages() {
            let steward = if (&other.endpoint, &other.bucket, &other.prefix)
                == (&storage.endpoint, &storage.bucket, &storage.prefix)
            {
                // The credential that was given takes the place of the one that is lost.
                let secret = SecretId::StorageMinting(other.repository);
                let lost = remains.secrets.insert(secret, codec::encode(credential));
                remains.same_credential = lost == Some(codec::encode(credential));
                steward.clone()
            } else {
                let sealed = remains.secrets.get(&SecretId::StorageMinting(other.repository));
                let sealed = sealed.ok_or_else(|| Failure::corrupt("the backup lacks a storage's credential"))?;
                let credential: StorageCredential = codec::decode("storage credential", sealed)?;
                env.storages.steward(&other, &credential).map_err(unusable)?
            };
            let roots = roots::find(&*steward, other.repository, &remains.items, env.clock.now()).await;
            let roots = roots.map_err(|failure| Failure::new(failure.code, format!("{}: {failure}", other.name)))?;
            remains.incarnation = remains.incarnation.max(roots.incarnation);
            remains.later += roots.snapshots;
            remains.unknown.extend(roots.unknown.iter().map(ToString::to_string));
            remains.damaged.extend_from_slice(&roots.damaged);
            roots.add_to(&mut remains.items);
        }
        remains.incarnation = remains
            .incarnation
            .checked_add(1)
            .ok_or_else(|| Failure::internal("there have been too many incarnations of this ledger"))?;
        Ok(remains)
    }

    /// The storages of the cluster.
    fn storages(&self) -> Vec<Storage> {
        let newest = self.winners();
        let storages = newest.filter_map(|record| match record.payload() {
            Payload::Storage(storage) => Some(storage.clone()),
            _ => None,
        });
        storages.collect()
    }

    /// The records that count.
    fn winners(&self) -> impl Iterator<Item = &Record> {
        let admits = |record: &&Record| self.keyset.1.admins.iter().any(|admin| admin.key == *record.author());
        self.records.iter().filter(admits)
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Client { .. })).count()
    }

    /// How many snapshots there are, with those that were found beside the backup.
    pub fn snapshots(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Snapshot(_))).count()
    }

    /// Makes waiting nodes the orchestrators of the cluster, with all of this.
    pub async fn rebuild(
        &self,
        env: &Env,
        candidates: &[Candidate],
        root: &Signer,
        (admin_seed, admin_name): ([u8; 32], &str),
        keyset_floor: u64,
    ) -> Result<Rebuilt, Failure> {
        let addresses: Vec<String> = candidates.iter().map(|candidate| candidate.address.clone()).collect();
        let identity = Identity::of_operator(admin_seed);
        let endpoint = Endpoint::bind(env, &identity, any_port(&addresses), false)?;
        let founded = self.adopt(env, &endpoint, candidates, root, (identity.key(), admin_name), keyset_floor).await;
        endpoint.close().await;
        let trust = Trust { root: root.public(), keyset_floor: founded?, addresses };
        let operator = Operator::new(env, admin_seed, trust)?;
        let done = self.fill(&operator, root).await;
        let trust = operator.trust();
        operator.close().await;
        Ok(Rebuilt { roster: done?, trust })
    }

    /// Has the nodes adopted by the next keyset. Its number.
    async fn adopt(
        &self,
        env: &Env,
        endpoint: &Endpoint,
        candidates: &[Candidate],
        root: &Signer,
        (admin, admin_name): (PublicKey, &str),
        keyset_floor: u64,
    ) -> Result<u64, Failure> {
        let (mut orchestrators, mut adopted): (Vec<Orchestrator>, Option<Record>) = (Vec::new(), None);
        for candidate in candidates {
            let met = meet(endpoint, candidate, &root.public()).await?;
            orchestrators.push(met.0);
            adopted = adopted.or(met.1);
        }
        let (number, last) = &self.keyset;
        let mut keyset = Keyset { orchestrators: orchestrators.clone(), ..last.clone() };
        if keyset.admins.iter().all(|known| known.key != admin) {
            keyset.admins.push(Admin { name: admin_name.into(), key: admin });
        }
        let record = match adopted {
            // An earlier attempt came this far.
            Some(record) if names_the_same(&record, &keyset) => record,
            Some(_) => {
                return Err(Failure::invalid(
                    "one of these nodes is an orchestrator of this cluster already: start it with an empty data directory",
                ));
            }
            None => {
                let version = keyset_floor.max(*number) + 1;
                let (cluster, payload) = (ClusterId::of_root(&root.public()), Payload::Keyset(keyset));
                Record::sign(root, RecordBody { cluster, version, payload })
            }
        };
        for node in &orchestrators {
            let adopt = wire::Adopt { keyset: record.signed().clone(), root: root.public(), genesis: true };
            adopt_one(env, endpoint, node, adopt)
                .await
                .map_err(|failure| Failure::new(failure.code, format!("{}: {}", node.address, failure.message)))?;
        }
        Ok(record.version())
    }

    /// Hands over everything that was kept.
    async fn fill(&self, operator: &Operator, root: &Signer) -> Result<Roster, Failure> {
        if Self::is_done(operator).await? {
            probe::sometimes("a rebuild finds that an earlier one has handed over everything");
            return operator.settled().await;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let records: Vec<&Record> =
            self.winners().filter(|record| !matches!(record.payload(), Payload::Keyset(_))).collect();
        for record in records {
            let len = record.signed().body.len();
            if bytes + len > RECORDS_BYTES || batch.len() >= limits::RECORDS_PER_FRAME_MAX {
                operator.call(wire::Submit { records: std::mem::take(&mut batch) }).await?;
                bytes = 0;
            }
            bytes += len;
            batch.push(record.signed().clone());
        }
        if !batch.is_empty() {
            operator.call(wire::Submit { records: batch }).await?;
        }
        let secrets: Vec<(&SecretId, &Vec<u8>)> = self.secrets.iter().collect();
        for some in secrets.chunks(SECRETS_AT_ONCE) {
            let mut sealed = Vec::new();
            for (id, secret) in some {
                sealed.push(Payload::Secret(operator.seal(**id, secret).await?));
            }
            operator.submit(sealed).await?;
        }
        self.import(operator, root).await?;
        operator.settled().await
    }

    /// Whether an earlier attempt has handed over everything, and was interrupted after that.
    async fn is_done(operator: &Operator) -> Result<bool, Failure> {
        let seen = operator.call(wire::Inspect {}).await?;
        Ok(seen.seat == wire::Seat::Open && !seen.importing)
    }

    /// Has the log begin again with these pieces. How many of them it has. An earlier attempt
    /// may have begun with others, since it looked at the storage at another time: what it
    /// handed over is dropped by beginning in one more incarnation.
    async fn begin(&self, operator: &Operator, root: &Signer) -> Result<u64, Failure> {
        let mut charter = Charter {
            cluster: ClusterId::of_root(&root.public()),
            incarnation: self.incarnation,
            items: self.items.len() as u64,
            digest: self.items.iter().fold(EMPTY_DIGEST, |before, item| digest(&before, item)),
        };
        for _ in 0..BEGINNINGS_MAX {
            match operator.call(wire::Found { charter: charter.sign(root) }).await {
                Err(failure) if failure.code == Code::Invalid => {
                    if Self::is_done(operator).await? {
                        return Ok(charter.items);
                    }
                    probe::sometimes("a rebuild begins in one more incarnation");
                    let seen = operator.call(wire::Inspect {}).await?;
                    charter.incarnation = charter.incarnation.max(seen.incarnation).checked_add(1).ok_or(failure)?;
                }
                begun => return begun,
            }
        }
        Err(Failure::retry("the ledger begins again by another hand as well: make sure that only one does it"))
    }

    async fn import(&self, operator: &Operator, root: &Signer) -> Result<(), Failure> {
        let mut place = self.begin(operator, root).await?;
        while let Some(rest) = self.items.get(usize::try_from(place).unwrap_or(usize::MAX)..)
            && !rest.is_empty()
        {
            let mut bytes = 0;
            let fits = |item: &&Item| {
                bytes += codec::encode(*item).len();
                bytes <= IMPORT_BYTES
            };
            let most = if probe::buggify(Point::PieceByPiece) { 1 } else { limits::IMPORT_ITEMS_MAX };
            let mut items: Vec<Item> = rest.iter().take(most).take_while(fits).cloned().collect();
            if items.is_empty() {
                items.extend(rest.first().cloned());
            }
            let after = operator.call(wire::Import { from: place, items }).await?;
            if after <= place {
                return Err(Failure::new(Code::Internal, "the import does not go on: run the same command again"));
            }
            place = after;
            if probe::buggify(Point::RebuildBreaksOff) {
                return Err(Failure::retry("the operator's machine went away"));
            }
        }
        Ok(())
    }
}

/// Looks whether any of the old orchestrators is still at work. Its address, if so: while
/// one is left, nothing is lost.
pub async fn survivor(env: &Env, admin_seed: [u8; 32], trust: &Trust) -> Result<Option<String>, Failure> {
    let endpoint = Endpoint::bind(env, &Identity::of_operator(admin_seed), any_port(&trust.addresses), false)?;
    let looks = trust.addresses.iter().map(|address| async {
        let peer = endpoint.dial(address, None, Pace::Busy, PATIENCE).await.ok()?;
        let seen = peer.call(wire::Inspect {}, PATIENCE).await.ok();
        peer.close();
        let at_work = seen.is_some_and(|seen| seen.seat == wire::Seat::Open && !seen.importing);
        at_work.then(|| address.clone())
    });
    let found = futures_util::future::join_all(looks).await.into_iter().flatten().next();
    endpoint.close().await;
    Ok(found)
}

async fn read_backup(steward: &dyn Steward, path: &str, root: &Signer) -> Result<Remains, Failure> {
    let cluster = ClusterId::of_root(&root.public());
    let bytes = objects::read(steward, path).await?;
    let (author, head) = Head::open(&bytes, &cluster)?;
    let key = head.open_key(&root.sealing())?;
    let (mut records, mut secrets, mut items) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (number, part) in (0..).zip(&head.parts) {
        let bytes = objects::read(steward, &format!("{PARTS}/{part}")).await?;
        for kept in open_part(&key, number, &bytes)? {
            match kept {
                Kept::Record(signed) => records.push(Record::open(signed, &cluster)?),
                Kept::Secret { id, secret } => _ = secrets.insert(id, secret),
                Kept::Item(item) => items.push(item),
            }
        }
    }
    let keysets = records.iter().filter(|record| *record.author() == root.public());
    let keysets = keysets.filter_map(|record| match record.payload() {
        Payload::Keyset(keyset) => Some((record.version(), keyset.clone())),
        _ => None,
    });
    let keyset = keysets.max_by_key(|(number, _)| *number);
    let keyset = keyset.ok_or_else(|| Failure::corrupt("it holds no keyset that the root signed"))?;
    if keyset.1.orchestrators.iter().all(|node| node.key != author) {
        return Err(Failure::denied("it was not written by an orchestrator of this cluster"));
    }
    Ok(Remains {
        at: head.at,
        keyset,
        incarnation: head.incarnation,
        skipped: Vec::new(),
        later: 0,
        unknown: Vec::new(),
        damaged: Vec::new(),
        same_credential: false,
        records,
        secrets,
        items,
    })
}
