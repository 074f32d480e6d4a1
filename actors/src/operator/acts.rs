//! What an operator adds to a cluster: storages, domains, tokens.

use env::{Steward, store::StoreError};
use protocol::{
    codec,
    failure::{Code, Failure},
    format::marker,
    ids::{DomainId, RepositoryId},
    names::MARKER,
    records::{Chunker, Cipher, Codec, Domain, Payload, SecretId, Storage, StorageCredential, TokenTerms, Trust},
    time::UnixMillis,
    token::{Token, Welcome},
    wire,
};

use super::{Operator, PAUSE};

/// Cuts around 1 MiB: a 64-GiB machine has some 65,000 chunks, whose references fit
/// in a few megabytes, and an edit costs about a mebibyte. Small files are one chunk each.
pub const CHUNKER: Chunker = Chunker { min: 256 << 10, average: 1 << 20, max: 4 << 20 };

/// The fast end of zstd: on source text it saves nearly what level 3 does, at 1.6 times the speed.
pub const CODEC: Codec = Codec::Zstd(1);

/// What a new token is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// How many clients may redeem it.
    pub uses: u32,
    /// When it ends.
    pub expires: UnixMillis,
    /// Which domain its clients join.
    pub domain: DomainId,
    /// Tags that its clients get.
    pub tags: Vec<String>,
}

impl Operator {
    /// Adds a storage: makes sure that the credential works there, writes the
    /// repository's marker, and hands record and sealed credential to the cluster.
    ///
    /// `storage.repository` is what the marker will say. If the prefix is a
    /// repository already, that is refused, unless `adopt`: then its id is kept.
    pub async fn add_storage(
        &self,
        mut storage: Storage,
        credential: &StorageCredential,
        adopt: bool,
    ) -> Result<Storage, Failure> {
        let present = self.mark(&storage, credential).await?;
        if present != storage.repository {
            if !adopt {
                return Err(Failure::invalid(format!(
                    "{}/{} holds repository {present} already: choose another prefix, or say --adopt to use it",
                    storage.bucket, storage.prefix
                )));
            }
            storage.repository = present;
        }
        let id = SecretId::StorageMinting(storage.repository);
        let secret = self.seal(id, &codec::encode(credential)).await?;
        self.submit(vec![Payload::Storage(storage.clone()), Payload::Secret(secret)]).await?;
        Ok(storage)
    }

    /// Writes the marker, or reads the one that is there. Returns what it says. A
    /// storage that gives no clear answer is asked again.
    async fn mark(&self, storage: &Storage, credential: &StorageCredential) -> Result<RepositoryId, Failure> {
        let steward = self.env.storages.steward(storage, credential).map_err(unusable)?;
        for _ in 1..MARK_ATTEMPTS {
            match mark_once(&*steward, storage).await {
                Err(Failure { code: Code::Retry, .. }) => self.env.clock.sleep(PAUSE).await,
                done => return done,
            }
        }
        mark_once(&*steward, storage).await
    }

    /// Adds a domain whose secrets were made on this machine, and hands its index
    /// key, sealed, to the orchestrators.
    pub async fn add_domain(
        &self,
        name: &str,
        storage: &Storage,
        trust: Trust,
        secrets: &Welcome,
    ) -> Result<Domain, Failure> {
        let domain = Domain {
            id: DomainId(self.env.rng.array()),
            name: name.into(),
            repository: storage.repository,
            trust,
            chunker: CHUNKER,
            codec: CODEC,
            cipher: Cipher::ChaCha20Poly1305,
            generation: secrets.convergence.last().map_or(0, |(generation, _)| *generation),
        };
        let index = self.seal(SecretId::DomainIndex(domain.id), &secrets.index_key).await?;
        self.submit(vec![Payload::Domain(domain.clone()), Payload::Secret(index)]).await?;
        Ok(domain)
    }

    /// New secrets for a domain.
    pub fn make_secrets(&self) -> Welcome {
        Welcome { convergence: vec![(0, self.env.rng.array())], index_key: self.env.rng.array() }
    }

    /// Makes a token. Its terms and its release value are at the orchestrators when
    /// this returns; the token itself is nowhere but here.
    pub async fn add_token(&self, new: NewToken, secrets: &Welcome) -> Result<Token, Failure> {
        let trust = self.trust();
        let token = Token::new(self.env.rng.array(), trust.root, trust.keyset_floor, trust.addresses);
        let release: [u8; 32] = self.env.rng.array();
        let terms = TokenTerms {
            token: token.id(),
            name: new.name,
            uses: new.uses,
            expires: new.expires,
            domain: new.domain,
            tags: new.tags,
            welcome: token.seal_welcome(&release, secrets),
        };
        self.call(wire::PutRelease { token: token.id(), value: release, expires: new.expires }).await?;
        self.submit(vec![Payload::Token(terms)]).await?;
        Ok(token)
    }
}

/// A marker is far smaller; whatever else is found under its name is not read.
const MARKER_BYTES_MAX: usize = 4096;
/// How often an unclear answer of a storage is asked for again.
const MARK_ATTEMPTS: u32 = 5;

fn unusable(error: StoreError) -> Failure {
    let code = if matches!(error, StoreError::Unclear { .. }) { Code::Retry } else { Code::Invalid };
    Failure::new(code, format!("the storage cannot be used: {error}"))
}

async fn mark_once(steward: &dyn Steward, storage: &Storage) -> Result<RepositoryId, Failure> {
    match steward.head(MARKER).await {
        Err(StoreError::NotFound { .. }) => {
            let written = steward.put_new(MARKER, marker::encode(&storage.repository).into()).await;
            // Someone else may have been quicker: what is there now counts.
            if !matches!(written, Ok(()) | Err(StoreError::Exists { .. })) {
                written.map_err(unusable)?;
            }
        }
        found => drop(found.map_err(unusable)?),
    }
    let bytes = steward.get(MARKER, MARKER_BYTES_MAX).await.map_err(unusable)?;
    Ok(marker::decode(&bytes)?)
}
