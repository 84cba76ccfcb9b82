//! What a server asks of its client while it works on an operation: sampling, elicitation, roots.
//!
//! There are two ways to ask, and a callee uses the one that suits it. Callers understand both, and
//! `mcp · server` translates each into the form of the client's era.
//!
//! - **While the operation runs.** The callee sends a CHALLENGE ([`McpChallenge`]) and keeps the
//!   stream open. The caller answers each with one FLUSH ([`McpResponse`]) on the initial half, in
//!   any order, unless the stream ends before.
//! - **As its outcome.** The reply ends with [`McpOutcome::InputRequired`](super::McpOutcome), and
//!   its result has `inputRequests`, `requestState` or both. The caller may begin the operation anew,
//!   as a stream of its own with the same subject, with `inputResponses` and that `requestState` in
//!   `params`. Only `tools/call`, `prompts/get` and `resources/read` have this outcome.
//!
//! A callee asks only for what the `capabilities` of BEGIN contain. Without the capability it ends the
//! operation with [`McpReset::missing_capability`](super::McpReset::missing_capability).
//!
//! A caller accepts [`CHALLENGES_MAX`] open challenges for each operation, and answers a further one
//! with [`McpAnswer::Unsupported`].
//!
//! **Deadline.** A person may take minutes to answer, so an operation has no deadline while a
//! challenge is open: the caller decides how long it waits for its client. The answer states how much
//! time the callee has from then on, which is the new deadline of the operation.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::McpCapabilities;
use crate::{extension, words};

/// Most challenges of one operation that are open at the same time.
pub const CHALLENGES_MAX: usize = 16;

extension! {
    /// A request of the server to its client. It asks the client's user, its language model or the
    /// client itself.
    pub struct McpChallenge "request" {
        /// Correlates the answer with this request; chosen by the callee, once for each operation.
        id "id": u64 = 0,
        /// The JSON-RPC method: `elicitation/create`, `sampling/createMessage` or `roots/list`.
        method "method": ByteString = ByteString::new(),
        /// Its `params`, as JSON; empty: none.
        params "params": Bytes = Bytes::new(),
        /// The callee no longer waits for the answer to the challenge with this id. `method` and
        /// `params` are empty, and there is no answer to this.
        cancelled "cancelled": bool = false,
    }
}

words! {
    /// How a challenge was answered.
    pub enum McpAnswer {
        /// The client's `result`.
        Result "RESULT",
        /// The client's `error`.
        Error "ERROR",
        /// The client cannot be asked: it lacks the capability, or there is no way to it.
        Unsupported "UNSUPPORTED",
        /// The client did not answer in time.
        Expired "EXPIRED",
    }
}

extension! {
    /// The answer to a [`McpChallenge`], on the initial half.
    pub struct McpResponse "response" {
        /// Id of the challenge.
        id "id": u64 = 0,
        /// Who answers, and how.
        answer "answer": McpAnswer = McpAnswer::Result,
        /// The `result`, or an `error` for every other answer, as JSON.
        content "content": Bytes = Bytes::new(),
        /// Time until the new deadline of the operation, in milliseconds; 0: it has none.
        timeout "timeout": u64 = 0,
    }
}

/// The capability that a client needs to be asked with a method; `None` for a method that servers do
/// not ask clients with. `url` says that an elicitation has the mode `url`.
pub fn capability_to_ask(method: &str, url: bool) -> Option<McpCapabilities> {
    Some(match method {
        "elicitation/create" if url => McpCapabilities::CLIENT_ELICITATION_URL,
        "elicitation/create" => McpCapabilities::CLIENT_ELICITATION_FORM,
        "sampling/createMessage" => McpCapabilities::CLIENT_SAMPLING,
        "roots/list" => McpCapabilities::CLIENT_ROOTS,
        _ => return None,
    })
}

/// Client capabilities, their names and how they are declared.
const DECLARED: [(McpCapabilities, &str, &str); 4] = [
    (
        McpCapabilities::CLIENT_ELICITATION_FORM,
        "elicitation",
        "\"elicitation\":{}",
    ),
    (
        McpCapabilities::CLIENT_ELICITATION_URL,
        "elicitation.url",
        "\"elicitation\":{\"url\":{}}",
    ),
    (
        McpCapabilities::CLIENT_SAMPLING,
        "sampling",
        "\"sampling\":{}",
    ),
    (McpCapabilities::CLIENT_ROOTS, "roots", "\"roots\":{}"),
];

/// The names of client capabilities, for people.
pub(super) fn names(capabilities: McpCapabilities) -> String {
    let named = DECLARED.iter();
    let named = named.filter(|(it, ..)| capabilities.contains(*it));
    let named: Vec<&str> = named.map(|(_, name, _)| *name).collect();
    named.join(", ")
}

/// The `data` of an error about capabilities that the client lacks (2026-07-28,
/// `MissingRequiredClientCapabilityError`).
pub(super) fn required(capabilities: McpCapabilities) -> Bytes {
    let mut out = BytesMut::from(&b"{\"requiredCapabilities\":{"[..]);
    let missing = DECLARED
        .iter()
        .filter(|(it, ..)| capabilities.contains(*it));
    for (index, (.., member)) in missing.enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.put_slice(member.as_bytes());
    }
    out.put_slice(b"}}");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{McpReset, McpResetKind};

    #[test]
    fn a_refusal_names_the_capabilities_that_the_client_lacks() {
        type C = McpCapabilities;
        let reset = McpReset::missing_capability(C::CLIENT_SAMPLING.with(C::CLIENT_ROOTS));
        assert_eq!(reset.kind, McpResetKind::MissingCapability);
        assert_eq!(
            reset.message,
            "The client has not declared a capability that this operation requires: sampling, roots."
        );
        let data = reset.data.expect("data");
        assert_eq!(
            data,
            "{\"requiredCapabilities\":{\"sampling\":{},\"roots\":{}}}"
        );
    }

    #[test]
    fn each_request_of_a_server_needs_a_capability() {
        for (method, url, needed) in [
            ("roots/list", false, Some(McpCapabilities::CLIENT_ROOTS)),
            (
                "elicitation/create",
                true,
                Some(McpCapabilities::CLIENT_ELICITATION_URL),
            ),
            ("ping", false, None),
        ] {
            assert_eq!(capability_to_ask(method, url), needed, "{method}");
        }
    }
}
