//! What goes into a guard and what comes out.

use std::sync::Arc;

use bytestring::ByteString;
use thiserror::Error;
use tidegate_streams::Identity;

use crate::pending::Pending;

/// What a caller presents.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// A key or a token, without the scheme of its header.
    Text(&'a str),
    /// The client's own certificate (DER). TLS has verified it and its chain.
    Certificate(&'a [u8]),
}

/// The answer of a guard.
#[derive(Debug)]
pub enum Check {
    /// The credential is valid.
    Accepted(Arc<Identity>),
    /// It is not, or it cannot be checked now.
    Refused(Refusal),
    /// The answer takes longer: await it.
    Pending(Pending),
}

impl Check {
    /// The answer, once it is known. Waiting does no work: it is done elsewhere.
    pub async fn answer(self) -> Result<Arc<Identity>, Refusal> {
        match self {
            Self::Accepted(identity) => Ok(identity),
            Self::Refused(refusal) => Err(refusal),
            Self::Pending(pending) => pending.await,
        }
    }
}

/// Why a credential is not accepted. No text of it quotes the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It does not have the form of a credential of this guard.
    #[error("malformed credential: {0}")]
    Malformed(&'static str),
    /// No such key is configured.
    #[error("unknown key")]
    UnknownKey,
    /// Its time is over.
    #[error("expired credential")]
    Expired,
    /// Its time has not come, or it claims to be from the future.
    #[error("credential not valid yet")]
    NotYetValid,
    /// Well formed, and not to be trusted.
    #[error("credential not accepted: {0}")]
    Untrusted(&'static str),
    /// Too many verifications are running; the caller may try again.
    #[error("too many pending verifications; retry later")]
    Busy,
    /// What it is checked against cannot be had; the caller may try again.
    #[error("cannot check credentials now: {0}")]
    Unavailable(&'static str),
}

impl Refusal {
    /// One word for meters and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::UnknownKey => "unknown",
            Self::Expired => "expired",
            Self::NotYetValid => "notYetValid",
            Self::Untrusted(_) => "untrusted",
            Self::Busy => "busy",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// Whether the same credential may be accepted later: 503 with Retry-After instead of 401.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable(_))
    }

    /// Seconds after which the caller may try again, if it may.
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::Busy => Some(1),
            Self::Unavailable(_) => Some(5),
            _ => None,
        }
    }
}

/// What a guard stands for in `WWW-Authenticate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// `Bearer`, with a key that only the operator hands out.
    Key,
    /// `Bearer`, with a token of this authorization server.
    Token {
        /// The issuer.
        issuer: ByteString,
        /// Whether roles are OAuth scopes, so that a client can ask for more.
        step_up: bool,
    },
    /// Nothing a response can ask for: the credential belongs to the connection.
    Connection,
}
