//! Adding, removing and listing admins.

use actors::client::Trust;
use protocol::{ids::PublicKey, records::Admin};
use serde_json::json;

use super::{
    args::{AdminAdd, AdminCreate, AdminRemove, HomeArgs},
    choose, human,
    orchestrators::{again, root_key},
    output::Output,
    session::{OperatorSession, operator_env},
    text,
    trouble::Trouble,
};
use crate::home::Home;

/// `admin create`.
pub async fn create(args: AdminCreate, output: Output) -> Result<(), Trouble> {
    let path = args.home.path()?;
    let real = operator_env(&path).await?;
    let made = || -> Result<PublicKey, Trouble> {
        let home = Home::of(real.env());
        let _guard = home.lock()?;
        home.check_vacant()?;
        home.protect(&path)?;
        let seed = home.create_admin_key(&args.name, &*real.env().rng)?;
        let trust = Trust { root: args.root, keyset_floor: 0, addresses: args.orchestrators.clone() };
        home.save_cluster("cluster", &trust)?;
        Ok(protocol::sign::Signer::from_seed(&seed).public())
    };
    let made = made();
    real.close().await;
    let key = made?;
    output.result(json!({ "name": args.name, "key": key.to_string(), "home": path }), || {
        format!(
            "Made a key for {}, in {}.\nWhoever has the root key lets it in: nuthatch admin add {} {key}",
            text::safe(&args.name),
            path.display(),
            text::word(&args.name)
        )
    });
    Ok(())
}

/// `admin add`.
pub async fn add(args: AdminAdd, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&args.home.path()?).await?;
    let done = async {
        let _guard = session.home.lock()?;
        let root = root_key(&session, args.root.passphrase_file.as_deref())?;
        let admin = Admin { name: args.name.clone(), key: args.key };
        session.operator.add_admin(admin, &root).await.map_err(again)
    };
    let done = done.await;
    let changed = session.close(done).await?;
    let object = json!({ "name": changed.admin.name, "key": changed.admin.key.to_string(), "keyset": changed.keyset });
    output.result(object, || format!("{} is an admin, by keyset {}.", text::safe(&changed.admin.name), changed.keyset));
    Ok(())
}

/// `admin remove`.
pub async fn remove(args: AdminRemove, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&args.home.path()?).await?;
    let done = remove_in(&session, &args, output).await;
    session.close(done).await
}

async fn remove_in(session: &OperatorSession, args: &AdminRemove, output: Output) -> Result<(), Trouble> {
    let _guard = session.home.lock()?;
    let (_, keyset) = session.operator.keyset().await?;
    let leaving = choose::choose(
        &keyset.admins,
        &args.admin,
        "admin",
        "nuthatch admin list",
        |admin| &admin.name,
        |admin| admin.key.to_string(),
    )?;
    let object = json!({ "name": leaving.name, "key": leaving.key.to_string() });
    let would = [
        format!("cut {} off, and believe nothing that it signs or signed", text::safe(&leaving.name)),
        "sign again with your key what of it is in force".to_owned(),
    ];
    if !choose::decided(output, args.yes, &would, object.clone()) {
        return Ok(());
    }
    let root = root_key(session, args.root.passphrase_file.as_deref())?;
    let changed = session.operator.remove_admin(leaving, &root).await.map_err(again)?;
    let mut object = object;
    object["acted"] = true.into();
    object["keyset"] = changed.keyset.into();
    object["signed_again"] = changed.signed_again.into();
    output.result(object, || {
        let again = human::counted(changed.signed_again as u64, "record");
        format!("{} is no admin any more. Signed again: {again}.", text::safe(&leaving.name))
    });
    output.note("It knows the secrets of domains whose tokens it made. If it may be in other hands, make new domains for what is to stay secret.");
    Ok(())
}

/// `admin list`.
pub async fn list(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let keyset = session.operator.keyset().await.map_err(Trouble::from);
    let (me, root) = (session.operator.key(), session.operator.trust().root);
    let (number, keyset) = session.close(keyset).await?;
    let admins = keyset
        .admins
        .iter()
        .map(|admin| json!({ "name": admin.name, "key": admin.key.to_string(), "me": admin.key == me }));
    let object = json!({ "keyset": number, "root": root.to_string(), "admins": admins.collect::<Vec<_>>() });
    output.result(object, || {
        let mut rows = vec![["NAME", "KEY", ""].map(String::from).to_vec()];
        rows.extend(keyset.admins.iter().map(|admin| {
            let me = if admin.key == me { "this directory" } else { "" };
            vec![text::safe(&admin.name).into_owned(), admin.key.to_string(), me.to_owned()]
        }));
        format!("{}\n\nRoot key: {root}", human::columns(&rows, &[]))
    });
    Ok(())
}
