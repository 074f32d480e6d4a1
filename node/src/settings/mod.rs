//! What `nuthatch node run` is told: a TOML file, checked and made whole.
//!
//! Invariant: `Settings` makes sense as it is: every unit was read, every secret
//! named by file, and no key of the file was ignored.

pub mod units;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{
    cli::{Trouble, read_file},
    storage::TlsFiles,
};

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Decides, remembers, mints tickets.
    Orchestrator,
    /// Is present for the orchestrators on behalf of an enrolled machine.
    Client,
    /// Serves the built-in storage.
    Storage,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A node's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the node keeps its own data.
    pub data_dir: PathBuf,
    /// What it does; each role once.
    pub roles: Vec<RoleName>,
    /// Where an orchestrator listens, UDP.
    pub listen: SocketAddr,
    /// What the built-in storage serves, if it is a role.
    pub storage: Option<StorageRole>,
    /// How often a client asks for news.
    pub client_refresh: Duration,
    /// What is logged: a level, or `tracing` directives.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// The built-in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageRole {
    /// Where it listens, TCP: a loopback address, or with TLS any.
    pub listen: SocketAddr,
    /// With what it speaks TLS, if it does.
    pub tls: Option<TlsFiles>,
    /// Where the objects lie.
    pub dir: PathBuf,
    /// The bucket that exists from the start.
    pub bucket: String,
    /// Holds the access key id on its first line.
    pub access_key_file: PathBuf,
    /// Holds the secret key on its first line.
    pub secret_key_file: PathBuf,
}

/// The port that orchestrators listen on, if nothing else is said.
const PORT: u16 = 7300;
const STORAGE_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 9300);
const CLIENT_REFRESH: Duration = Duration::from_secs(60);
/// Asking more often than this would only be noise.
const CLIENT_REFRESH_MIN: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: PathBuf,
    roles: Vec<RoleName>,
    listen: Option<SocketAddr>,
    storage: Option<StorageFile>,
    #[serde(default)]
    client: ClientFile,
    #[serde(default)]
    log: LogFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StorageFile {
    listen: Option<SocketAddr>,
    dir: Option<PathBuf>,
    bucket: Option<String>,
    certificate_file: Option<PathBuf>,
    certificate_key_file: Option<PathBuf>,
    access_key_file: PathBuf,
    secret_key_file: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientFile {
    refresh: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogFile {
    level: Option<String>,
    #[serde(default)]
    format: LogFormat,
}

struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        units::duration(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Settings {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, Trouble> {
        let text = read_file(path)?;
        Self::parse(&text).map_err(|reason| {
            Trouble::usage(format!("the configuration {} cannot be used: {reason}", path.display()))
                .hint("The files in deploy/examples show every setting.")
        })
    }

    /// Checks the text of a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        if !file.data_dir.is_absolute() {
            return Err(format!("data_dir = {:?} is not an absolute path", file.data_dir));
        }
        if file.roles.is_empty() {
            return Err("roles is empty: name one or more of orchestrator, client, storage".into());
        }
        if let Some(twice) = file.roles.iter().enumerate().find(|(place, role)| file.roles[..*place].contains(role)) {
            return Err(format!("roles names {:?} twice", twice.1));
        }
        let storage = match (file.roles.contains(&RoleName::Storage), file.storage) {
            (true, Some(storage)) => Some(storage.check(&file.data_dir)?),
            (true, None) => return Err("the role storage needs a section [storage] with its key files".into()),
            (false, Some(_)) => return Err("there is a section [storage], but storage is not among the roles".into()),
            (false, None) => None,
        };
        let client_refresh = file.client.refresh.map_or(CLIENT_REFRESH, |span| span.0);
        if client_refresh < CLIENT_REFRESH_MIN {
            return Err(format!("client.refresh is shorter than {CLIENT_REFRESH_MIN:?}"));
        }
        Ok(Self {
            storage,
            client_refresh,
            data_dir: file.data_dir,
            roles: file.roles,
            listen: file.listen.unwrap_or_else(|| ([0, 0, 0, 0], PORT).into()),
            log_level: file.log.level.unwrap_or_else(|| "info".into()),
            log_format: file.log.format,
        })
    }
}

impl StorageFile {
    fn check(self, data_dir: &Path) -> Result<StorageRole, String> {
        let listen = self.listen.unwrap_or_else(|| STORAGE_LISTEN.into());
        let tls = match (self.certificate_file, self.certificate_key_file) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => return Err("storage.certificate_file and storage.certificate_key_file go together".into()),
        };
        if tls.is_none() && !listen.ip().is_loopback() {
            return Err(format!(
                "storage.listen = {listen}: a storage that speaks plain HTTP listens on 127.0.0.1 or [::1] only; for TLS, give it certificate_file and certificate_key_file"
            ));
        }
        Ok(StorageRole {
            listen,
            tls,
            dir: self.dir.unwrap_or_else(|| data_dir.join("objects")),
            bucket: self.bucket.unwrap_or_else(|| "nuthatch".into()),
            access_key_file: self.access_key_file,
            secret_key_file: self.secret_key_file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLES: [(&str, &str, RoleName); 4] = [
        ("orchestrator", include_str!("../../../deploy/examples/orchestrator.toml"), RoleName::Orchestrator),
        ("client", include_str!("../../../deploy/examples/client.toml"), RoleName::Client),
        ("storage", include_str!("../../../deploy/examples/storage.toml"), RoleName::Storage),
        ("storage-tls", include_str!("../../../deploy/examples/storage-tls.toml"), RoleName::Storage),
    ];

    #[test]
    fn the_examples_load_and_show_every_setting() {
        for (name, text, role) in EXAMPLES {
            let settings = Settings::parse(text).unwrap_or_else(|reason| panic!("{name}: {reason}"));
            assert_eq!(settings.roles, [role], "{name}");
        }
        let all: String = EXAMPLES.iter().map(|(_, text, _)| *text).collect();
        let keys = [
            "data_dir",
            "roles",
            "listen",
            "refresh",
            "dir",
            "bucket",
            "certificate_file",
            "certificate_key_file",
            "access_key_file",
            "secret_key_file",
            "level",
            "format",
        ];
        for key in keys {
            assert!(all.lines().any(|line| line.starts_with(&format!("{key} = "))), "no example shows {key}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, word) in [
            ("data_dir = \"/x\"\nroles = [\"orchestrator\"]\nlisten_on = \"127.0.0.1:1\"", "listen_on"),
            ("data_dir = \"x\"\nroles = [\"orchestrator\"]", "absolute"),
            ("data_dir = \"/x\"\nroles = []", "empty"),
            ("data_dir = \"/x\"\nroles = [\"client\", \"client\"]", "twice"),
            ("data_dir = \"/x\"\nroles = [\"king\"]", "king"),
            ("data_dir = \"/x\"\nroles = [\"storage\"]", "[storage]"),
            ("data_dir = \"/x\"\nroles = [\"client\"]\n[client]\nrefresh = \"5\"", "unit"),
            ("data_dir = \"/x\"\nroles = [\"client\"]\n[client]\nrefresh = 5", "refresh"),
            (
                "data_dir = \"/x\"\nroles = [\"storage\"]\n[storage]\nlisten = \"0.0.0.0:1\"\naccess_key_file = \"/a\"\nsecret_key_file = \"/s\"",
                "plain HTTP",
            ),
            (
                "data_dir = \"/x\"\nroles = [\"storage\"]\n[storage]\ncertificate_file = \"/c\"\naccess_key_file = \"/a\"\nsecret_key_file = \"/s\"",
                "certificate_key_file go together",
            ),
            (
                "data_dir = \"/x\"\nroles = [\"storage\"]\n[storage]\nsecret_key = \"s\"\naccess_key_file = \"/a\"\nsecret_key_file = \"/s\"",
                "secret_key",
            ),
        ] {
            let reason = Settings::parse(text).unwrap_err();
            assert!(reason.contains(word), "{text:?}: {reason}");
        }
    }
}
