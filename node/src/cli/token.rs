//! Making tokens.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use protocol::{time::UnixMillis, token::Token};
use serde_json::json;

use super::{
    args::TokenCreate,
    domain::domains,
    human,
    output::{Output, line},
    session::OperatorSession,
    trouble::Trouble,
};

/// A token that is to be made.
pub struct NewToken<'a> {
    /// The domain that its clients join.
    pub domain: &'a str,
    /// How many clients may redeem it.
    pub uses: u32,
    /// How long it is good for.
    pub lasts: Duration,
    /// Tags that its clients get.
    pub tags: &'a [String],
    /// For people.
    pub name: &'a str,
}

impl NewToken<'_> {
    /// Makes it; and says when it ends.
    pub async fn make(&self, session: &OperatorSession) -> Result<(Token, u64), Trouble> {
        let domain =
            domains(session).await?.into_iter().find(|domain| domain.name == self.domain).ok_or_else(|| {
                Trouble::not_found(format!("there is no domain {:?}", self.domain))
                    .hint("`nuthatch domain list` shows those that there are, `nuthatch domain create` makes one.")
            })?;
        let secrets = session.home.domain(&domain.name)?;
        let expires =
            session.env().clock.now().0.saturating_add(u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX));
        let expires = UnixMillis(expires);
        let new = actors::operator::NewToken {
            name: self.name.into(),
            uses: self.uses,
            expires,
            domain: domain.id,
            tags: self.tags.to_vec(),
        };
        Ok((session.operator.add_token(new, &secrets).await?, expires.0))
    }
}

/// `token create`.
pub async fn create(args: TokenCreate, output: Output) -> Result<(), Trouble> {
    // A token that nobody can be given would only lie around.
    let file = args.output.as_deref().map(new_file).transpose()?;
    let new =
        NewToken { domain: &args.domain, uses: args.uses, lasts: args.expires, tags: &args.tags, name: &args.name };
    let made = async {
        let session = OperatorSession::open(&args.home.path()?).await?;
        let made = new.make(&session).await;
        session.close(made).await
    }
    .await;
    let (token, expires) = match (made, &args.output) {
        (Err(trouble), Some(path)) => {
            // It was made a moment ago and is empty.
            let _ = std::fs::remove_file(path);
            return Err(trouble);
        }
        (made, _) => made?,
    };
    let text = token.to_text();
    if let (Some(mut file), Some(path)) = (file, &args.output) {
        let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
        written.map_err(|error| Trouble::file("write", path, &error))?;
    }
    let mut object = json!({
        "id": token.id().to_string(),
        "name": args.name,
        "domain": args.domain,
        "uses": args.uses,
        "expires_ms": expires,
        "output": args.output,
    });
    if args.output.is_none() {
        object["token"] = text.clone().into();
    }
    output.object(object);
    if !output.is_json() {
        if args.output.is_none() {
            line(&text);
        }
        let uses = if args.uses == 1 { "once".into() } else { format!("{} times", human::count(args.uses.into())) };
        let until = human::time(UnixMillis(expires));
        output.note(&format!("Good {uses}, until {until}. On the machine that is to join: nuthatch enroll"));
    }
    Ok(())
}

fn new_file(path: &Path) -> Result<std::fs::File, Trouble> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Trouble::invalid(format!("{} exists already: give a new name", path.display())),
        _ => Trouble::file("make", path, &error),
    })
}
