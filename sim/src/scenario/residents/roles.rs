//! What the operator and the residents do.

use std::time::Duration;

use actors::{
    client::{Profile, agent},
    system::System,
};
use anyhow::{Context, ensure};
use protocol::records::{Codec, Domain, Payload, Subject};

use super::{CLIENTS, Script};
use crate::{
    history::What,
    scenario::{
        sometimes,
        stage::{Player, founding::found, person},
    },
};

/// Nobody asks by itself in this time, unless nobody tells it.
const REFRESH: Duration = Duration::from_secs(20);

/// The operator: changes the domain whenever it is to.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    let founded = found(&me.env).await?;
    let token = founded.token(&me, "all", CLIENTS).await?;
    let subject = Subject::Domain(founded.domain.id);
    {
        let mut script = me.script();
        (script.token, script.domain) = (Some(token.parse()?), Some(founded.domain.clone()));
    }
    for change in 1_u8.. {
        me.until(|script| script.wanted >= u64::from(change)).await;
        let domain = Domain { codec: Codec::Zstd(1 + i32::from(change % 19)), ..founded.domain.clone() };
        me.persist(|| founded.operator.submit(vec![Payload::Domain(domain.clone())])).await.context("domain")?;
        let kept = me.persist(|| founded.operator.records(vec![subject])).await?;
        let version = kept.first().context("the domain is kept")?.version();
        let mut script = me.script();
        // One that is away may be the only one that has the last change. Then this change
        // and that one have one number, and whichever wins is the same for all.
        if version <= script.decided {
            sometimes("residents: a change is made where the last one has not arrived");
        }
        (script.decided, script.made) = (version.max(script.decided), u64::from(change));
    }
    Ok(())
}

/// A resident client, and somebody who looks at what it goes by.
pub async fn reside(me: Player<Script>) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone()).await;
    person::join(&me, &token.to_text(), &format!("resident {}", me.info.node)).await?;
    let (_, role) = agent(&me.env, REFRESH)?;
    let _system = System::start(&me.env, vec![role]).await?;
    let domain = me.told(|script| script.domain.clone()).await;
    let subject = Subject::Domain(domain.id);
    loop {
        let (profile, ..) = Profile::enrolled(&*me.env.disk)?;
        if let Some(version) = profile.works_by().get(&subject).copied() {
            look(&me, version)?;
        }
        me.pause().await;
    }
}

/// I1. In all lives of the machine.
fn look(me: &Player<Script>, version: u64) -> anyhow::Result<()> {
    let mut script = me.script();
    let before = script.goes_by.insert(me.info.node, version);
    if before == Some(version) {
        return Ok(());
    }
    if before.is_some_and(|before| version > before + 1) {
        sometimes("residents: a client hears of the last of several changes");
    }
    let (who, policy) = (me.info.node.to_string(), "domain".into());
    me.info.recorder.note(What::GoesBy { who, policy, version });
    ensure!(before < Some(version), "I1: {} went by version {before:?}, and goes by {version}", me.info.node);
    Ok(())
}
