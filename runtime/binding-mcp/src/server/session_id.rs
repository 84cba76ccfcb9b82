//! Ids of legacy sessions: the owning worker and an unguessable secret.

use ::http::HeaderMap;
use bytestring::ByteString;
use tidegate_engine::Context;

use super::headers::SESSION_ID;

/// Length of the secret in letters and digits; holds 130 bits.
const SECRET: usize = 22;

/// Generates an id.
pub(super) fn mint(cx: &mut Context<'_>) -> ByteString {
    let mut id = format!("{:x}.", cx.worker());
    cx.random_letters(&mut id, SECRET);
    id.into()
}

/// The worker that owns the session of a request, if it is another worker.
pub(super) fn owner_elsewhere(cx: &Context<'_>, headers: &HeaderMap) -> Option<u16> {
    let id = headers.get(SESSION_ID)?.to_str().ok()?;
    let (worker, _) = id.trim().split_once('.')?;
    let worker = u16::from_str_radix(worker, 16).ok()?;
    (worker != cx.worker()).then_some(worker)
}

/// The part of an id that may be logged.
pub(super) fn shown(id: &str) -> ByteString {
    id.get(..6).unwrap_or(id).into()
}
