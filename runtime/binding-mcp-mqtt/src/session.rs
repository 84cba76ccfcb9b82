//! `lifecycle`: sessions and their identities.

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_streams::mcp::{McpCapabilities, McpLifecycle};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// MQTT 3.1.1 promises client identifiers of 23 characters of this alphabet; 22 hold 128 bits.
const LENGTH: usize = 22;

/// A new session identity, which is also the MQTT client identifier of its operations.
pub(crate) fn mint(cx: &mut Context<'_>) -> ByteString {
    let mut identity = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let choice = usize::try_from(cx.random_below(ALPHABET.len() as u64)).unwrap_or(0);
        let letter = ALPHABET.get(choice).copied().unwrap_or(b'0');
        identity.push(char::from(letter));
    }
    identity.into()
}

/// What the reply BEGIN of a session says.
pub(crate) fn begin(identity: ByteString) -> McpLifecycle {
    McpLifecycle {
        session_id: Some(identity),
        capabilities: McpCapabilities::SERVER_TOOLS
            .with(McpCapabilities::SERVER_RESOURCES)
            .with(McpCapabilities::SERVER_RESOURCES_SUBSCRIBE),
    }
}
