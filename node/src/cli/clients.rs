//! Who has joined, and who is shut out.

use protocol::{
    commands::SnapshotRecord,
    limits::{PUT_TICKET_SECS, READ_TICKET_SECS},
    wire::ClientStatus,
};
use serde_json::{Value, json};

use super::{
    args::{ClientRevoke, ClientShow, HomeArgs},
    choose,
    domain::domains,
    human,
    output::Output,
    session::OperatorSession,
    text,
    trouble::Trouble,
};

const LIST: &str = "nuthatch client list";

/// `client list`.
pub async fn list(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let clients = session.operator.clients().await.map_err(Trouble::from);
    let mut clients = session.close(clients).await?;
    clients.sort_by(|a, b| a.enrollment.name.cmp(&b.enrollment.name));
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

/// `client show`.
pub async fn show(args: ClientShow, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&args.home.path()?).await?;
    let found = async {
        let client = find(&session, &args.client).await?;
        let snapshots = session.operator.snapshots(client.enrollment.client).await?;
        let domain = domains(&session).await?.into_iter().find(|domain| domain.id == client.enrollment.domain);
        Ok((client, snapshots, domain.map(|domain| domain.name)))
    }
    .await;
    let (client, snapshots, domain) = session.close(found).await?;
    let enrollment = &client.enrollment;
    let mut shown = object(&client);
    shown["key"] = enrollment.keys.tls.to_string().into();
    shown["token"] = enrollment.token.to_string().into();
    shown["domain_name"] = domain.clone().into();
    shown["snapshot_list"] = snapshots.iter().map(snapshot_json).collect();
    output.result(shown, || {
        let domain = domain.unwrap_or_else(|| enrollment.domain.short());
        let mut rows: Vec<Vec<String>> = [
            ("name", text::safe(&enrollment.name).into_owned()),
            ("client", enrollment.client.to_string()),
            ("state", state(&client).into()),
            ("domain", text::safe(&domain).into_owned()),
            ("tags", text::safe(&enrollment.tags.join(", ")).into_owned()),
            ("joined", format!("{} with token {}", human::time(enrollment.at), enrollment.token.short())),
            ("snapshots", human::count(client.snapshots)),
        ]
        .map(|(what, value)| vec![what.to_owned(), value])
        .to_vec();
        rows.retain(|row| !row[1].is_empty());
        let mut table = vec![["SNAPSHOT", "TIME", "STORED", ""].map(String::from).to_vec()];
        table.extend(snapshots.iter().rev().map(|snapshot| {
            let partial = if snapshot.commit.complete { "" } else { "partial" };
            let stored = human::bytes(snapshot.commit.bytes_stored);
            vec![snapshot.id.short(), human::time(snapshot.at), stored, partial.into()]
        }));
        let table = if snapshots.is_empty() { String::new() } else { human::columns(&table, &[2]) };
        format!("{}\n{table}", human::columns(&rows, &[]))
    });
    Ok(())
}

/// `client revoke`.
pub async fn revoke(args: ClientRevoke, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&args.home.path()?).await?;
    let done = revoke_in(&session, &args, output).await;
    session.close(done).await
}

async fn revoke_in(session: &OperatorSession, args: &ClientRevoke, output: Output) -> Result<(), Trouble> {
    let client = find(session, &args.client).await?;
    let (id, name) = (client.enrollment.client, text::safe(&client.enrollment.name).into_owned());
    let mut object = json!({ "name": client.enrollment.name, "client": id.to_string(), "snapshots": client.snapshots });
    if client.revoked {
        return Err(Trouble::invalid(format!("{name} ({}) is revoked already", id.short())));
    }
    let would = [
        format!("shut {name} ({}) out for good: these keys never work again", id.short()),
        format!("keep its {}", human::counted(client.snapshots, "snapshot")),
    ];
    if !choose::decided(output, args.yes, &would, object.clone()) {
        return Ok(());
    }
    session.operator.revoke_client(id, &args.reason).await?;
    object["acted"] = true.into();
    output.result(object, || format!("{name} ({}) is shut out.", id.short()));
    output.note(&format!(
        "What it was allowed before ends by itself: uploads within {} minutes, downloads within {}. It still knows its domain's secrets: it can tell whether others have a chunk that it has, and open no more than it could.",
        PUT_TICKET_SECS / 60,
        READ_TICKET_SECS / 60
    ));
    Ok(())
}

async fn find(session: &OperatorSession, wanted: &str) -> Result<ClientStatus, Trouble> {
    let clients = session.operator.clients().await?;
    // A name that was given again after a revocation means the machine that is there.
    let there: Vec<ClientStatus> =
        clients.iter().filter(|client| !client.revoked && client.enrollment.name == wanted).cloned().collect();
    let among = if there.is_empty() { &clients } else { &there };
    let id = |client: &ClientStatus| client.enrollment.client.to_string();
    choose::choose(among, wanted, "client", LIST, |client| &client.enrollment.name, id).cloned()
}

fn state(client: &ClientStatus) -> &'static str {
    match (client.revoked, client.lease, client.connected) {
        (true, ..) => "revoked",
        (_, Some(_), _) => "backing up",
        (.., true) => "connected",
        _ => "away",
    }
}

fn row(client: &ClientStatus) -> Vec<String> {
    vec![
        text::safe(&client.enrollment.name).into_owned(),
        client.enrollment.client.short(),
        state(client).into(),
        human::count(client.snapshots),
        client.newest.map_or_else(|| "-".into(), human::time),
        text::safe(&client.enrollment.tags.join(",")).into_owned(),
    ]
}

fn snapshot_json(snapshot: &SnapshotRecord) -> Value {
    json!({
        "id": snapshot.id.to_string(),
        "at_ms": snapshot.at.0,
        "complete": snapshot.commit.complete,
        "bytes_stored": snapshot.commit.bytes_stored,
    })
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
