//! What an operator can ask.

use std::{path::PathBuf, time::Duration};

use actors::operator::Candidate;
use clap::{Args, Subcommand};
use protocol::limits::{LABEL_BYTES_MAX, TOKEN_USES_MAX};

use super::HomeArgs;
use crate::settings::units;

/// Commands about the cluster.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum ClusterCommand {
    Init(ClusterInit),
    /// Ask every orchestrator how it sees the cluster.
    #[command(after_long_help = "\
Example:
  nuthatch cluster status

JSON: name, cluster, keyset, orchestrators: [name, address, node, reachable,
error, leader, voter, term, applied, records, clients_connected,
client_bytes_received, clock_ms]")]
    Status(HomeArgs),
}

/// Make a cluster of nodes that wait to be adopted.
///
/// Makes the root key, sealed with a passphrase, and an admin key in the operator's
/// directory; has the root sign who the orchestrators are; and tells them. Keep a
/// copy of that directory and of the passphrase: nothing replaces them.
///
/// The key behind `#` is what the node printed at its start. Without it, whatever
/// key is found at the address is believed, which is fine on a network you trust.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  nuthatch cluster init --name office \\
    --orchestrator a=10.0.0.1:7300#6f0c... \\
    --orchestrator b=10.0.0.2:7300#91d3... \\
    --orchestrator c=10.0.0.3:7300#c07e...

JSON: name, cluster, root, admin, home, orchestrators: [name, address, key]")]
pub struct ClusterInit {
    /// The cluster's name, for people.
    #[arg(long, value_parser = label)]
    pub name: String,
    /// A node that is to be an orchestrator. Three of them survive the loss of one, five of two.
    #[arg(long = "orchestrator", value_name = "[NAME=]HOST:PORT[#KEY]", required = true, value_parser = candidate)]
    pub orchestrators: Vec<Candidate>,
    /// Who the admin key is for. Default: your user name.
    #[arg(long, value_name = "NAME", value_parser = label)]
    pub admin: Option<String>,
    /// A file with the passphrase for the root key on its first line. Without it you are asked.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// Commands about storages.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum StorageCommand {
    Add(StorageAdd),
    /// List the storages.
    #[command(after_long_help = "\
Example:
  nuthatch storage list

JSON: storages: [name, repository, endpoint, region, bucket, prefix,
virtual_host]")]
    List(HomeArgs),
}

/// Add a bucket, or a part of one, as a repository.
///
/// Tries the credential first: writes, looks at, reads, lists and deletes a small
/// object. Then hands the credential to the orchestrators, sealed to their keys. It
/// needs put, get and list; without the right to delete, a stolen orchestrator
/// cannot destroy the repository.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch storage add main --endpoint https://s3.example.org \\
    --bucket backups --prefix fleet --region us-east-1 \\
    --access-key-file access-key --secret-key-file secret-key
  nuthatch storage add main --endpoint https://s3.example.org \\
    --bucket backups --credentials-file ~/.aws/credentials

JSON: name, repository, overwrite_refused, may_delete, warnings")]
pub struct StorageAdd {
    /// Its name, for people.
    #[arg(value_parser = label)]
    pub name: String,
    /// `https://host[:port]`; plain http only on this machine.
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// The bucket. It must exist.
    #[arg(long)]
    pub bucket: String,
    /// What every object's name starts with.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// The region that requests are signed for.
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// A file with the access key id on its first line.
    #[arg(long, value_name = "FILE", requires = "secret_key_file", required_unless_present = "credentials_file")]
    pub access_key_file: Option<PathBuf>,
    /// A file with the secret access key on its first line.
    #[arg(long, value_name = "FILE", requires = "access_key_file")]
    pub secret_key_file: Option<PathBuf>,
    /// A file with both, as the AWS tools write it: `aws_access_key_id = ...`, `aws_secret_access_key = ...`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["access_key_file", "secret_key_file"])]
    pub credentials_file: Option<PathBuf>,
    /// The bucket stands in the host name instead of the path.
    #[arg(long)]
    pub virtual_host: bool,
    /// Use the repository that is there already.
    #[arg(long)]
    pub adopt: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// Commands about domains.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum DomainCommand {
    Create(DomainCreate),
    /// List the domains.
    #[command(after_long_help = "\
Example:
  nuthatch domain list

JSON: domains: [name, domain, storage, trust, chunk_bytes_min,
chunk_bytes_average, chunk_bytes_max, codec, generation]")]
    List(HomeArgs),
}

/// Make a domain: clients that share deduplication.
///
/// Its secrets are made here and stay in the operator's directory; tokens carry them
/// to the clients, past the orchestrators. Members of a domain can tell whether some
/// other member has a file that they have too: put only those in one domain who may
/// know that of each other.
///
/// Files are cut around 1 MiB (256 KiB to 4 MiB) and compressed with zstd at its
/// fastest level: it keeps up with the disk, and saves nearly what slower levels do.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch domain create laptops --storage main
  nuthatch domain create customers --storage main --strangers

JSON: name, domain, storage, trust")]
pub struct DomainCreate {
    /// Its name, for people.
    #[arg(value_parser = label)]
    pub name: String,
    /// The storage in which its clients store.
    #[arg(long, value_name = "NAME")]
    pub storage: String,
    /// Its members do not trust each other.
    #[arg(long)]
    pub strangers: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// Commands about tokens.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum TokenCommand {
    Create(TokenCreate),
}

/// Make a token: the one string with which a machine joins.
///
/// The token is printed once, on stdout, and kept nowhere. Whoever has it can join
/// until it is used up or expires: hand it over like a password.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch token create --domain laptops | ssh laptop nuthatch enroll
  nuthatch token create --domain laptops --uses 20 --expires 7d --output token

JSON: token (not with --output), id, name, domain, uses, expires_ms, output")]
pub struct TokenCreate {
    /// The domain that its clients join.
    #[arg(long, value_name = "NAME")]
    pub domain: String,
    /// How many machines may join with it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(TOKEN_USES_MAX)))]
    pub uses: u32,
    /// How long it is good for: s, m, h, d.
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = units::lifetime)]
    pub expires: Duration,
    /// A tag that its clients get. May be given several times.
    #[arg(long = "tag", value_name = "TAG", value_parser = label)]
    pub tags: Vec<String>,
    /// Its name, for people.
    #[arg(long, default_value = "token", value_parser = label)]
    pub name: String,
    /// Write it into this new file, readable by you only, instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// Commands about clients.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// List the machines that have joined.
    #[command(after_long_help = "\
Example:
  nuthatch client list

JSON: clients: [name, client, domain, tags, enrolled_ms, revoked, connected,
snapshots, newest_ms, lease]. `connected` is as seen by one orchestrator.")]
    List(HomeArgs),
}

/// A name that a person gives.
pub fn label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("a name has 1 to {LABEL_BYTES_MAX} bytes and no control characters"));
    }
    Ok(text.into())
}

/// `[NAME=]HOST:PORT[#KEY]`.
fn candidate(text: &str) -> Result<Candidate, String> {
    let (rest, key) = match text.split_once('#') {
        Some((rest, key)) => (rest, Some(key.parse().map_err(|error| format!("{error}"))?)),
        None => (text, None),
    };
    let (name, address) = rest.split_once('=').unwrap_or((rest, rest));
    let port =
        address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none_or(|port| port == 0) {
        return Err(format!("{address:?} is not HOST:PORT"));
    }
    Ok(Candidate { name: label(name)?, address: address.into(), key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orchestrators_are_named_in_three_ways() {
        let key = "ab".repeat(32);
        let full = candidate(&format!("a=host:7300#{key}")).unwrap();
        assert_eq!((full.name.as_str(), full.address.as_str(), full.key.unwrap().to_string()), ("a", "host:7300", key));
        let short = candidate("[::1]:7300").unwrap();
        assert_eq!((short.name.as_str(), short.address.as_str(), short.key), ("[::1]:7300", "[::1]:7300", None));
        for wrong in ["host", "host:", "host:0", ":1", "a=:1", "=host:1", "host:1#ab", "host:70000"] {
            candidate(wrong).unwrap_err();
        }
    }
}
