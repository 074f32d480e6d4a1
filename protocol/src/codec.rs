//! Strict postcard: the whole input is read or it is refused.
//!
//! Invariant: bytes that decode are never re-encoded to be verified. postcard's
//! varints are not canonical, so signatures cover the bytes as they came.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, SeqAccess, Visitor},
};

/// Why bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not of the expected shape.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What was wrong.
        reason: String,
    },
    /// The value was read, but bytes are left over: a newer writer, or damage.
    #[error("malformed {what}: {extra} bytes after its end")]
    Trailing {
        /// What was being read.
        what: &'static str,
        /// How many bytes are left.
        extra: usize,
    },
    /// The bytes announce a version that this program does not know.
    #[error("{what} has version {found}, and this program reads up to version {known}: update nuthatch")]
    UnknownVersion {
        /// What was being read.
        what: &'static str,
        /// The version announced.
        found: u8,
        /// The newest version known.
        known: u8,
    },
    /// A signature does not match, or the bytes are of another cluster or kind.
    #[error("{what} is not authentic: {reason}")]
    Forged {
        /// What was being read.
        what: &'static str,
        /// What did not match.
        reason: &'static str,
    },
}

/// Something that has a name for error messages.
pub trait Named {
    /// What a person calls it.
    const NAME: &'static str;
}

/// Writes a value.
///
/// postcard fails only on types that cannot be serialized at all (a sequence of
/// unknown length); none of ours is.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_else(|error| unreachable!("every protocol type has a known shape: {error}"))
}

/// Reads a value that must fill `bytes` exactly.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, rest) =
        postcard::take_from_bytes(bytes).map_err(|error| DecodeError::Malformed { what, reason: error.to_string() })?;
    match rest.len() {
        0 => Ok(value),
        extra => Err(DecodeError::Trailing { what, extra }),
    }
}

/// Reads a list of at most `MAX` items, for `#[serde(deserialize_with)]`: where the
/// shortest item takes a hundred times more memory than bytes, the length of a
/// frame bounds too little.
pub fn at_most<'de, const MAX: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Items<const MAX: usize, T>(PhantomData<T>);

    impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for Items<MAX, T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX} items")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MAX {
                    return Err(A::Error::custom("a list is too long"));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(Items::<MAX, T>(PhantomData))
}
