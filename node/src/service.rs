//! `nuthatch node run`: the roles of one node, until it is told to stop.
//!
//! Invariant: stdout carries only the lines that others rely on, each once:
//! `listening on ADDRESS`, `key HEX`, `serving http[s]://ADDRESS`, `client ID`.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use ::env::{Env, disk::Guard};
use actors::{
    client, orchestrator,
    system::{self, Role, StartRole, System},
};
use protocol::{failure::Failure, levels::Levels, records::StorageCredential};
use ractor::Actor as _;
use tracing_subscriber::EnvFilter;

use crate::{
    cli::{self, NodeRun, NodeVouch, Output, StopSignals, Trouble, line},
    env::{CacheSettings, EnvSettings, RealEnv},
    settings::{LogFormat, RoleName, Settings, StorageRole},
    storage::{StorageActor, StorageArguments, StorageMessage, StorageSettings},
};

/// How much libraries may say.
const QUIET: &str = "openraft=off,foyer=off,foyer_storage=off,foyer_memory=off,chitchat=warn,quinn=warn,s3s=off";
/// Index pages that a node keeps in memory, in bytes: it reads none.
const CACHE_BYTES: usize = 1 << 20;

/// Runs a node until a signal, or until it cannot go on.
pub async fn run(args: NodeRun) -> Result<(), Trouble> {
    if args.with_parent {
        end_with_parent()?;
    }
    let settings = Settings::load(&args.config)?;
    start_log(&settings)?;
    let mut signals = StopSignals::listen()
        .map_err(|error| Trouble::new("internal", format!("cannot listen for signals: {error}")))?;
    // A resident client leaves the cache on disk to the commands that read.
    let cache = CacheSettings { directory: None, memory_bytes: CACHE_BYTES, disk_bytes: 0 };
    let real = RealEnv::open(&EnvSettings { data: settings.data_dir.clone(), cache }).await;
    let real = real.map_err(|error| Trouble::file("use the data directory", &settings.data_dir, &error))?;
    let done = serve(real.env(), &settings, &mut signals).await;
    real.close().await;
    done
}

/// Notes that a data directory is the one that its node ran with last.
pub async fn vouch(args: NodeVouch, output: Output) -> Result<(), Trouble> {
    let settings = Settings::load(&args.config)?;
    let cache = CacheSettings { directory: None, memory_bytes: CACHE_BYTES, disk_bytes: 0 };
    let real = RealEnv::open(&EnvSettings { data: settings.data_dir.clone(), cache }).await;
    let real = real.map_err(|error| Trouble::file("use the data directory", &settings.data_dir, &error))?;
    let vouched = hold(real.env(), &settings).and_then(|_guard| Ok(orchestrator::vouch(real.env())?));
    real.close().await;
    vouched?;
    output.result(serde_json::json!({ "data_dir": settings.data_dir }), || {
        format!("Noted: the node goes on with {}. Start it again.", settings.data_dir.display())
    });
    Ok(())
}

/// Two nodes with one data directory would be one voter with two minds.
fn hold(env: &Env, settings: &Settings) -> Result<Box<dyn Guard>, Trouble> {
    env.disk.lock("node").map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            Trouble::new("retry", format!("another node runs with the data directory {}", env.disk.place()))
                .hint("Stop it first, or give this one a directory of its own.")
        }
        _ => Trouble::file("lock", &settings.data_dir, &error),
    })
}

async fn serve(env: &Env, settings: &Settings, signals: &mut StopSignals) -> Result<(), Trouble> {
    let _guard = hold(env, settings)?;
    let mut roles = Vec::new();
    let mut lines = Vec::new();
    for name in &settings.roles {
        match name {
            RoleName::Orchestrator => {
                let seat = system::orchestrator(env, settings.listen, Levels::OWN)?;
                lines.extend([format!("listening on {}", seat.address), format!("key {}", seat.key)]);
                roles.push(seat.role);
            }
            RoleName::Client => {
                let (id, role) = client::agent(env, settings.client_refresh)?;
                lines.push(format!("client {id}"));
                roles.push(role);
            }
            RoleName::Storage => {
                roles.extend(settings.storage.as_ref().map(|storage| storage_role(env, storage)).transpose()?)
            }
        }
    }
    let mut system = System::start(env, roles).await?;
    for text in &lines {
        line(text);
    }
    tracing::info!(roles = ?settings.roles, data_dir = %settings.data_dir.display(), "the node runs");
    let told = tokio::select! {
        () = system.ended() => false,
        () = signals.next() => true,
    };
    if told {
        tracing::info!("the node stops");
        system.stop().await;
        Ok(())
    } else {
        Err(Trouble::new("internal", "the node ended by itself").hint("The log says why: the last errors on stderr."))
    }
}

/// The built-in storage. A port that was free at the first start is kept at the next.
fn storage_role(env: &Env, role: &StorageRole) -> Result<Role, Trouble> {
    let settings = StorageSettings {
        directory: role.dir.clone(),
        listen: role.listen,
        tls: role.tls.clone(),
        bucket: role.bucket.clone(),
        credential: StorageCredential::new(secret(&role.access_key_file)?, secret(&role.secret_key_file)?),
    };
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let (env, bound) = (env.clone(), Arc::new(Mutex::new(None::<SocketAddr>)));
    let start: StartRole = Arc::new(move |supervisor| {
        let (env, bound, mut settings) = (env.clone(), bound.clone(), settings.clone());
        Box::pin(async move {
            let before = *bound.lock().unwrap_or_else(PoisonError::into_inner);
            settings.listen = before.unwrap_or(settings.listen);
            let arguments = StorageArguments { settings, blocking: env.blocking.clone(), clock: env.clock.clone() };
            let started = StorageActor::spawn_linked(None, StorageActor, arguments, supervisor).await;
            let (actor, _) =
                started.map_err(|error| Failure::internal(format!("cannot start the storage: {error}")))?;
            let address = ractor::call!(actor, StorageMessage::Address)
                .map_err(|error| Failure::internal(format!("the storage ended at once: {error}")))?;
            let first = bound.lock().unwrap_or_else(PoisonError::into_inner).replace(address).is_none();
            if first {
                line(&format!("serving {scheme}://{address}"));
            }
            Ok(actor.get_cell())
        })
    });
    Ok(Role { name: "storage", start })
}

fn secret(path: &Path) -> Result<String, Trouble> {
    cli::read_secret(path).map(|secret| secret.to_string())
}

fn end_with_parent() -> Result<(), Trouble> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| Trouble::new("internal", format!("cannot follow the parent process: {error}")))?;
    // It may have ended before the request.
    if rustix::process::getppid().is_none_or(rustix::process::Pid::is_init) {
        return Err(Trouble::cancelled("the process that started this one has ended"));
    }
    Ok(())
}

fn start_log(settings: &Settings) -> Result<(), Trouble> {
    let level = std::env::var("NUTHATCH_LOG").unwrap_or_else(|_| settings.log_level.clone());
    // What others write below warnings is about their insides. A person's own
    // directives come later, and so win.
    let filter = EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|error| {
        Trouble::usage(format!("log.level = {level:?} cannot be used: {error}"))
            .hint("Write error, warn, info, debug or trace.")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    match settings.log_format {
        LogFormat::Text => log.with_ansi(ansi).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
