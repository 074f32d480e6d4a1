//! Joining a cluster with one token.

use env::{Env, disk::Guard};
use probe::Plant;
use protocol::{
    codec,
    commands::{Enrollment, Redemption},
    failure::{Code, Failure},
    sign::{self, Signed},
    token::Token,
    wire,
};

use super::{
    link::{Link, Trust},
    profile::Profile,
};
use crate::net::{Endpoint, Pace};

/// Redeems a token for this machine, under a name for people.
///
/// It may be repeated after any interruption: the keys stay the same, and so does
/// the answer.
pub async fn enroll(env: &Env, token: &Token, name: &str) -> Result<Enrollment, Failure> {
    let _guard = lock(env, "enroll")?;
    let trust = Trust { root: token.root, keyset_floor: token.keyset_floor, addresses: token.addresses.clone() };
    let begun = Profile::load(&*env.disk)?.map(|profile| resume(profile, token)).transpose()?.flatten();
    let mut profile = match begun {
        Some(profile) => profile,
        None => {
            let profile = Profile::create(&*env.rng, token.id(), &trust);
            if !probe::planted(Plant::KeysSavedLate) {
                profile.save(&*env.disk)?;
            }
            profile
        }
    };
    let endpoint = Endpoint::bind(env, &profile.identity(), super::any_port(&trust.addresses), false)?;
    let link = Link::new(env, endpoint, trust, Pace::Busy);
    let joined = join(&link, token, name, &mut profile, env).await;
    link.close().await;
    joined
}

/// A machine that is enrolled keeps its enrollment; one that was interrupted goes on
/// with the same keys. None if it tried another token, and that did not work: the
/// cluster may have those keys under that token for ever, so this one needs new keys.
fn resume(profile: Profile, token: &Token) -> Result<Option<Profile>, Failure> {
    if *profile.token() == token.id() {
        return Ok(Some(profile));
    }
    match (&profile.enrollment, &profile.welcome) {
        (Some(_), Some(_)) if profile.trust().root != token.root => Err(Failure::invalid(
            "this machine is enrolled in another cluster: use another data directory for this one",
        )),
        (Some(enrollment), Some(_)) => {
            Err(Failure::invalid(format!("this machine is enrolled already, as {:?}", enrollment.name)))
        }
        _ => Ok(None),
    }
}

async fn join(link: &Link, token: &Token, name: &str, profile: &mut Profile, env: &Env) -> Result<Enrollment, Failure> {
    let (signer, keys) = (token.signer(), profile.keys());
    let enrollment = link
        .exchange(|peer| {
            let (signer, name) = (&signer, name.to_owned());
            async move {
                let exporter = peer.exporter(wire::REDEMPTION_EXPORTER)?;
                let redemption = Redemption { cluster: token.cluster(), token: token.id(), keys, name, exporter };
                let redemption = Signed::new(signer, sign::REDEMPTION, codec::encode(&redemption));
                peer.call(wire::Redeem { redemption }, super::REDEEM_PATIENCE).await
            }
        })
        .await
        .map_err(explain)?;
    if (enrollment.keys, enrollment.token) != (keys, token.id()) {
        return Err(Failure::new(Code::Corrupt, "the orchestrator answered with the enrollment of another client"));
    }
    profile.enrollment = Some(enrollment.clone());
    profile.save(&*env.disk)?;

    if profile.welcome.is_none() {
        let welcome = link.exchange(|peer| async move {
            let released = peer.call(wire::Release { token: token.id() }, super::REDEEM_PATIENCE).await?;
            // One orchestrator that gives out a wrong value must not keep us out.
            let opened = token.open_welcome(&released.value, released.terms.welcome);
            opened.map_err(|error| Failure::retry(format!("the release value does not open the welcome: {error}")))
        });
        profile.welcome = Some(welcome.await?);
    }
    profile.learn(link.trust());
    // On disk before the acknowledgement: after it the release value may be gone.
    let late = probe::planted(Plant::WelcomeSavedLate);
    if !late {
        profile.save(&*env.disk)?;
    }
    link.call(wire::Acknowledge { token: token.id() }).await?;
    if late {
        profile.save(&*env.disk)?;
    }
    Ok(enrollment)
}

/// An orchestrator that does not know the token is right more often than not.
fn explain(failure: Failure) -> Failure {
    match failure.code {
        Code::NotFound => Failure::denied(format!("{}; ask the operator for a token of this cluster", failure.message)),
        _ => failure,
    }
}

/// Takes one of the client's locks, or says who has it.
fn lock(env: &Env, name: &str) -> Result<Box<dyn Guard>, Failure> {
    env.disk.lock(name).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Failure::retry(format!(
            "another nuthatch process is at work (lock {name} in {}): wait for it to finish",
            env.disk.place()
        )),
        _ => crate::small_file::failure("lock", &*env.disk, &error),
    })
}
