//! What the operator and the person at the client do.

use std::time::Duration;

use actors::{
    client::{Client, Contention, Stamina},
    net::Pace,
};
use anyhow::{Context, bail, ensure};
use repo::{Kind, Outcome, ReadData, RepoError};

use super::{BACKUPS, Restored, Script};
use crate::scenario::{
    sometimes,
    stage::{
        Player, Untold,
        founding::found_with_token,
        person::{self, SETTLING},
        tree::{self, TARGET},
    },
};

/// The operator: makes the cluster and a token.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    if me.script().token.is_some() {
        return Ok(());
    }
    let token = found_with_token(&me).await?;
    me.script().token = Some(token);
    Ok(())
}

/// The person at the client, in each of its lives: joins, backs up until there are
/// enough complete snapshots, restores them all.
pub async fn back_up(me: Player<Script>) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone()).await;
    person::join(&me, &token, "laptop").await?;
    me.env.clock.sleep(SETTLING).await;
    let mut last = false;
    while !last {
        if me.script().complete.len() >= BACKUPS {
            me.until(|script| script.calm).await;
            // I14: this one completes, whatever happened before.
            last = true;
        }
        work(&me)?;
        match Box::pin(back_up_once(&me)).await {
            Ok(outcome) => {
                me.note(format_args!("complete {} {:?}", outcome.snapshot, outcome.stats));
                ensure!(outcome.facts.complete && outcome.problems.count == 0, "{:?}", outcome.problems);
                let mut script = me.script();
                let tree = script.tree()?;
                script.complete.push((outcome.snapshot.to_string(), Untold(tree)));
            }
            // What a person does who reads "run it again". Refused tickets are those of
            // orchestrators whose clocks are off.
            Err(error)
                if !last && matches!(error.kind, Kind::Retry | Kind::Denied | Kind::Fenced | Kind::Superseded) =>
            {
                me.note(format_args!("again, after {error:?}"));
                me.pause().await;
            }
            Err(error) => bail!("backup: {error:?}"),
        }
    }
    restore_all(&me).await?;
    me.script().done = true;
    Ok(())
}

/// A day's work in the tree, once for each complete snapshot.
fn work(me: &Player<Script>) -> anyhow::Result<()> {
    let mut script = me.script();
    if script.complete.len() > script.day {
        script.day = script.complete.len();
        tree::edit(&*me.env.files, script.day, &me.env.rng.array())?;
    }
    Ok(())
}

/// One backup; now and then a second one comes into its way.
async fn back_up_once(me: &Player<Script>) -> Result<Outcome, RepoError> {
    let chance = |below: u8| me.env.rng.array::<1>()[0] % below;
    let part_bytes = [u64::MAX, 1 << 20, 3 << 20, 6 << 20][usize::from(chance(4))];
    let mut client = Client::open(&me.env, Pace::Busy)?;
    let backup = person::back_up(me, &mut client, stamina(part_bytes, Contention::Refuse));
    if chance(3) > 0 {
        let done = backup.await;
        client.close().await?;
        return done;
    }
    let contention = if chance(2) == 0 { Contention::Wait } else { Contention::TakeOver };
    let second = async {
        me.env.clock.sleep(Duration::from_millis(u64::from(chance(200)) * 20)).await;
        let mut second = Client::open(&me.env, Pace::Busy)?;
        let done = person::back_up(me, &mut second, stamina(part_bytes, contention)).await;
        second.close().await?;
        done
    };
    let (first, second) = tokio::join!(backup, second);
    client.close().await?;
    me.note(format_args!("{contention:?} at the same time: {:?}", first.as_ref().map(|done| done.snapshot)));
    match first {
        Err(error) if error.kind == Kind::Superseded => {
            sometimes("interruptions: a backup makes way for another");
            me.script().superseded += 1;
            if contention == Contention::Wait {
                return Err(RepoError::internal("nobody took over, and yet the backup says so"));
            }
        }
        Ok(first) => {
            if contention == Contention::TakeOver {
                sometimes("interruptions: a backup completes although another took over");
            }
            let mut script = me.script();
            let tree = script.tree().unwrap_or_default();
            script.complete.push((first.snapshot.to_string(), Untold(tree)));
        }
        Err(_) => {}
    }
    second
}

fn stamina(part_bytes: u64, contention: Contention) -> Stamina {
    Stamina {
        me: "someone".into(),
        contention,
        patience: Duration::from_secs(60),
        part_after: Duration::from_secs(20),
        part_bytes,
    }
}

/// Restores every snapshot that there is, and verifies them. Nothing fails any more.
async fn restore_all(me: &Player<Script>) -> anyhow::Result<()> {
    let mut client = Client::open(&me.env, Pace::Busy)?;
    let snapshots = client.snapshots().await.context("snapshot list")?;
    let mut restored = Vec::new();
    for (number, snapshot) in snapshots.iter().enumerate() {
        let (complete, at) = (snapshot.commit.complete, format!("{TARGET}/{}-{number}", me.info.life));
        if !complete {
            sometimes("interruptions: a part is restored");
        }
        person::restore(me, &mut client, snapshot, &at).await.with_context(|| format!("restore {number}"))?;
        restored.push(Restored { snapshot: snapshot.id.to_string(), complete, at });
    }
    person::verify(&mut client, &snapshots, ReadData::Nothing).await?;
    client.close().await?;
    me.script().restored = restored;
    Ok(())
}
