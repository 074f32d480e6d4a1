//! Names of others on a person's terminal, and in commands that a person may copy.
//!
//! Invariant: nothing that someone else has named (a file, a client, a storage's
//! answer) moves the cursor, changes colours or reorders what stands beside it.

use std::{borrow::Cow, ffi::OsStr, fmt::Write as _, os::unix::ffi::OsStrExt as _};

/// A text with what a terminal would act on written as `\n`, `\x1b` or `\u{202e}`.
pub fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            // Writing into a string does not fail.
            char if acts(char) && char.is_ascii() => _ = write!(shown, "\\x{:02x}", char as u32),
            char if acts(char) => shown.extend(char.escape_unicode()),
            char => shown.push(char),
        }
    }
    Cow::Owned(shown)
}

/// A file's name or path likewise; bytes that are not UTF-8 are written as `\xff`.
pub fn safe_path(path: &(impl AsRef<OsStr> + ?Sized)) -> String {
    let mut shown = String::new();
    for chunk in path.as_ref().as_bytes().utf8_chunks() {
        shown.push_str(&safe(chunk.valid()));
        for byte in chunk.invalid() {
            // Likewise.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// A text as one word of a shell's command line.
pub fn word(text: &str) -> Cow<'_, str> {
    let plain = |char: char| char.is_ascii_alphanumeric() || "_-./:@%+=,".contains(char);
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    if text.chars().any(acts) {
        // bash, zsh and ksh read this; it can be read without harm.
        return Cow::Owned(format!("$'{}'", safe(&text.replace('\\', "\\\\").replace('\'', "\\'"))));
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

/// Whether a terminal acts on a character instead of showing it: control characters,
/// and those that change the direction of what follows or show nothing at all.
fn acts(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        assert_eq!(safe("plain, ünïcode 日本"), "plain, ünïcode 日本");
        assert_eq!(safe("a\nb\x1b[31mred\u{9b}2J"), "a\\nb\\x1b[31mred\\u{9b}2J");
        assert_eq!(safe("evil\u{202e}txt.exe"), "evil\\u{202e}txt.exe");
        assert_eq!(safe_path(OsStr::from_bytes(b"caf\xe9\x07/x")), "caf\\xe9\\x07/x");
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert!(!safe(&all).chars().any(acts));
    }

    #[test]
    fn words_survive_a_shell() {
        for text in ["plain-1.2/x", "two words", "it's", "$HOME `id`", "", "new\nline", "back\\slash", "t\u{e4}g"] {
            let script = format!("printf %s {}", word(text));
            let printed = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(printed.stdout).unwrap(), text, "{script}");
        }
    }
}
