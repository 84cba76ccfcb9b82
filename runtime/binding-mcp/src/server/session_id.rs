//! The ids of legacy sessions: a secret that nobody guesses, behind the worker that owns the session.

use ::http::HeaderMap;
use bytestring::ByteString;
use tidegate_engine::Context;

use super::headers::SESSION_ID;

const LETTERS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
/// Letters of the secret: 132 bits.
const SECRET: usize = 22;

/// A new id.
pub(super) fn mint(cx: &mut Context<'_>) -> ByteString {
    let mut bytes = [0; SECRET];
    cx.random(&mut bytes);
    let letter = |byte: &u8| LETTERS.get(usize::from(byte & 63)).copied().unwrap_or(b'0');
    let secret: String = bytes.iter().map(letter).map(char::from).collect();
    format!("{:x}.{secret}", cx.worker()).into()
}

/// The worker that owns the session a request belongs to, if that is another one.
pub(super) fn owner_elsewhere(cx: &Context<'_>, headers: &HeaderMap) -> Option<u16> {
    let id = headers.get(SESSION_ID)?.to_str().ok()?;
    let (worker, _) = id.trim().split_once('.')?;
    let worker = u16::from_str_radix(worker, 16).ok()?;
    (worker != cx.worker()).then_some(worker)
}

/// As much of an id as a log may tell.
pub(super) fn shown(id: &str) -> ByteString {
    id.get(..6).unwrap_or(id).into()
}
