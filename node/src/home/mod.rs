//! The operator's directory: the keys of one cluster, and the secrets of its domains.
//!
//! | file | holds |
//! |---|---|
//! | `root.json` | the root key, sealed with a passphrase |
//! | `admin.json` | the admin key |
//! | `cluster.json` | the cluster's name, its root's public key, where its orchestrators are |
//! | `domain-<hash of the name>.json` | a domain's secrets |
//!
//! Invariant: a key that was ever shown to anyone is on disk before, and no file
//! with a key is ever replaced by one with another.

mod seal;

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use env::{Disk, Env, Rng, disk::Guard};
use protocol::{
    failure::Failure,
    ids::{DomainId, PublicKey},
    token::Welcome,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::{Zeroize as _, Zeroizing};

use actors::client::Trust;

use self::seal::SealedKey;

const ROOT: &str = "root.json";
const ADMIN: &str = "admin.json";
const CLUSTER: &str = "cluster.json";
const VERSION: u32 = 1;

/// The operator's directory.
pub struct Home {
    disk: std::sync::Arc<dyn Disk>,
}

/// What an operator remembers of the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    version: u32,
    /// The cluster's name, for people.
    pub name: String,
    root: String,
    keyset_floor: u64,
    orchestrators: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminFile {
    version: u32,
    name: String,
    seed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DomainFile {
    version: u32,
    name: String,
    /// None until the cluster has taken the domain.
    id: Option<String>,
    /// The convergence secret of each generation.
    convergence: Vec<(u32, String)>,
    index_key: String,
}

/// Where the operator's directory is, if nobody says.
pub fn default_path() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|path| Path::new(path).is_absolute());
    let config = config.map(PathBuf::from).or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    config.map(|config| config.join("nuthatch"))
}

impl Home {
    /// The directory whose disk `env` has.
    pub fn of(env: &Env) -> Self {
        Self::on(env.disk.clone())
    }

    /// The directory that is this disk.
    pub fn on(disk: std::sync::Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        self.disk.place()
    }

    /// Takes the right to change it.
    pub fn lock(&self) -> Result<Box<dyn Guard>, Failure> {
        self.disk.lock("lock").map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Failure::retry(format!("another nuthatch command is changing {}: wait for it to finish", self.place()))
            }
            _ => self.failure("lock", &error),
        })
    }

    /// Makes it readable by its owner only.
    pub fn protect(&self, path: &Path) -> Result<(), Failure> {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .map_err(|error| self.failure("protect", &error))
    }

    /// Refuses a directory that has a cluster.
    pub fn check_vacant(&self) -> Result<(), Failure> {
        match self.read::<ClusterFile>(CLUSTER)? {
            None => Ok(()),
            Some(cluster) => Err(Failure::invalid(format!(
                "{} holds the keys of the cluster {:?} already: give another directory with --home for another cluster",
                self.place(),
                cluster.name
            ))),
        }
    }

    /// The root key: made and sealed, or, after an attempt that was interrupted, opened again.
    pub fn root_key(&self, passphrase: &str, rng: &dyn Rng) -> Result<Zeroizing<[u8; 32]>, Failure> {
        if let Some(sealed) = self.read::<SealedKey>(ROOT)? {
            return sealed.open(passphrase);
        }
        let seed = Zeroizing::new(rng.array::<32>());
        self.write(ROOT, &SealedKey::seal(&seed, passphrase, rng)?)?;
        Ok(seed)
    }

    /// The root key that is there.
    pub fn open_root_key(&self, passphrase: &str) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let sealed = self.read::<SealedKey>(ROOT)?.ok_or_else(|| {
            Failure::not_found(format!(
                "the root key is not in {}: run this where the cluster was made, or on a copy of that directory",
                self.place()
            ))
        })?;
        sealed.open(passphrase)
    }

    /// The admin key: made, or the one that is there.
    pub fn create_admin_key(&self, name: &str, rng: &dyn Rng) -> Result<Zeroizing<[u8; 32]>, Failure> {
        if let Some(file) = self.read::<AdminFile>(ADMIN)? {
            return self.admin_seed(file);
        }
        let seed = Zeroizing::new(rng.array::<32>());
        self.write(ADMIN, &AdminFile { version: VERSION, name: name.into(), seed: HEXLOWER.encode(&*seed) })?;
        Ok(seed)
    }

    /// The admin key and the cluster that it is for.
    pub fn admin(&self) -> Result<(Zeroizing<[u8; 32]>, ClusterFile), Failure> {
        match (self.read::<AdminFile>(ADMIN)?, self.read::<ClusterFile>(CLUSTER)?) {
            (Some(admin), Some(cluster)) => Ok((self.admin_seed(admin)?, cluster)),
            _ => Err(Failure::not_found(format!(
                "{} holds no cluster: run `nuthatch cluster init`, or say with --home where its keys are",
                self.place()
            ))),
        }
    }

    /// Whose the admin key is.
    pub fn admin_name(&self) -> Result<String, Failure> {
        Ok(self.read::<AdminFile>(ADMIN)?.map_or_else(|| "admin".to_owned(), |file| file.name.clone()))
    }

    /// Keeps whom the operator believes, and where to find them.
    pub fn save_cluster(&self, name: &str, trust: &Trust) -> Result<(), Failure> {
        let file = ClusterFile {
            version: VERSION,
            name: name.into(),
            root: trust.root.to_string(),
            keyset_floor: trust.keyset_floor,
            orchestrators: trust.addresses.clone(),
        };
        self.write(CLUSTER, &file)
    }

    /// The secrets of a domain: made, or those that an interrupted attempt left.
    pub fn create_domain(&self, name: &str, make: impl FnOnce() -> Welcome) -> Result<Welcome, Failure> {
        match self.read::<DomainFile>(&domain_file(name))? {
            Some(DomainFile { id: Some(_), .. }) => Err(Failure::invalid(format!(
                "{} holds the secrets of a domain {name:?} already: choose another name",
                self.place()
            ))),
            Some(file) => self.secrets(file),
            None => {
                let secrets = make();
                self.save_domain(name, None, &secrets)?;
                Ok(secrets)
            }
        }
    }

    /// Keeps the secrets of a domain.
    pub fn save_domain(&self, name: &str, id: Option<DomainId>, secrets: &Welcome) -> Result<(), Failure> {
        let generation = |(number, secret): &(u32, [u8; 32])| (*number, HEXLOWER.encode(secret));
        let file = DomainFile {
            version: VERSION,
            name: name.into(),
            id: id.map(|id| id.to_string()),
            convergence: secrets.convergence.iter().map(generation).collect(),
            index_key: HEXLOWER.encode(&secrets.index_key),
        };
        self.write(&domain_file(name), &file)
    }

    /// The secrets of a domain.
    pub fn domain(&self, name: &str) -> Result<Welcome, Failure> {
        let file = self.read::<DomainFile>(&domain_file(name))?;
        let file = file.ok_or_else(|| {
            Failure::not_found(format!(
                "the secrets of the domain {name:?} are not in {}: run this where the domain was created",
                self.place()
            ))
        })?;
        self.secrets(file)
    }

    fn secrets(&self, file: DomainFile) -> Result<Welcome, Failure> {
        let mut convergence = Vec::new();
        for (number, secret) in &file.convergence {
            convergence.push((*number, *self.key(&domain_file(&file.name), secret)?));
        }
        Ok(Welcome { convergence, index_key: *self.key(&domain_file(&file.name), &file.index_key)? })
    }

    fn admin_seed(&self, mut file: AdminFile) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let seed = self.key(ADMIN, &file.seed);
        file.seed.zeroize();
        seed
    }

    fn key(&self, name: &str, hex: &str) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let bytes = HEXLOWER.decode(hex.as_bytes()).map(Zeroizing::new).ok();
        let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
        key.map(Zeroizing::new).ok_or_else(|| self.damaged(name, "a key has 64 hexadecimal digits"))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let bytes = match self.disk.read(name) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failure("read", &error)),
        };
        let damaged = |error: serde_json::Error| self.damaged(name, &error.to_string());
        let found = serde_json::from_slice::<Versioned>(&bytes).map_err(damaged)?.version;
        if found != VERSION {
            return Err(Failure::invalid(format!(
                "{}/{name} has version {found}, but this program knows {VERSION}: update nuthatch",
                self.place()
            )));
        }
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(value);
        let text = text.map(Zeroizing::new).map_err(|error| Failure::internal(error.to_string()))?;
        self.disk.replace(name, &text).map_err(|error| self.failure("write", &error))
    }

    fn failure(&self, verb: &str, error: &io::Error) -> Failure {
        Failure::internal(format!("cannot {verb} the operator's directory {}: {error}", self.place()))
    }

    fn damaged(&self, name: &str, reason: &str) -> Failure {
        Failure::corrupt(format!("{}/{name} is damaged ({reason}): restore it from a copy", self.place()))
    }
}

impl ClusterFile {
    /// Whom to believe, and where to look.
    pub fn trust(&self) -> Result<Trust, Failure> {
        let root: PublicKey = self.root.parse().map_err(|error| Failure::corrupt(format!("{CLUSTER}: {error}")))?;
        Ok(Trust { root, keyset_floor: self.keyset_floor, addresses: self.orchestrators.clone() })
    }
}

/// Names are anything a person likes; file names are not.
fn domain_file(name: &str) -> String {
    format!("domain-{}.json", &blake3::hash(name.as_bytes()).to_hex()[..16])
}
