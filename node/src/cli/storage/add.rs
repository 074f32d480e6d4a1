//! Adding storages.

use protocol::{
    ids::RepositoryId,
    records::{Storage, StorageCredential},
};
use serde_json::json;

use super::{
    super::{args::StorageAdd, output::Output, session::OperatorSession, text::word, trouble::Trouble},
    check::{self, dangers},
    read_place, storages,
};
use crate::store::{Finding, Verdict};

/// A storage that is to be added.
pub struct NewStorage {
    /// Where it is. Its repository id is set here.
    pub storage: Storage,
    /// What opens it.
    pub credential: StorageCredential,
    /// Whether a repository that is there already is used.
    pub adopt: bool,
}

impl NewStorage {
    /// Tries the storage, and adds it. Returns also what was found out about it.
    pub async fn add(mut self, session: &OperatorSession) -> Result<(Storage, Vec<Finding>), Trouble> {
        let _guard = session.home.lock()?;
        let known = storages(session).await?;
        let env = session.env();
        self.storage.repository = RepositoryId(env.rng.array());
        if let Some(same) = known.iter().find(|known| known.name == self.storage.name) {
            // The same again, to renew its credential or authority, is fine.
            let here = (&same.endpoint, &same.bucket, &same.prefix)
                == (&self.storage.endpoint, &self.storage.bucket, &self.storage.prefix);
            if !(here && self.adopt) {
                return Err(Trouble::invalid(format!("there is a storage {:?} already", same.name))
                    .hint("Choose another name; or, to renew its credential, give the same address and --adopt."));
            }
        }
        let findings = check::probe(env, &self.storage, &self.credential).await;
        let findings = findings
            .map_err(|trouble| trouble.hint("Check endpoint, bucket, region and credential. Nothing was added."))?;
        if let Some(broken) = findings.iter().find(|one| one.check == "read_after_write" && one.verdict == Verdict::Bad)
        {
            return Err(Trouble::new("denied", format!("{} {} Nothing was added.", broken.found, broken.follows)));
        }
        let wanted = self.storage.repository;
        let added = session.operator.add_storage(self.storage, &self.credential, self.adopt).await?;
        tracing::debug!(adopted = added.repository != wanted, "added a storage");
        Ok((added, findings))
    }
}

/// `storage add`.
pub async fn add(args: StorageAdd, output: Output) -> Result<(), Trouble> {
    let (storage, credential) = read_place(&args.place, &args.name)?;
    let new = NewStorage { credential, adopt: args.adopt, storage };
    let session = OperatorSession::open(&args.home.path()?).await?;
    let added = new.add(&session).await;
    let (storage, findings) = session.close(added).await?;
    let object = json!({
        "name": storage.name,
        "repository": storage.repository.to_string(),
        "warnings": dangers(&findings).collect::<Vec<_>>(),
        "checks": check::json(&findings),
    });
    output.result(object, || {
        format!(
            "Added the storage {:?}: repository {}.\nNext: nuthatch domain create NAME --storage {}",
            storage.name,
            storage.repository,
            word(&storage.name)
        )
    });
    for danger in dangers(&findings) {
        output.note(&format!("Note: {danger}"));
    }
    Ok(())
}
