//! A resident client hears of what an operator decides when it is decided, and not when
//! it would ask again.

use std::time::Duration;

use actors::{
    client::{Profile, agent, enroll},
    system::System,
};
use anyhow::Context;
use protocol::{
    records::{Codec, Domain, Payload, Subject},
    token::Token,
};
use sim::{
    kernel::fault::{Node, Weather},
    scenario::{
        Scenario,
        stage::{ORCHESTRATORS, Stage, founding::found},
    },
    world::{Options, World},
};

/// Nobody asks in this time.
const REFRESH: Duration = Duration::from_secs(3600);
/// A change goes to all orchestrators, and from there to the client: that is a few round
/// trips, and the pause that a client makes between two waits.
const SOON: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_secs(600);

const SCENARIO: Scenario = Scenario {
    name: "news",
    about: "a resident client hears of changes",
    options: |_| Options::default(),
    plan: |_| Vec::new(),
    panics: &[],
    play: |_| Ok(()),
};

#[derive(Debug, Default)]
struct Script {
    token: Option<String>,
    domain: Option<Domain>,
    /// The version of the domain's record that the operator has just signed.
    decided: u64,
    /// The one that the client works by.
    known: u64,
    /// What the operator is to decide.
    wanted: u64,
}

/// Whether a client has seen a later version of the domain's record than this: then it
/// would refuse this one.
fn has_seen_later(profile: &Profile, domain: &Domain, version: u64) -> bool {
    profile.check_floors(&[(Subject::Domain(domain.id), version)]).is_err()
}

fn play(stage: &mut Stage<'_, Script>) -> anyhow::Result<()> {
    stage.orchestrators();
    stage.person("operator", |me| async move {
        let founded = found(&me.env).await?;
        let token = founded.token(&me, "first", 1).await?;
        {
            let mut script = me.script();
            (script.token, script.domain, script.decided) = (Some(token), Some(founded.domain.clone()), 1);
        }
        for version in 2_u8.. {
            me.until(|script| script.wanted >= u64::from(version)).await;
            let domain = Domain { codec: Codec::Zstd(i32::from(version)), ..founded.domain.clone() };
            founded.operator.submit(vec![Payload::Domain(domain)]).await.context("policy")?;
            me.script().decided = u64::from(version);
        }
        Ok(())
    });
    stage.person("laptop", |me| async move {
        let token: Token = me.told(|script| script.token.clone()).await.parse()?;
        enroll(&me.env, &token, "laptop").await.context("enroll")?;
        let (_, role) = agent(&me.env, REFRESH)?;
        let _system = System::start(&me.env, vec![role]).await?;
        let domain = me.told(|script| script.domain.clone()).await;
        loop {
            let (profile, ..) = Profile::enrolled(&*me.env.disk)?;
            let known = me.script().known;
            if has_seen_later(&profile, &domain, known) {
                me.script().known += 1;
            } else {
                me.pause().await;
            }
        }
    });
    stage.world.boot_all();
    stage.wait("first configuration", |script| script.known == 1)?;
    Ok(())
}

fn decide(stage: &mut Stage<'_, Script>, version: u64) -> anyhow::Result<Duration> {
    stage.script().wanted = version;
    stage.wait("decision", |script| script.decided == version)?;
    let decided = stage.world.now();
    stage.wait("news", |script| script.known == version)?;
    Ok(stage.world.now() - decided)
}

fn world() -> anyhow::Result<World> {
    let weather = Weather { loss_ppm: 0, duplicate_ppm: 0, straggle_ppm: 0, ..Weather::default() };
    World::new(1, Options { weather, ..Options::default() })
}

#[test]
fn a_change_reaches_a_client_that_waits_wherever_it_waits() -> anyhow::Result<()> {
    let mut world = world()?;
    let mut stage = Stage::<Script>::set(&mut world, &SCENARIO, DEADLINE);
    play(&mut stage)?;
    // It goes on waiting, for longer than any one wait lasts.
    for (version, rest_secs) in [(2, 0), (3, 60)] {
        stage.pass_until(stage.world.now() + Duration::from_secs(rest_secs))?;
        let took = decide(&mut stage, version)?;
        assert!(took < SOON, "version {version} took {took:?}");
    }
    // One of them is the orchestrator at which it waits. A silent connection is given up
    // after 30 seconds.
    (0..ORCHESTRATORS).for_each(|number| stage.restart(Node(number)));
    stage.pass_until(stage.world.now() + Duration::from_secs(40))?;
    let took = decide(&mut stage, 4)?;
    assert!(took < SOON, "after a restart it took {took:?}");
    Ok(())
}
