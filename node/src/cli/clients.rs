//! Who has joined.

use protocol::wire::ClientStatus;
use serde_json::{Value, json};

use super::{args::HomeArgs, human, output::Output, session::OperatorSession, trouble::Trouble};

/// `client list`.
pub async fn list(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let clients = session.operator.clients().await.map_err(Trouble::from);
    let clients = session.close(clients).await?;
    output.result(json!({ "clients": clients.iter().map(object).collect::<Vec<_>>() }), || {
        if clients.is_empty() {
            return "No machine has joined yet: nuthatch token create".into();
        }
        let mut rows = vec![["NAME", "CLIENT", "STATE", "SNAPSHOTS", "NEWEST", "TAGS"].map(String::from).to_vec()];
        rows.extend(clients.iter().map(row));
        human::columns(&rows, &[3])
    });
    Ok(())
}

fn row(client: &ClientStatus) -> Vec<String> {
    let state = match (client.revoked, client.lease, client.connected) {
        (true, ..) => "revoked",
        (_, Some(_), _) => "backing up",
        (.., true) => "connected",
        _ => "away",
    };
    vec![
        client.enrollment.name.clone(),
        client.enrollment.client.short(),
        state.into(),
        human::count(client.snapshots),
        client.newest.map_or_else(|| "-".into(), human::time),
        client.enrollment.tags.join(","),
    ]
}

fn object(client: &ClientStatus) -> Value {
    json!({
        "name": client.enrollment.name,
        "client": client.enrollment.client.to_string(),
        "domain": client.enrollment.domain.to_string(),
        "tags": client.enrollment.tags,
        "enrolled_ms": client.enrollment.at.0,
        "revoked": client.revoked,
        "connected": client.connected,
        "snapshots": client.snapshots,
        "newest_ms": client.newest.map(|newest| newest.0),
        "lease": client.lease.map(|lease| lease.to_string()),
    })
}
