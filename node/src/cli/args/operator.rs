//! What an operator can ask.

use std::{path::PathBuf, time::Duration};

use actors::operator::Candidate;
use clap::{Args, Subcommand};
use protocol::limits::{LABEL_BYTES_MAX, TOKEN_USES_MAX};

use super::{HomeArgs, RootKeyArgs, StoragePlaceArgs};
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

Exit code 1 if nothing can be decided now; 0, with warnings, if something else
is not as it should be.

JSON: name, cluster, keyset, problems: [text], warnings: [text],
backup: at_ms, applied, clients, snapshots, trouble,
orchestrators: [name, address, node, reachable, error, leader, voter, keyset,
term, applied, records, clients_connected, client_bytes_received, clock_ms,
agent, seat, incarnation]")]
    Status(HomeArgs),
    Rebuild(ClusterRebuild),
}

/// Begin a cluster again on new orchestrators, when all of them are lost.
///
/// Orchestrators write what they know into every storage, sealed to the root key. This
/// reads the newest of it, and the snapshots that came later, and makes nodes that wait
/// with empty data directories the cluster's orchestrators. Clients find them at the
/// addresses of the old ones and go on; tokens that were not used are void.
///
/// Give a fresh credential for the storage and disable the old one there: whoever has a
/// disk of a lost orchestrator has that. Shows first what would happen, and acts with
/// --yes. An attempt that was interrupted is gone on with by the same command.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  nuthatch cluster rebuild --endpoint https://s3.example.org \\
    --bucket backups --prefix fleet --credentials-file new-credentials \\
    --orchestrator a=10.0.0.1:7300#6f0c... \\
    --orchestrator b=10.0.0.2:7300#91d3... \\
    --orchestrator c=10.0.0.3:7300#c07e...

JSON: acted, backup_ms, incarnation, clients, snapshots, later, unknown: [id],
skipped: [text]; without --yes also: would; else: keyset, voters")]
pub struct ClusterRebuild {
    /// A node that is to be an orchestrator.
    #[arg(long = "orchestrator", value_name = "[NAME=]HOST:PORT[#KEY]", required = true, value_parser = candidate)]
    pub orchestrators: Vec<Candidate>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: StoragePlaceArgs,
    /// Act, instead of only showing what would happen.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootKeyArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
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
    /// List the tokens that were made, and what became of them.
    #[command(after_long_help = "\
Example:
  nuthatch token list

JSON: tokens: [name, id, domain, uses, used, left, expires_ms, state, refused,
refused_last_ms, refused_last_name]. `state` is good, spent, expired or
revoked; `refused` counts machines that came with a spent token.")]
    List(HomeArgs),
    Revoke(TokenRevoke),
}

/// End a token: nobody joins with it any more.
///
/// Machines that have joined with it stay. Shows first what would happen, and acts
/// with --yes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch token revoke laptops
  nuthatch token revoke 4f02 --yes --reason 'was on the old disk'

JSON: acted, name, id, used, left; without --yes also: would")]
pub struct TokenRevoke {
    /// Its name, or the first digits of its id.
    #[arg(value_name = "TOKEN")]
    pub token: String,
    /// Act, instead of only showing what would happen.
    #[arg(long)]
    pub yes: bool,
    /// Why, for people.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = reason)]
    pub reason: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
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
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum ClientCommand {
    /// List the machines that have joined.
    #[command(after_long_help = "\
Example:
  nuthatch client list

JSON: clients: [name, client, domain, tags, enrolled_ms, revoked, connected,
snapshots, newest_ms, lease]. `connected` is as seen by one orchestrator.")]
    List(HomeArgs),
    Show(ClientShow),
    Revoke(ClientRevoke),
}

/// Show one machine, and its snapshots.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  nuthatch client show laptop

JSON: what `client list` says of it, key, token, domain_name, and
snapshot_list: [id, at_ms, complete, bytes_stored]")]
pub struct ClientShow {
    /// Its name, or the first digits of its id.
    #[arg(value_name = "CLIENT")]
    pub client: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// Shut a machine out for good.
///
/// Its connections are cut at once, and its keys are refused from then on; its
/// snapshots stay. There is no way back for these keys: the same machine can join
/// again with a new token and an empty data directory. Shows first what would
/// happen, and acts with --yes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch client revoke laptop
  nuthatch client revoke laptop --yes --reason 'stolen on the train'

JSON: acted, name, client, snapshots; without --yes also: would")]
pub struct ClientRevoke {
    /// Its name, or the first digits of its id.
    #[arg(value_name = "CLIENT")]
    pub client: String,
    /// Act, instead of only showing what would happen.
    #[arg(long)]
    pub yes: bool,
    /// Why, for people.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = reason)]
    pub reason: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// A name that a person gives.
pub fn label(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("a name has 1 to {LABEL_BYTES_MAX} bytes and no control characters"));
    }
    Ok(text.into())
}

/// What a person says of a decision.
fn reason(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { label(text) }
}

/// `[NAME=]HOST:PORT[#KEY]`.
pub fn candidate(text: &str) -> Result<Candidate, String> {
    let (rest, key) = match text.split_once('#') {
        Some((rest, key)) => {
            let wrong = |_| {
                format!("{key:?}, behind #, is not a key: a node prints its own at its start, 64 hexadecimal digits")
            };
            (rest, Some(key.parse().map_err(wrong)?))
        }
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
