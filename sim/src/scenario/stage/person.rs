//! What a person at a client does, with the same calls that the program makes.

use std::{ops::RangeFrom, path::PathBuf, sync::Arc, time::Duration};

use actors::{
    client::{BackupRequest, Client, Means, RestoreRequest, Stamina, enroll},
    net::Pace,
};
use anyhow::{Context, ensure};
use protocol::{
    commands::{Enrollment, SnapshotRecord},
    failure::{Code, Failure},
    ids::{ClientId, ClusterId, RepositoryId, SnapshotId},
    records::{Payload, Record},
    token::Token,
    wire,
};
use repo::{CancellationToken, Outcome, Progress, ReadData, RepoError, RestoreOptions, Rules};

use super::{MayRetry, Player, tree};
use crate::history::{Outcome as Done, What};

/// Until what is in the source tree counts as old: files younger than two seconds are
/// read again the next time, on purpose.
pub const SETTLING: Duration = Duration::from_secs(3);

/// Between two backups.
const BETWEEN: Duration = Duration::from_millis(700);

/// Joins with a token, whatever it takes.
pub async fn join<S>(me: &Player<S>, token: &str, name: &str) -> anyhow::Result<(Token, Enrollment)> {
    let token: Token = token.parse()?;
    let asked = me.persist(|| enroll(&me.env, &token, name));
    let enrollment = recorded_join(me, &name_of(me), &token, asked).await.context("enroll")?;
    Ok((token, enrollment))
}

/// Records that a machine wants to join, and what comes of it. A machine that has other
/// keys has another name.
pub async fn recorded_join<S>(
    me: &Player<S>,
    machine: &str,
    token: &Token,
    asked: impl Future<Output = Result<Enrollment, Failure>>,
) -> Result<Enrollment, Failure> {
    let what =
        |outcome, client| What::Join { machine: machine.to_owned(), token: token.id().to_string(), outcome, client };
    let asking = me.info.recorder.ask(what(Done::Unclear, None));
    let answer = asked.await;
    let client = answer.as_ref().ok().map(|enrollment| enrollment.client.to_string());
    asking.came_of(what(outcome(&answer), client));
    answer
}

/// Under which name this machine stands in the history.
pub fn name_of<S>(me: &Player<S>) -> String {
    me.info.node.to_string()
}

/// What an answer is in the history: what may be tried again is not clear.
pub fn outcome<T>(answer: &Result<T, Failure>) -> Done {
    match answer {
        Ok(_) => Done::Done,
        Err(Failure { code: Code::Retry | Code::Internal, .. }) => Done::Unclear,
        Err(_) => Done::Refused,
    }
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
pub async fn back_up<S>(me: &Player<S>, client: &mut Client, stamina: Stamina) -> Result<Outcome, RepoError> {
    let files = &*me.env.files;
    let digest = me.info.recorder.digest(files, tree::SOURCE.as_ref()).map_err(|error| unread(&error))?;
    let who = client.enrollment().client.to_string();
    let what = |outcome, snapshot| What::Backup { client: who.clone(), outcome, snapshot, digest: digest.clone() };
    let asking = me.info.recorder.ask(what(Done::Unclear, None));
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
    let done = client.backup(request, Arc::new(Progress::default()), CancellationToken::new()).await;
    asking.came_of(match &done {
        Ok(outcome) => what(Done::Done, Some(outcome.snapshot.to_string())),
        Err(_) => what(Done::Unclear, None),
    });
    done
}

/// Backs up again and again, with something new each time, whatever it takes, counting
/// `rounds`. `done` is told each snapshot that was made, and says whether it was the last.
pub async fn back_up_until<S>(
    me: &Player<S>,
    client: &mut Client,
    rounds: &mut RangeFrom<u64>,
    mut done: impl FnMut(&mut S, SnapshotId) -> bool,
) -> anyhow::Result<()> {
    for round in rounds {
        tree::add(&*me.env.files, round)?;
        let made = loop {
            match back_up(me, client, Stamina::default()).await {
                Ok(outcome) => break outcome.snapshot,
                Err(error) if error.may_retry() => me.pause().await,
                Err(error) => return Err(error).with_context(|| format!("backup {round}")),
            }
        };
        if done(&mut me.script(), made) {
            break;
        }
        me.env.clock.sleep(BETWEEN).await;
    }
    Ok(())
}

fn unread(error: &std::io::Error) -> RepoError {
    RepoError::internal(format!("the checker does not read the tree: {error}"))
}

/// Restores all of a snapshot below a directory, over whatever is there.
pub async fn restore<S>(
    me: &Player<S>,
    client: &mut Client,
    snapshot: &SnapshotRecord,
    target: &str,
) -> anyhow::Result<()> {
    let (who, id) = (client.enrollment().client.to_string(), snapshot.id.to_string());
    let what = |outcome, digest| What::Restore { client: who.clone(), snapshot: id.clone(), outcome, digest };
    // What a part holds is for the scenario to say.
    let asking = snapshot.commit.complete.then(|| me.info.recorder.ask(what(Done::Unclear, String::new())));
    let root = PathBuf::from(format!("{target}{}", tree::SOURCE));
    let options = RestoreOptions { overwrite: repo::Overwrite::Always, ..RestoreOptions::default() };
    let (snapshot, target) = (snapshot.clone(), PathBuf::from(target));
    let request = RestoreRequest { snapshot, path: None, target, options, means: Means::default() };
    let restored = client.restore(request, Arc::new(Progress::default()), CancellationToken::new()).await?;
    ensure!(restored.problems.count == 0, "restore: {:?}", restored.problems);
    if let Some(asking) = asking {
        let digest = me.info.recorder.digest(&*me.env.files, &root).context("a restored tree")?;
        asking.came_of(what(Done::Done, digest));
    }
    Ok(())
}

/// Records the snapshots that the cluster says a client has, in the end, to whoever began
/// to ask then.
pub fn record_snapshots<S>(me: &Player<S>, from_ms: u64, client: ClientId, snapshots: &[SnapshotRecord]) {
    let complete = snapshots.iter().filter(|snapshot| snapshot.commit.complete);
    let snapshots = complete.map(|snapshot| snapshot.id.to_string()).collect();
    me.info.recorder.note_since(from_ms, What::Snapshots { client: client.to_string(), snapshots });
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
