//! Joining.

use protocol::token::Token;
use serde_json::json;

use super::{args::Enroll, human, input, output::Output, session::client_env, trouble::Trouble};

/// `enroll`.
pub async fn enroll(args: Enroll, output: Output) -> Result<(), Trouble> {
    let text = match &args.token_file {
        Some(path) => input::read_secret(path)?,
        None => input::read_stdin("Token: ")?,
    };
    let token: Token = text.trim().parse().map_err(|error| Trouble::invalid(format!("{error}")))?;
    let path = args.data.path()?;
    let name = args.name.unwrap_or_else(host_name);
    let real = client_env(&path).await?;
    let joined = actors::client::enroll(real.env(), &token, &name).await;
    real.close().await;
    let enrollment = joined?;
    let object = json!({
        "client": enrollment.client.to_string(),
        "name": enrollment.name,
        "domain": enrollment.domain.to_string(),
        "tags": enrollment.tags,
        "enrolled_ms": enrollment.at.0,
        "data_dir": path,
    });
    output.result(object, || {
        format!(
            "This machine has joined as {:?}, client {}, on {}.\nIts keys are in {}: without them or their copy nobody can read its backups.\nNext: nuthatch snapshot create PATH",
            enrollment.name,
            enrollment.client.short(),
            human::time(enrollment.at),
            path.display()
        )
    });
    Ok(())
}

/// What the machine calls itself.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "client".into() } else { name }
}
