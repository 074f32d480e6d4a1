//! What can be asked about storages.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{HomeArgs, operator::label};

/// Commands about storages.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "what has arguments is explained there")]
pub enum StorageCommand {
    Add(StorageAdd),
    Check(StorageCheck),
    /// List the storages.
    #[command(after_long_help = "\
Example:
  nuthatch storage list

JSON: storages: [name, repository, endpoint, region, bucket, prefix,
virtual_host, authorities]")]
    List(HomeArgs),
}

/// Add a bucket, or a part of one, as a repository.
///
/// Tries the credential and the storage first, as `nuthatch storage check` does. Then
/// hands the credential to the orchestrators, sealed to their keys. It needs put, get
/// and list; without the right to delete, a stolen orchestrator cannot destroy the
/// repository.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch storage add main --endpoint https://s3.example.org \\
    --bucket backups --prefix fleet --region us-east-1 \\
    --access-key-file access-key --secret-key-file secret-key
  nuthatch storage add main --endpoint https://s3.example.org \\
    --bucket backups --credentials-file ~/.aws/credentials
  nuthatch storage add main --endpoint https://10.0.0.9:9300 \\
    --ca-file ca.pem --bucket nuthatch --credentials-file credentials

JSON: name, repository, warnings: [text],
checks: [check, verdict, found, follows]")]
pub struct StorageAdd {
    /// Its name, for people.
    #[arg(value_parser = label)]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: StoragePlaceArgs,
    /// Use the repository that is there already.
    #[arg(long)]
    pub adopt: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// Where a storage is, and what opens it.
#[derive(Debug, Args)]
pub struct StoragePlaceArgs {
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
    #[command(flatten)]
    #[allow(missing_docs)]
    pub credential: CredentialArgs,
    /// The bucket stands in the host name instead of the path.
    #[arg(long)]
    pub virtual_host: bool,
    /// A file with the certificate of the authority that signed the server's, in PEM or DER.
    ///
    /// Clients and orchestrators get it with the storage, and believe no other. Without
    /// it they believe the authorities that their machines know.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Try what a storage really enforces, and say what follows.
///
/// Servers say yes to much that they do not do, so each thing is tried and looked at:
/// whether what is written stays, whether tickets hold, whether the credential may
/// delete or overwrite, versions, locks, clocks. What that writes lies below
/// cluster/probe and is deleted again, if the credential may.
///
/// The credential is the one that the orchestrators have: they keep it sealed, so it
/// is given here. Try another one before it is handed to them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch storage check --credentials-file ~/.aws/credentials
  nuthatch storage check main --access-key-file access \\
    --secret-key-file secret

Exit code 1 if the storage should not be used.

JSON: name, repository, usable, checks: [check, verdict, found, follows].
Verdicts are good, note, warning and bad.")]
pub struct StorageCheck {
    /// Which storage. Need not be said if there is only one.
    #[arg(value_parser = label)]
    pub name: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub credential: CredentialArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub home: HomeArgs,
}

/// The credential of a storage, in files.
#[derive(Debug, Args)]
pub struct CredentialArgs {
    /// A file with the access key id on its first line.
    #[arg(long, value_name = "FILE", requires = "secret_key_file")]
    pub access_key_file: Option<PathBuf>,
    /// A file with the secret access key on its first line.
    #[arg(long, value_name = "FILE", requires = "access_key_file")]
    pub secret_key_file: Option<PathBuf>,
    /// A file with the session token on its first line, if the keys are temporary.
    #[arg(long, value_name = "FILE", requires = "access_key_file")]
    pub session_token_file: Option<PathBuf>,
    /// A file with all of them, as the AWS tools write it: `aws_access_key_id = ...`, `aws_secret_access_key = ...`
    /// and, if there is one, `aws_session_token = ...`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["access_key_file", "secret_key_file", "session_token_file"])]
    pub credentials_file: Option<PathBuf>,
}
