//! What can go wrong, with the call that was tried and corosync's own name for the cause.

use std::fmt;

/// `cs_error_t` of corosync/corotypes.h, without `CS_OK`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(i32);

/// Values and names of corosync/corotypes.h.
const NAMES: &[(i32, &str)] = &[
    (2, "CS_ERR_LIBRARY"),
    (3, "CS_ERR_VERSION"),
    (4, "CS_ERR_INIT"),
    (5, "CS_ERR_TIMEOUT"),
    (6, "CS_ERR_TRY_AGAIN"),
    (7, "CS_ERR_INVALID_PARAM"),
    (8, "CS_ERR_NO_MEMORY"),
    (9, "CS_ERR_BAD_HANDLE"),
    (10, "CS_ERR_BUSY"),
    (11, "CS_ERR_ACCESS"),
    (12, "CS_ERR_NOT_EXIST"),
    (13, "CS_ERR_NAME_TOO_LONG"),
    (14, "CS_ERR_EXIST"),
    (15, "CS_ERR_NO_SPACE"),
    (16, "CS_ERR_INTERRUPT"),
    (17, "CS_ERR_NAME_NOT_FOUND"),
    (18, "CS_ERR_NO_RESOURCES"),
    (19, "CS_ERR_NOT_SUPPORTED"),
    (20, "CS_ERR_BAD_OPERATION"),
    (21, "CS_ERR_FAILED_OPERATION"),
    (22, "CS_ERR_MESSAGE_ERROR"),
    (23, "CS_ERR_QUEUE_FULL"),
    (24, "CS_ERR_QUEUE_NOT_AVAILABLE"),
    (25, "CS_ERR_BAD_FLAGS"),
    (26, "CS_ERR_TOO_BIG"),
    (27, "CS_ERR_NO_SECTIONS"),
    (28, "CS_ERR_CONTEXT_NOT_FOUND"),
    (30, "CS_ERR_TOO_MANY_GROUPS"),
    (100, "CS_ERR_SECURITY"),
];

impl Code {
    /// The library has no connection to corosync (any more).
    pub const LIBRARY: Self = Self(2);
    /// Corosync did not answer in time.
    pub const TIMEOUT: Self = Self(5);
    /// Nothing there, or not now: the call may be repeated.
    pub const TRY_AGAIN: Self = Self(6);
    /// An argument is wrong, or a buffer too small.
    pub const INVALID_PARAM: Self = Self(7);
    /// The handle has ended.
    pub const BAD_HANDLE: Self = Self(9);
    /// No such thing.
    pub const NOT_EXIST: Self = Self(12);
    /// There already.
    pub const EXIST: Self = Self(14);

    /// `None` for `CS_OK`.
    pub(crate) const fn from_raw(raw: i32) -> Option<Self> {
        match raw {
            1 => None,
            code => Some(Self(code)),
        }
    }

    /// The number of corosync/corotypes.h.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The name of corosync/corotypes.h, if this is one of that file's.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(code, _)| *code == self.0).map(|(_, name)| *name)
    }

    /// The connection to corosync is gone, whatever was tried over it.
    #[must_use]
    pub fn is_connection_loss(self) -> bool {
        [Self::LIBRARY, Self::TIMEOUT, Self::BAD_HANDLE].contains(&self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "corosync error {}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A function of corosync's libraries refused.
    #[error("{call}({about}): {code}")]
    Call {
        /// The C function.
        call: &'static str,
        /// Which group, key or node; empty where there is only one possibility.
        about: String,
        /// Its answer.
        code: Code,
    },
    /// Corosync takes group names of 1 to 128 bytes.
    #[error("group name of {length} bytes: 1 to 128 are possible")]
    GroupName {
        /// Bytes, a trailing NUL included.
        length: usize,
    },
    /// A text for C with a NUL inside.
    #[error("{what} {text:?} contains a NUL byte")]
    Nul {
        /// What the text is.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// A cmap value whose type or length is not what its key promises.
    #[error("cmap {key}: value of type {kind} with {length} bytes")]
    Value {
        /// The key.
        key: String,
        /// `cmap_value_types_t`
        kind: u32,
        /// Bytes.
        length: usize,
    },
    /// A descriptor, signal mask or thread that the operating system did not give.
    #[error("{call}: {errno}")]
    System {
        /// What was asked for.
        call: &'static str,
        /// The answer.
        errno: nix::errno::Errno,
    },
}

impl Error {
    /// Corosync's answer, if it was corosync that refused.
    #[must_use]
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Call { code, .. } => Some(*code),
            Self::GroupName { .. }
            | Self::Nul { .. }
            | Self::Value { .. }
            | Self::System { .. } => None,
        }
    }

    /// The same call may succeed a moment later.
    #[must_use]
    pub fn is_try_again(&self) -> bool {
        self.code() == Some(Code::TRY_AGAIN)
    }

    /// The connection to corosync is gone.
    #[must_use]
    pub fn is_connection_loss(&self) -> bool {
        self.code().is_some_and(Code::is_connection_loss)
    }
}

/// With the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_print_as_corosync_names_them() {
        assert_eq!(Code::TRY_AGAIN.to_string(), "CS_ERR_TRY_AGAIN");
        assert_eq!(Code(77).to_string(), "corosync error 77");
        let error = Error::Call { call: "cpg_join", about: "a".into(), code: Code::EXIST };
        assert_eq!(error.to_string(), "cpg_join(a): CS_ERR_EXIST");
    }
}
