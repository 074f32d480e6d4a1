//! What a person hands to a command: files by name, standard input, answers at a
//! terminal. Secrets come this way and never as arguments, which everyone on the
//! machine can read.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal as _, Read},
    path::Path,
};

use zeroize::Zeroizing;

use super::trouble::Trouble;

/// Nothing that is read whole is longer: tokens, passphrases, credentials, configurations.
const INPUT_BYTES_MAX: u64 = 64 << 10;

/// A whole small file.
pub fn read_file(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let opened = OpenOptions::new().read(true).open(path);
    let text = opened.and_then(bounded);
    text.map_err(|error| Trouble::file("read", path, &error))
}

/// A secret from a file: the first line, without what surrounds it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let text = read_file(path)?;
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.is_empty() {
        return Err(Trouble::invalid(format!(
            "{} is empty: it should hold a secret on its first line",
            path.display()
        )));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// Everything from standard input, or one hidden line from a terminal.
pub fn read_stdin(prompt: &str) -> Result<Zeroizing<String>, Trouble> {
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).map(Zeroizing::new)
    } else {
        bounded(io::stdin().lock())
    };
    text.map_err(|error| Trouble::invalid(format!("cannot read standard input: {error}")))
}

fn bounded(reader: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    reader.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {INPUT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A new passphrase: from a file, or typed twice.
pub fn new_passphrase(file: Option<&Path>) -> Result<Zeroizing<String>, Trouble> {
    if let Some(path) = file {
        return read_secret(path);
    }
    if !io::stdin().is_terminal() {
        return Err(Trouble::usage("the root key needs a passphrase, and there is no terminal to ask at")
            .hint("Write it into a file that only you can read, and add --passphrase-file FILE."));
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
