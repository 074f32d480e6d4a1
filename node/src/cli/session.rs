//! What a command works with: the machine's `Env`, and the operator or client in it.

use std::path::{Component, Path, PathBuf};

use actors::{client::Client, net::Pace, operator::Operator};
use env::Env;

use super::{
    args::{DataArgs, HomeArgs},
    trouble::Trouble,
};
use crate::{
    env::{CacheSettings, EnvSettings, RealEnv},
    home::{self, Home},
};

/// Index pages that a client keeps in memory, in bytes, and on disk.
const CACHE_MEMORY_BYTES: usize = 32 << 20;
const CACHE_DISK_BYTES: usize = 1 << 30;
/// The smallest cache, for who reads no index pages.
const NO_CACHE_BYTES: usize = 1 << 20;

/// An operator at work.
pub struct OperatorSession {
    real: RealEnv,
    /// The operator's directory.
    pub home: Home,
    /// The connection to the cluster.
    pub operator: Operator,
    /// The cluster's name.
    pub cluster: String,
}

/// The environment of an operator's command.
pub async fn operator_env(path: &Path) -> Result<RealEnv, Trouble> {
    // Operators read no index pages.
    let cache = CacheSettings { directory: None, memory_bytes: NO_CACHE_BYTES, disk_bytes: 0 };
    open(EnvSettings { data: path.to_path_buf(), cache }).await
}

/// The environment of a client's command.
pub async fn client_env(path: &Path) -> Result<RealEnv, Trouble> {
    let cache = CacheSettings {
        directory: Some(path.join("cache")),
        memory_bytes: CACHE_MEMORY_BYTES,
        disk_bytes: CACHE_DISK_BYTES,
    };
    open(EnvSettings { data: path.to_path_buf(), cache }).await
}

async fn open(settings: EnvSettings) -> Result<RealEnv, Trouble> {
    let opened = RealEnv::open(&settings).await;
    opened.map_err(|error| Trouble::file("use the directory", &settings.data, &error))
}

impl HomeArgs {
    /// The operator's directory.
    pub fn path(&self) -> Result<PathBuf, Trouble> {
        let path = self.home.clone().or_else(home::default_path);
        let path = path.ok_or_else(|| {
            Trouble::usage("where the operator's directory is cannot be told: HOME is not set")
                .hint("Give it with --home DIR.")
        })?;
        absolute(&path)
    }
}

impl DataArgs {
    /// The client's data directory.
    pub fn path(&self) -> Result<PathBuf, Trouble> {
        match &self.data_dir {
            Some(path) => absolute(path),
            None if rustix::process::geteuid().is_root() => Ok("/var/lib/nuthatch".into()),
            None => {
                let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
                let data = data.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")));
                data.map(|data| data.join("nuthatch")).ok_or_else(|| {
                    Trouble::usage("where the data directory is cannot be told: HOME is not set")
                        .hint("Give it with --data-dir DIR.")
                })
            }
        }
    }

    /// Opens the client that is enrolled there.
    pub async fn open(&self) -> Result<ClientSession, Trouble> {
        ClientSession::open(&self.path()?).await
    }
}

/// A path as it is written down: from the root, without asking what it leads to.
///
/// With `..` in it, the directory is looked up: what `a/..` is depends on where `a` leads.
pub fn absolute(path: &Path) -> Result<PathBuf, Trouble> {
    let refuse = |error| Trouble::file("find", path, &error);
    let whole = std::path::absolute(path).map_err(refuse)?;
    if !whole.components().any(|part| part == Component::ParentDir) {
        return Ok(whole);
    }
    match (whole.parent(), whole.file_name()) {
        (Some(directory), Some(name)) => Ok(directory.canonicalize().map_err(refuse)?.join(name)),
        _ => whole.canonicalize().map_err(refuse),
    }
}

impl OperatorSession {
    /// Opens the operator's directory; connects when there is something to ask.
    pub async fn open(path: &Path) -> Result<Self, Trouble> {
        if !path.is_dir() {
            return Err(Trouble::not_found(format!("there is no operator's directory at {}", path.display()))
                .hint("Run `nuthatch cluster init`, or say with --home where the cluster's keys are."));
        }
        let real = operator_env(path).await?;
        let home = Home::of(real.env());
        let (seed, cluster) = home.admin()?;
        let operator = Operator::new(real.env(), *seed, cluster.trust()?)?;
        Ok(Self { real, home, operator, cluster: cluster.name })
    }

    /// The seams.
    pub fn env(&self) -> &Env {
        self.real.env()
    }

    /// Says goodbye, keeps what was learnt of the orchestrators, and passes on how it went.
    pub async fn close<T>(self, done: Result<T, Trouble>) -> Result<T, Trouble> {
        let learnt = self.operator.trust();
        let kept = self.home.admin().and_then(|(_, cluster)| {
            let known = cluster.trust()?;
            let new = learnt.keyset_floor > known.keyset_floor || learnt.addresses != known.addresses;
            if new { self.home.save_cluster(&cluster.name, &learnt) } else { Ok(()) }
        });
        self.operator.close().await;
        self.real.close().await;
        let done = done?;
        kept?;
        Ok(done)
    }
}

/// A client at work.
pub struct ClientSession {
    real: RealEnv,
    /// The client.
    pub client: Client,
}

impl ClientSession {
    /// Opens the client that is enrolled in this directory.
    pub async fn open(path: &Path) -> Result<Self, Trouble> {
        let here = path.display();
        if !path.is_dir() {
            return Err(Trouble::invalid(format!("this machine is not enrolled: there is no {here}")).hint(
                "Get a token from the operator and run `nuthatch enroll`, or say with --data-dir where its keys are.",
            ));
        }
        Self::of(client_env(path).await?)
    }

    /// The client in an environment.
    pub fn of(real: RealEnv) -> Result<Self, Trouble> {
        Ok(Self { client: Client::open(real.env(), Pace::Busy)?, real })
    }

    /// The seams.
    pub fn env(&self) -> &Env {
        self.real.env()
    }

    /// Says goodbye, and passes on how it went.
    pub async fn close<T>(self, done: Result<T, Trouble>) -> Result<T, Trouble> {
        let closed = self.client.close().await;
        self.real.close().await;
        let done = done?;
        closed?;
        Ok(done)
    }
}
