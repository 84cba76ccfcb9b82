//! The client identifier of queries that belong to no session.

use bytestring::ByteString;
use tidegate_engine::Context;

/// Minted with the first query. The topic of its answers contains it, and the connection has it, so that
/// a broker can restrict the topic to this client.
#[derive(Debug, Default)]
pub(crate) struct OwnClientId(Option<ByteString>);

impl OwnClientId {
    /// The client identifier of a session, or else the binding's own.
    pub(crate) fn of(&mut self, cx: &mut Context<'_>, session: Option<ByteString>) -> ByteString {
        match session {
            Some(session) => session,
            None => self.0.get_or_insert_with(|| cx.mint_identity()).clone(),
        }
    }
}
