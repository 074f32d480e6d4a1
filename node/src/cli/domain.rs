//! Making domains.

use protocol::{
    ids::RepositoryId,
    records::{Codec, Domain, Payload, Record, Trust},
};
use serde_json::json;

use super::{
    args::{DomainCreate, HomeArgs},
    human,
    output::Output,
    session::OperatorSession,
    storage::storages,
    text,
    trouble::Trouble,
};

impl OperatorSession {
    /// Makes a domain on a storage. Its secrets are on this machine's disk before
    /// anyone hears of it.
    pub async fn create_domain(&self, name: &str, storage: &str, trust: Trust) -> Result<Domain, Trouble> {
        let _guard = self.home.lock()?;
        let known = storages(self).await?;
        let storage = known.iter().find(|known| known.name == storage).ok_or_else(|| {
            Trouble::not_found(format!("there is no storage {storage:?}"))
                .hint("`nuthatch storage list` shows those that there are, `nuthatch storage add` adds one.")
        })?;
        if domains(self).await?.iter().any(|domain| domain.name == name) {
            return Err(Trouble::invalid(format!("there is a domain {name:?} already: choose another name")));
        }
        let secrets = self.home.create_domain(name, || self.operator.make_secrets())?;
        let domain = self.operator.add_domain(name, storage, trust, &secrets).await?;
        self.home.save_domain(name, Some(domain.id), &secrets)?;
        Ok(domain)
    }
}

/// The domains of the cluster.
pub async fn domains(session: &OperatorSession) -> Result<Vec<Domain>, Trouble> {
    let records = session.operator.records(Vec::new()).await?;
    let domain = |record: &Record| match record.payload() {
        Payload::Domain(domain) => Some(domain.clone()),
        _ => None,
    };
    Ok(records.iter().filter_map(domain).collect())
}

/// `domain create`.
pub async fn create(args: DomainCreate, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&args.home.path()?).await?;
    let trust = if args.strangers { Trust::Strangers } else { Trust::Trusting };
    let made = session.create_domain(&args.name, &args.storage, trust).await;
    let home = session.home.place();
    let domain = session.close(made).await?;
    let object = json!({
        "name": domain.name,
        "domain": domain.id.to_string(),
        "storage": args.storage,
        "trust": trust_name(trust),
    });
    output.result(object, || {
        format!(
            "Made the domain {:?}. Its secrets are in {home}: keep a copy.\nNext: nuthatch token create --domain {}",
            domain.name,
            text::word(&domain.name)
        )
    });
    Ok(())
}

/// `domain list`.
pub async fn list(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let found = async { Ok((domains(&session).await?, storages(&session).await?)) }.await;
    let (domains, storages) = session.close(found).await?;
    let storage = |repository: &RepositoryId| {
        storages
            .iter()
            .find(|storage| storage.repository == *repository)
            .map_or_else(|| repository.short(), |storage| storage.name.clone())
    };
    let object = |domain: &Domain| {
        json!({
            "name": domain.name,
            "domain": domain.id.to_string(),
            "storage": storage(&domain.repository),
            "trust": trust_name(domain.trust),
            "chunk_bytes_min": domain.chunker.min,
            "chunk_bytes_average": domain.chunker.average,
            "chunk_bytes_max": domain.chunker.max,
            "codec": codec_name(domain.codec),
            "generation": domain.generation,
        })
    };
    output.result(json!({ "domains": domains.iter().map(object).collect::<Vec<_>>() }), || {
        if domains.is_empty() {
            return "No domain yet: nuthatch domain create".into();
        }
        let mut rows = vec![["NAME", "STORAGE", "MEMBERS", "CHUNKS", "CODEC", "DOMAIN"].map(String::from).to_vec()];
        rows.extend(domains.iter().map(|domain| {
            vec![
                text::safe(&domain.name).into_owned(),
                text::safe(&storage(&domain.repository)).into_owned(),
                trust_name(domain.trust).into(),
                format!("{} KiB", domain.chunker.average >> 10),
                codec_name(domain.codec),
                domain.id.short(),
            ]
        }));
        human::columns(&rows, &[])
    });
    Ok(())
}

fn trust_name(trust: Trust) -> &'static str {
    match trust {
        Trust::Trusting => "trusting",
        Trust::Strangers => "strangers",
    }
}

fn codec_name(codec: Codec) -> String {
    match codec {
        Codec::Raw => "raw".into(),
        Codec::Zstd(level) => format!("zstd-{level}"),
    }
}
