//! What a person at a client does, with the same calls that the program makes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actors::{
    client::{BackupRequest, Client, Means, RestoreRequest, Stamina, enroll},
    net::Pace,
};
use anyhow::{Context, ensure};
use protocol::{
    commands::{Enrollment, SnapshotRecord},
    ids::{ClusterId, RepositoryId},
    records::{Payload, Record},
    token::Token,
    wire,
};
use repo::{CancellationToken, Outcome, Progress, ReadData, RepoError, RestoreOptions, Rules};

use super::{MayRetry, Player, tree};

/// Until what is in the source tree counts as old: files younger than two seconds are
/// read again the next time, on purpose.
pub const SETTLING: Duration = Duration::from_secs(3);

/// Joins with a token, whatever it takes.
pub async fn join<S>(me: &Player<S>, token: &str, name: &str) -> anyhow::Result<(Token, Enrollment)> {
    let token: Token = token.parse()?;
    let enrollment = me.persist(|| enroll(&me.env, &token, name)).await.context("enroll")?;
    Ok((token, enrollment))
}

/// A client that has joined, and knows what it works by.
pub async fn open<S>(me: &Player<S>) -> anyhow::Result<Client> {
    let mut client = Client::open(&me.env, Pace::Busy)?;
    while let Err(failure) = client.refresh().await {
        ensure!(failure.may_retry(), "configure: {failure}");
        me.pause().await;
    }
    Ok(client)
}

/// Backs up the tree.
pub async fn back_up(client: &mut Client, stamina: Stamina) -> Result<Outcome, RepoError> {
    let request = BackupRequest {
        sources: vec![PathBuf::from(tree::SOURCE)],
        rules: Rules::default(),
        stream: None,
        host: "client".into(),
        description: String::new(),
        tags: Vec::new(),
        means: Means { memory_bytes: 32 << 20, transfers: 4 },
        stamina,
    };
    client.backup(request, Arc::new(Progress::default()), CancellationToken::new()).await
}

/// Restores all of a snapshot below a directory, over whatever is there.
pub async fn restore(client: &mut Client, snapshot: &SnapshotRecord, target: &str) -> anyhow::Result<()> {
    let options = RestoreOptions { overwrite: repo::Overwrite::Always, ..RestoreOptions::default() };
    let (snapshot, target) = (snapshot.clone(), PathBuf::from(target));
    let request = RestoreRequest { snapshot, path: None, target, options, means: Means::default() };
    let restored = client.restore(request, Arc::new(Progress::default()), CancellationToken::new()).await?;
    ensure!(restored.problems.count == 0, "restore: {:?}", restored.problems);
    Ok(())
}

/// Verifies snapshots: nothing may be wrong with them.
pub async fn verify(client: &mut Client, snapshots: &[SnapshotRecord], read: ReadData) -> anyhow::Result<()> {
    let progress = Arc::new(Progress::default());
    let verified = client.verify(snapshots, read, Means::default(), progress, CancellationToken::new()).await?;
    ensure!(verified.is_sound(), "verify: {:?}", verified.damages);
    Ok(())
}

/// The repository of the client's domain, as the orchestrators tell.
pub async fn repository<S>(me: &Player<S>, client: &Client) -> anyhow::Result<RepositoryId> {
    let signed: Vec<_> = me.persist(|| client.link().call(wire::Configure {})).await?;
    let cluster = ClusterId::of_root(&client.link().trust().root);
    let records = signed.into_iter().map(|signed| Record::open(signed, &cluster));
    let records: Vec<Record> = records.collect::<Result<_, _>>()?;
    let mut domains = records.iter().filter_map(|record| match record.payload() {
        Payload::Domain(domain) => Some(domain.repository),
        _ => None,
    });
    domains.next().context("no domain among the records")
}
