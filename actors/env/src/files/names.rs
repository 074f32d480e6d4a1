//! The names in one directory.
//!
//! Invariant: they lie back to back in one piece of memory, so that a directory of a
//! million files costs their bytes and four more for each, and not a million pieces.

use std::{
    ffi::{CStr, OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
};

/// Names, in the order in which they were added until they are sorted.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Each name with a NUL, which no name has in it, at its end.
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Names {
    /// Adds a name, which has no NUL in it. False if there is no more room: after 4 GiB.
    #[must_use]
    pub fn push(&mut self, name: &OsStr) -> bool {
        let Ok(start) = u32::try_from(self.bytes.len()) else { return false };
        self.starts.push(start);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        true
    }

    /// Sorts them by their bytes.
    pub fn sort(&mut self) {
        let Self { bytes, starts } = self;
        starts.sort_unstable_by(|a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The name at a place; None behind the last.
    pub fn get(&self, place: usize) -> Option<&OsStr> {
        self.starts.get(place).map(|start| OsStr::from_bytes(name_at(&self.bytes, *start)))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &OsStr> {
        self.starts.iter().map(|start| OsStr::from_bytes(name_at(&self.bytes, *start)))
    }

    /// Whether this is one of them, which are sorted.
    pub fn has(&self, name: &OsStr) -> bool {
        self.starts.binary_search_by(|start| name_at(&self.bytes, *start).cmp(name.as_bytes())).is_ok()
    }

    /// Gives back the memory that was taken in advance.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.starts.shrink_to_fit();
    }

    /// All of them, each a string of its own.
    pub fn to_vec(&self) -> Vec<OsString> {
        self.iter().map(OsStr::to_owned).collect()
    }
}

fn name_at(bytes: &[u8], start: u32) -> &[u8] {
    let rest = bytes.get(start as usize..).unwrap_or_default();
    CStr::from_bytes_until_nul(rest).map(CStr::to_bytes).unwrap_or_default()
}

impl<S: AsRef<OsStr>> FromIterator<S> for Names {
    /// Takes them as far as there is room for.
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut all = Self::default();
        let _ = names.into_iter().all(|name| all.push(name.as_ref()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_the_order_of_their_bytes() {
        let odd = OsStr::from_bytes(b"\xff\xfe");
        let mut names: Names =
            [OsStr::new("b"), odd, OsStr::new(""), OsStr::new("ba"), OsStr::new("a")].into_iter().collect();
        names.sort();
        names.shrink();
        assert_eq!(
            names.to_vec(),
            ["", "a", "b", "ba"].map(OsString::from).into_iter().chain([odd.to_owned()]).collect::<Vec<_>>()
        );
        assert!(names.has(odd) && names.has(OsStr::new("ba")) && !names.has(OsStr::new("c")));
        assert_eq!((names.len(), names.get(2), names.get(5)), (5, Some(OsStr::new("b")), None));
    }
}
