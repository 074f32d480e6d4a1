//! Strict postcard: the whole input is read or it is refused.
//!
//! Invariant: bytes that decode are never re-encoded to be verified. postcard's
//! varints are not canonical, so signatures cover the bytes as they came.

use std::{fmt, io, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, SeqAccess, Visitor},
};

use crate::limits;

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

/// Writes a value piece by piece: for what would take much memory as a whole.
pub fn encode_to<T: Serialize>(value: &T, out: &mut dyn io::Write) -> io::Result<()> {
    let mut out = Telling { out, error: None };
    let written = postcard::to_io(value, &mut out).map(|_| ());
    written.map_err(|error| out.error.unwrap_or_else(|| io::Error::other(error)))
}

/// Reads a value that must be all that is left, piece by piece. No string or byte string in
/// it may be longer than a frame.
pub fn decode_from<T: DeserializeOwned>(what: &'static str, input: &mut dyn io::Read) -> Result<T, DecodeError> {
    let malformed = |reason: String| DecodeError::Malformed { what, reason };
    let mut scratch = vec![0; limits::FRAME_BYTES_MAX];
    let (value, (input, _)) = postcard::from_io((input, &mut scratch)).map_err(|error| malformed(error.to_string()))?;
    match io::copy(input, &mut io::sink()) {
        Ok(0) => Ok(value),
        Ok(extra) => Err(DecodeError::Trailing { what, extra: usize::try_from(extra).unwrap_or(usize::MAX) }),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// A writer that can tell what went wrong: postcard does not.
struct Telling<'a> {
    out: &'a mut dyn io::Write,
    error: Option<io::Error>,
}

impl io::Write for Telling<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piece_by_piece_is_the_same_as_at_once() {
        let value = (vec![String::from("a"), "b".repeat(3_000)], Some(u64::MAX), vec![vec![7_u8; 9_000]]);
        let mut bytes = Vec::new();
        encode_to(&value, &mut bytes).unwrap();
        assert_eq!(bytes, encode(&value));
        let read = |bytes: &[u8]| decode_from::<(Vec<String>, Option<u64>, Vec<Vec<u8>>)>("a", &mut &*bytes);
        assert_eq!(read(&bytes), Ok(value));
        assert!(matches!(read(&bytes[..bytes.len() - 1]), Err(DecodeError::Malformed { what: "a", .. })));
        bytes.extend([0, 0]);
        assert_eq!(read(&bytes), Err(DecodeError::Trailing { what: "a", extra: 2 }));
    }

    #[test]
    fn what_a_writer_says_is_told() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(encode_to(&7_u8, &mut Full).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
