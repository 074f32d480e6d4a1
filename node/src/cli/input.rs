//! What a person hands to a command: files by name, standard input, answers at a
//! terminal. Secrets come this way and never as arguments, which everyone on the
//! machine can read.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal as _, Read},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use protocol::limits::EXCLUDES_BYTES_MAX;
use zeroize::Zeroizing;

use super::{text, trouble::Trouble};

/// Nothing that is read whole is longer: tokens, passphrases, credentials, configurations.
const INPUT_BYTES_MAX: u64 = 64 << 10;

/// A whole small file.
pub fn read_file(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let opened = OpenOptions::new().read(true).open(path);
    let text = opened.and_then(|file| bounded(file, INPUT_BYTES_MAX));
    text.map_err(|error| Trouble::file("read", path, &error))
}

/// A whole small file that need not be text.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Trouble> {
    let read = || {
        let mut bytes = Vec::new();
        OpenOptions::new().read(true).open(path)?.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 <= INPUT_BYTES_MAX {
            true => Ok(bytes),
            false => Err(too_long(INPUT_BYTES_MAX)),
        }
    };
    read().map_err(|error| Trouble::file("read", path, &error))
}

/// A whole list of patterns.
pub fn read_list(path: &Path) -> Result<String, Trouble> {
    let opened = OpenOptions::new().read(true).open(path);
    let text = opened.and_then(|file| bounded(file, EXCLUDES_BYTES_MAX as u64));
    text.map(|text| text.to_string()).map_err(|error| Trouble::file("read", path, &error))
}

/// A secret from a file: the first line, without what surrounds it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let text = read_file(path)?;
    warn_if_open(path);
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.is_empty() {
        return Err(Trouble::invalid(format!(
            "{} is empty: it should hold a secret on its first line",
            path.display()
        )));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// A secret that others can read is none: it is used, and that is said.
pub fn warn_if_open(path: &Path) {
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        let path = text::safe_path(path);
        tracing::warn!("{path} holds a secret, and others on this machine may read it: chmod 600 {path}");
    }
}

/// Everything from standard input, or one hidden line from a terminal.
pub fn read_stdin(prompt: &str) -> Result<Zeroizing<String>, Trouble> {
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).map(Zeroizing::new)
    } else {
        bounded(io::stdin().lock(), INPUT_BYTES_MAX)
    };
    text.map_err(|error| Trouble::invalid(format!("cannot read standard input: {error}")))
}

fn bounded(reader: impl Read, len_max: u64) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    reader.take(len_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > len_max {
        return Err(too_long(len_max));
    }
    Ok(text)
}

fn too_long(len_max: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {len_max} bytes"))
}

/// The passphrase of the root key: from a file, or typed.
pub fn passphrase(file: Option<&Path>) -> Result<Zeroizing<String>, Trouble> {
    if let Some(path) = file {
        return read_secret(path);
    }
    if !io::stdin().is_terminal() {
        return Err(no_terminal());
    }
    rpassword::prompt_password("Passphrase for the root key: ")
        .map(Zeroizing::new)
        .map_err(|error| Trouble::invalid(format!("cannot read the passphrase: {error}")))
}

fn no_terminal() -> Trouble {
    Trouble::usage("the root key needs a passphrase, and there is no terminal to ask at")
        .hint("Write it into a file that only you can read, and add --passphrase-file FILE.")
}

/// A new passphrase: from a file, or typed twice.
pub fn new_passphrase(file: Option<&Path>) -> Result<Zeroizing<String>, Trouble> {
    if let Some(path) = file {
        return read_secret(path);
    }
    if !io::stdin().is_terminal() {
        return Err(no_terminal());
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .map_err(|error| Trouble::invalid(format!("cannot read the passphrase: {error}")))
    };
    let first = ask("Passphrase for the root key: ")?;
    if first.is_empty() {
        return Err(Trouble::invalid("the passphrase is empty"));
    }
    if ask("The same again: ")? != first {
        return Err(Trouble::invalid("the two passphrases differ: nothing was made"));
    }
    Ok(first)
}
