//! The payload of a close frame (RFC 6455, 5.5.1 and 7.4).

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;

/// Why a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Close {
    /// The status code; `None` if the frame has none.
    pub code: Option<u16>,
    /// The reason in words; at most 123 bytes.
    pub reason: ByteString,
}

impl Close {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The peer goes away, e.g. because it stops.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer violated the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// The peer sent data of a type that is not accepted.
    pub const UNSUPPORTED: u16 = 1003;

    /// With a code and no reason.
    pub const fn of(code: u16) -> Self {
        Self {
            code: Some(code),
            reason: ByteString::new(),
        }
    }

    /// Whether it is an orderly end, and not an error.
    pub const fn is_orderly(&self) -> bool {
        matches!(self.code, None | Some(Self::NORMAL | Self::GOING_AWAY))
    }

    /// Reads the payload; `None` if it is invalid.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return payload.is_empty().then(Self::default);
        };
        let code = u16::from_be_bytes(*code);
        // Codes that may be sent (RFC 6455, 7.4 and the registry of IANA).
        let sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let reason = std::str::from_utf8(reason).ok()?;
        sent.then(|| Self {
            code: Some(code),
            reason: reason.into(),
        })
    }

    /// The payload.
    pub fn payload(&self) -> Bytes {
        let mut payload = BytesMut::new();
        if let Some(code) = self.code {
            payload.put_u16(code);
            payload.put_slice(self.reason.as_bytes());
        }
        payload.freeze()
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.code else {
            return f.write_str("no code");
        };
        write!(f, "{code}")?;
        let meaning = match code {
            1000 => "normal",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1007 => "invalid data",
            1008 => "policy violation",
            1009 => "message too big",
            1010 => "missing extension",
            1011 => "internal error",
            1012 => "restarting",
            1013 => "try again later",
            1014 => "bad gateway",
            _ => "",
        };
        if !meaning.is_empty() {
            write!(f, " ({meaning})")?;
        }
        // Text of the peer: no control characters in logs.
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason.escape_debug())?;
        }
        Ok(())
    }
}
