//! The ids of legacy sessions: a secret that nobody guesses, behind the worker that owns the session.

use ::http::HeaderMap;
use bytestring::ByteString;
use tidegate_engine::Context;

use super::headers::SESSION_ID;

/// Letters and digits of the secret, which hold 130 bits.
const SECRET: usize = 22;

/// A new id.
pub(super) fn mint(cx: &mut Context<'_>) -> ByteString {
    let mut id = format!("{:x}.", cx.worker());
    cx.random_letters(&mut id, SECRET);
    id.into()
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
