//! What an operator can ask about orchestrators.

use actors::operator::Candidate;
use clap::{Args, Subcommand};

use super::{
    HomeArgs, RootKeyArgs,
    operator::{candidate, label},
};

/// Commands about orchestrators.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum OrchestratorCommand {
    #[command(visible_alias = "invite", alias = "join")]
    Add(OrchestratorAdd),
    Remove(OrchestratorRemove),
    /// List the orchestrators, and how each of them is.
    #[command(after_long_help = "\
Example:
  nuthatch orchestrator list

JSON: keyset, orchestrators: [name, address, node, key, reachable, error,
voter, leader, applied]")]
    List(HomeArgs),
}

/// Make a waiting node an orchestrator, perhaps in the place of another.
///
/// Start the node with an empty data directory (`nuthatch node run`): it prints its
/// address and key, and waits. This command signs the next keyset with the root key,
/// and hands it to the node; the others seal the storages' credentials for it, it
/// fetches the log, and then it votes. An attempt that was interrupted is gone on
/// with by the same command.
///
/// With --replace the node takes the place of one that is lost, in one step.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch orchestrator add four=10.0.0.4:7300#5a91...
  nuthatch orchestrator add three=10.0.0.9:7300#c07e... --replace three --yes

JSON: name, address, node, key, keyset, voters, replaced; without --yes, when
something is replaced: acted (false), would")]
pub struct OrchestratorAdd {
    /// The node, with the key that it printed at its start.
    #[arg(value_name = "[NAME=]HOST:PORT[#KEY]", value_parser = candidate)]
    pub candidate: Candidate,
    /// The orchestrator that leaves as this one joins.
    #[arg(long, value_name = "NAME", value_parser = label)]
    pub replace: Option<String>,
    /// Replace without showing first what would happen.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub root: RootKeyArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// Take an orchestrator out of the cluster. It may be dead.
///
/// Shows first what would happen, and acts with --yes. Refused if the others could
/// not decide it: remove what is dead before what lives. The node itself stops to
/// serve; it can join again with an empty data directory.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch orchestrator remove three
  nuthatch orchestrator remove three --yes

JSON: acted, name, address, node, keyset, voters; or acted (false), would")]
pub struct OrchestratorRemove {
    /// Its name, address, or the first digits of its id.
    #[arg(value_name = "NAME")]
    pub name: String,
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
