//! What a command says: results on stdout, everything else on stderr.
//!
//! Invariant: with `--json` a result is one JSON object on one line, and stdout
//! carries nothing else. A reader that has gone is no error.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::{Value, json};

use super::trouble::Trouble;

/// Where a command's results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For people, or with `json` for scripts.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether scripts read.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches stderr.
    pub fn is_watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// The result of a command: `ok` is added to the object.
    pub fn result(&self, object: Value, text: impl FnOnce() -> String) {
        if self.json {
            self.object(object);
        } else {
            line(&text());
        }
    }

    /// One object, if scripts read.
    pub fn object(&self, object: Value) {
        if self.json {
            let mut all = json!({ "ok": true });
            if let (Value::Object(all), Value::Object(object)) = (&mut all, object) {
                all.extend(object);
            }
            line(&all.to_string());
        }
    }

    /// A line for people only, beside the result.
    pub fn note(&self, text: &str) {
        if !self.json {
            say(text);
        }
    }

    /// Why there is no result.
    pub fn trouble(&self, trouble: &Trouble) {
        if self.json {
            line(&trouble.json().to_string());
        } else {
            say(&format!("nuthatch: {trouble}"));
        }
    }
}

/// A line on stdout. False if nobody reads it any more.
pub fn line(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end_matches('\n').as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
        .is_ok()
}

/// A line on stderr.
pub fn say(text: &str) {
    // There is nowhere left to complain to.
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}
