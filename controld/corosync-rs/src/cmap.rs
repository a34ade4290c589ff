//! Corosync's map of configuration and state (corosync/cmap.h), read.

use crate::error::{Code, Error, Result};
use crate::ffi::CmapConnection;
use std::ffi::CString;
use std::fmt;

/// A value with the type that corosync stores it as.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any of the signed types.
    Signed(i64),
    /// Any of the unsigned types.
    Unsigned(u64),
    /// `float` or `double`.
    Float(f64),
    /// A string, without its NUL. Bytes that are no UTF-8 are replaced.
    Text(String),
    /// Anything else.
    Binary(Vec<u8>),
}

impl Value {
    /// A number that is not negative, of whatever type.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Signed(number) => u64::try_from(*number).ok(),
            Self::Unsigned(number) => Some(*number),
            Self::Float(_) | Self::Text(_) | Self::Binary(_) => None,
        }
    }

    /// A string.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Signed(_) | Self::Unsigned(_) | Self::Float(_) | Self::Binary(_) => None,
        }
    }
}

/// So often may a value grow between the question for its length and that for its bytes.
const GROWTHS: u32 = 8;

/// A connection to the map.
pub struct Cmap(CmapConnection);

impl fmt::Debug for Cmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cmap")
    }
}

impl Cmap {
    /// Connect.
    ///
    /// # Errors
    /// Corosync's: `CS_ERR_LIBRARY` where it does not run, `CS_ERR_TRY_AGAIN` while it starts.
    pub fn connect() -> Result<Self> {
        CmapConnection::open().map(Self)
    }

    /// A key's value, of any length; `None` where the map has no such key.
    ///
    /// # Errors
    /// [`Error::Nul`], [`Error::Value`] where length and type contradict, or corosync's.
    pub fn get(&self, key: &str) -> Result<Option<Value>> {
        let name =
            CString::new(key).map_err(|_| Error::Nul { what: "key", text: key.to_owned() })?;
        let mut growths = 0;
        loop {
            let found = self.0.measure(&name).and_then(|(length, _)| {
                let mut bytes = vec![0; length];
                let (length, kind) = self.0.read(&name, &mut bytes)?;
                bytes.truncate(length);
                Ok((bytes, kind))
            });
            match found {
                Ok((bytes, kind)) => return decode(key, &bytes, kind).map(Some),
                Err(error) => match error.code() {
                    Some(Code::NOT_EXIST) => return Ok(None),
                    // The value may have grown between the two calls.
                    Some(Code::INVALID_PARAM) if growths < GROWTHS => growths += 1,
                    _ => return Err(error),
                },
            }
        }
    }
}

/// By `cmap_value_types_t`.
fn decode(key: &str, bytes: &[u8], kind: u32) -> Result<Value> {
    let number = match kind {
        1 => bytes.try_into().ok().map(|b| Value::Signed(i8::from_ne_bytes(b).into())),
        2 => bytes.try_into().ok().map(|b| Value::Unsigned(u8::from_ne_bytes(b).into())),
        3 => bytes.try_into().ok().map(|b| Value::Signed(i16::from_ne_bytes(b).into())),
        4 => bytes.try_into().ok().map(|b| Value::Unsigned(u16::from_ne_bytes(b).into())),
        5 => bytes.try_into().ok().map(|b| Value::Signed(i32::from_ne_bytes(b).into())),
        6 => bytes.try_into().ok().map(|b| Value::Unsigned(u32::from_ne_bytes(b).into())),
        7 => bytes.try_into().ok().map(|b| Value::Signed(i64::from_ne_bytes(b))),
        8 => bytes.try_into().ok().map(|b| Value::Unsigned(u64::from_ne_bytes(b))),
        9 => bytes.try_into().ok().map(|b| Value::Float(f32::from_ne_bytes(b).into())),
        10 => bytes.try_into().ok().map(|b| Value::Float(f64::from_ne_bytes(b))),
        11 => {
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(Value::Text(String::from_utf8_lossy(text).into_owned()))
        }
        _ => Some(Value::Binary(bytes.to_vec())),
    };
    number.ok_or_else(|| Error::Value { key: key.to_owned(), kind, length: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_decide_how_bytes_are_read() {
        assert_eq!(decode("k", &[255], 1), Ok(Value::Signed(-1)));
        assert_eq!(decode("k", &[255], 2), Ok(Value::Unsigned(255)));
        assert_eq!(decode("k", &7_u32.to_ne_bytes(), 6), Ok(Value::Unsigned(7)));
        assert_eq!(decode("k", b"abc\0", 11), Ok(Value::Text("abc".into())));
        assert_eq!(decode("k", b"a\0", 12), Ok(Value::Binary(b"a\0".to_vec())));
    }

    #[test]
    fn a_length_that_contradicts_the_type_is_an_error() {
        assert!(decode("k", &[1, 2], 6).is_err());
    }
}
