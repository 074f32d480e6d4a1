//! The tokens that there are, and how one is ended.

use protocol::{time::UnixMillis, wire::TokenStatus};
use serde_json::{Value, json};

use super::{
    args::{HomeArgs, TokenRevoke},
    choose,
    domain::domains,
    human,
    output::Output,
    session::OperatorSession,
    text,
    trouble::Trouble,
};

const LIST: &str = "nuthatch token list";

/// `token list`.
pub async fn list(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let found = async { Ok((session.operator.tokens().await?, domains(&session).await?)) }.await;
    let now = session.env().clock.now();
    let (mut tokens, domains) = session.close(found).await?;
    tokens.sort_by_key(|token| (token.expires, token.token));
    let domain = |token: &TokenStatus| {
        let domain = domains.iter().find(|domain| domain.id == token.domain);
        domain.map_or_else(|| token.domain.short(), |domain| domain.name.clone())
    };
    let object = |token: &TokenStatus| -> Value {
        json!({
            "name": token.name,
            "id": token.token.to_string(),
            "domain": domain(token),
            "uses": token.uses,
            "used": token.redeemed,
            "left": left(token, now),
            "expires_ms": token.expires.0,
            "state": state(token, now),
            "refused": token.refused.as_ref().map_or(0, |refused| refused.count),
            "refused_last_ms": token.refused.as_ref().map(|refused| refused.last_at.0),
            "refused_last_name": token.refused.as_ref().map(|refused| refused.last_name.clone()),
        })
    };
    output.result(json!({ "tokens": tokens.iter().map(object).collect::<Vec<_>>() }), || {
        if tokens.is_empty() {
            return "No token yet: nuthatch token create".into();
        }
        let heads = ["NAME", "TOKEN", "DOMAIN", "USED", "LEFT", "EXPIRES", "STATE", "REFUSED"];
        let mut rows = vec![heads.map(String::from).to_vec()];
        rows.extend(tokens.iter().map(|token| {
            vec![
                text::safe(&token.name).into_owned(),
                token.token.short(),
                text::safe(&domain(token)).into_owned(),
                human::count(token.redeemed.into()),
                human::count(left(token, now).into()),
                human::time(token.expires),
                state(token, now).into(),
                token.refused.as_ref().map_or_else(|| "-".into(), |refused| human::count(refused.count)),
            ]
        }));
        human::columns(&rows, &[3, 4, 7])
    });
    for token in tokens.iter().filter(|token| !token.revoked) {
        let Some(refused) = &token.refused else { continue };
        output.note(&format!(
            "Note: {} ({}) was shown again after it was spent: {}, last by a machine that called itself {:?}, on {}. If that was none of yours, the token was stolen.",
            text::safe(&token.name),
            token.token.short(),
            human::counted(refused.count, "time"),
            refused.last_name,
            human::time(refused.last_at)
        ));
    }
    Ok(())
}

/// `token revoke`.
pub async fn revoke(args: TokenRevoke, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&args.home.path()?).await?;
    let done = revoke_in(&session, &args, output).await;
    session.close(done).await
}

async fn revoke_in(session: &OperatorSession, args: &TokenRevoke, output: Output) -> Result<(), Trouble> {
    let now = session.env().clock.now();
    let tokens = session.operator.tokens().await?;
    // Several may have one name: those that can still be ended are meant.
    let alive: Vec<TokenStatus> =
        tokens.iter().filter(|token| token.name == args.token && !token.revoked).cloned().collect();
    let among = if alive.is_empty() { &tokens } else { &alive };
    let id = |token: &TokenStatus| token.token.to_string();
    let token = choose::choose(among, &args.token, "token", LIST, |token| &token.name, id)?;
    let name = text::safe(&token.name);
    if token.revoked {
        return Err(Trouble::invalid(format!("{name} ({}) is revoked already", token.token.short())));
    }
    let mut object = json!({
        "name": token.name,
        "id": token.token.to_string(),
        "used": token.redeemed,
        "left": left(token, now),
    });
    let would = [
        format!("end {name} ({}), which is {}: nobody joins with it any more", token.token.short(), state(token, now)),
        format!("keep the {} that joined with it", human::counted(token.redeemed.into(), "machine")),
    ];
    if !choose::decided(output, args.yes, &would, object.clone()) {
        return Ok(());
    }
    session.operator.revoke_token(token.token, &args.reason).await?;
    object["acted"] = true.into();
    output.result(object, || format!("{name} ({}) is revoked.", token.token.short()));
    Ok(())
}

/// How many more machines may join with it.
fn left(token: &TokenStatus, now: UnixMillis) -> u32 {
    if token.revoked || token.expires <= now { 0 } else { token.uses.saturating_sub(token.redeemed) }
}

fn state(token: &TokenStatus, now: UnixMillis) -> &'static str {
    if token.revoked {
        "revoked"
    } else if token.redeemed >= token.uses {
        "spent"
    } else if token.expires <= now {
        "expired"
    } else {
        "good"
    }
}
