//! What can be asked about admins.

use clap::{Args, Subcommand};
use protocol::ids::PublicKey;

use super::{HomeArgs, RootKeyArgs, operator::label};

/// Commands about admins.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum AdminCommand {
    Create(AdminCreate),
    Add(AdminAdd),
    Remove(AdminRemove),
    /// List the admins: whose signatures count.
    #[command(after_long_help = "\
Example:
  nuthatch admin list

JSON: keyset, admins: [name, key, me]")]
    List(HomeArgs),
}

/// Make an operator's directory for another person, with a key of its own.
///
/// Run it on that person's machine. It prints a public key, which whoever has the root
/// key then lets in with `nuthatch admin add`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  nuthatch admin create bob --root 4be1... --orchestrator 10.0.0.1:7300

JSON: name, key, home")]
pub struct AdminCreate {
    /// Whose key it is, for people.
    #[arg(value_parser = label)]
    pub name: String,
    /// The cluster's root key, as `cluster init` and `admin list` show it.
    #[arg(long, value_name = "KEY")]
    pub root: PublicKey,
    /// Where an orchestrator listens. May be given several times.
    #[arg(long = "orchestrator", value_name = "HOST:PORT", required = true)]
    pub orchestrators: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// Let another key sign for this cluster. Needs the root key.
///
/// An admin decides on domains, storages, tokens and revocations; it knows no domain's
/// secrets unless they are handed over as well.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  nuthatch admin add bob 91d3...

JSON: name, key, keyset")]
pub struct AdminAdd {
    /// Whose key it is, for people.
    #[arg(value_parser = label)]
    pub name: String,
    /// The public key that `nuthatch admin create` printed.
    pub key: PublicKey,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootKeyArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// End what an admin may do, and cut it off. Needs the root key.
///
/// What it signed counts no more; what of it is in force is signed again with your key
/// first, so that nothing changes for anyone else. If the key may be in other hands, look
/// at what it had signed before you do this. Shows first what would happen, and acts with
/// --yes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch admin remove bob
  nuthatch admin remove bob --yes

JSON: acted, name, key; without --yes also: would; else: keyset, signed_again")]
pub struct AdminRemove {
    /// Its name, or the first digits of its key.
    #[arg(value_name = "ADMIN")]
    pub admin: String,
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
