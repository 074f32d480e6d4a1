//! What is made of the command line itself.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nuthatch completions bash > /etc/bash_completion.d/nuthatch
  nuthatch completions zsh > /usr/share/zsh/site-functions/_nuthatch
  nuthatch completions fish > ~/.config/fish/completions/nuthatch.fish")]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// Write the manual pages into a directory, one for each command.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  nuthatch man /usr/local/share/man/man1

JSON: directory, pages")]
pub struct Man {
    /// Where to: made if it does not exist.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}
