//! MCP streams: one operation per stream, independent of the client's revision and transport.
//!
//! Initial DATA is the JSON-RPC `params` object, as received; reply DATA is the `result` object.
//! JSON-RPC ids, envelopes and HTTP are not part of the stream. The initial half stays open while
//! the caller is interested: END means *done* (it unsubscribes a `resourcesSubscribe` and closes a
//! `lifecycle`), ABORT means *cancelled*. A refusal is a RESET of the initial half. The name or URI
//! in BEGIN takes precedence over the one in `params`.
//!
//! While it works on an operation, a callee may ask the client for something (`input`).

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_json::{Document, Parts};

mod approval;
mod input;
mod operation;

use crate::scripted::Scripted;
use crate::{Extension, extension, flags, words};
pub use approval::{APPROVAL_BYTES_MAX, APPROVAL_TEXT_MAX, McpApproval, approval_payload};
pub use input::{CHALLENGES_MAX, McpAnswer, McpChallenge, McpResponse, capability_to_ask};
pub use operation::{
    McpBeginEx, McpCompletionComplete, McpEra, McpHeader, McpLifecycle, McpMethod, McpPromptsGet,
    McpPromptsList, McpResourcesList, McpResourcesRead, McpResourcesSubscribe,
    McpResourcesTemplatesList, McpSubject, McpToolsCall, McpToolsList,
};

flags! {
    /// Capabilities of a client or a server, exchanged by `lifecycle`.
    pub struct McpCapabilities(u32) {
        /// The server has tools.
        SERVER_TOOLS = 1,
        /// The server has prompts.
        SERVER_PROMPTS = 2,
        /// The server has resources.
        SERVER_RESOURCES = 4,
        /// The server sends notifications when its tools change.
        SERVER_TOOLS_LIST_CHANGED = 8,
        /// The server sends notifications when its prompts change.
        SERVER_PROMPTS_LIST_CHANGED = 16,
        /// The server sends notifications when its resources change.
        SERVER_RESOURCES_LIST_CHANGED = 32,
        /// The client has roots.
        CLIENT_ROOTS = 64,
        /// The client supports sampling.
        CLIENT_SAMPLING = 128,
        /// The client supports elicitation.
        CLIENT_ELICITATION = 256,
        /// The client supports form elicitation.
        CLIENT_ELICITATION_FORM = 512,
        /// The client supports URL elicitation.
        CLIENT_ELICITATION_URL = 1024,
        /// Resources can be subscribed to.
        SERVER_RESOURCES_SUBSCRIBE = 2048,
        /// The server supports argument completion.
        SERVER_COMPLETIONS = 4096,
        /// The server sends log messages.
        SERVER_LOGGING = 8192,
        /// Sampling may use tools.
        CLIENT_SAMPLING_TOOLS = 16384,
        /// Sampling may include the context of servers.
        CLIENT_SAMPLING_CONTEXT = 32768,
        /// The client notifies servers when its roots change.
        CLIENT_ROOTS_LIST_CHANGED = 65536,
    }
}

/// Extension of the first DATA of `params`: the parsed document of the whole text, so that the
/// binding that executes the operation need not parse it again. It adds no information to the
/// payload and is optional.
#[derive(Debug, Clone)]
pub struct McpParams(Document);

impl McpParams {
    /// Wraps a parsed document.
    pub const fn new(read: Document) -> Self {
        Self(read)
    }

    /// The document, if `payload` is the very memory it was parsed from; `None` if the payload was
    /// cut or changed on the way.
    pub fn of(self, payload: &Bytes) -> Option<Document> {
        self.0.is_of(payload).then_some(self.0)
    }

    /// Like [`Self::of`], for a payload received in several DATA frames.
    pub fn of_parts(self, payload: &Parts) -> Option<Document> {
        self.0.is_of_parts(payload).then_some(self.0)
    }
}

impl PartialEq for McpParams {
    /// Frames are compared by their payload.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

words! {
    /// Outcome of an operation.
    pub enum McpOutcome {
        /// Success.
        Ok "OK",
        /// The tool failed: the result has `isError`.
        Error "ERROR",
        /// The server needs input from the client first (2026-07-28).
        InputRequired "INPUT_REQUIRED",
    }
}

words! {
    /// How severe a log message is (RFC 5424), in ascending order.
    pub enum McpLogLevel {
        /// Of use while debugging.
        Debug "debug",
        /// Something that is expected.
        Info "info",
        /// Something normal, but significant.
        Notice "notice",
        /// Something that may become an error.
        Warning "warning",
        /// Something that has failed.
        Error "error",
        /// A part of the system has failed.
        Critical "critical",
        /// Something has to be done at once.
        Alert "alert",
        /// The system cannot be used.
        Emergency "emergency",
    }
}

impl McpLogLevel {
    /// The level with this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|level| level.word() == name)
    }

    /// Whether messages of this level are among those from `least` on.
    pub const fn is_from(self, least: Self) -> bool {
        self as u8 >= least as u8
    }
}

words! {
    /// Which clients may share a cached result (2026-07-28, `cacheScope`).
    pub enum McpCacheScope {
        /// Any client.
        Public "public",
        /// Only the requesting client.
        Private "private",
    }
}

extension! {
    /// END of the reply half.
    pub struct McpEnd "mcp" {
        /// Outcome of the operation.
        outcome "outcome": McpOutcome = McpOutcome::Ok,
        /// How long a list or read result stays fresh, in milliseconds; absent: no hint.
        ttl_ms "ttlMs": Option<u64> = None,
        /// Which clients may share it; absent: only the requesting client.
        cache_scope "cacheScope": Option<McpCacheScope> = None,
        /// Whether the result has a member `_meta` already, to which none may be added.
        meta "meta": bool = false,
    }
}

extension! {
    /// ABORT of either half.
    pub struct McpAbort "mcp" {
        /// Reason in words.
        reason "reason": Option<ByteString> = None,
    }
}

extension! {
    /// Progress of an operation, on the reply half.
    pub struct McpProgress "progress" {
        /// Progress so far, as a JSON number.
        progress "progress": ByteString = ByteString::new(),
        /// Total, as a JSON number.
        total "total": Option<ByteString> = None,
        /// Description of the current step.
        message "message": Option<ByteString> = None,
    }
}
extension! {
    /// A log message of the operation, on the reply half.
    pub struct McpLog "log" {
        /// The notification's `params`, as JSON.
        params "params": Bytes = Bytes::new(),
    }
}
extension! {
    /// A subscribed resource was updated.
    pub struct McpResourcesUpdated "resourcesUpdated" {
        /// URI of the resource.
        uri "uri": ByteString = ByteString::new(),
    }
}
extension! {
    /// The list of tools changed.
    pub struct McpToolsListChanged "toolsListChanged" {}
}
extension! {
    /// The list of prompts changed.
    pub struct McpPromptsListChanged "promptsListChanged" {}
}
extension! {
    /// The list of resources changed.
    pub struct McpResourcesListChanged "resourcesListChanged" {}
}
extension! {
    /// The client's roots changed; on the initial half of a session.
    pub struct McpRootsListChanged "rootsListChanged" {}
}

macro_rules! flushes {
    ($($variant:ident($type:ident)),* $(,)?) => {
        /// FLUSH extensions of mcp streams.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "a variant is named after its struct")]
        pub enum McpFlushEx {
            $( $variant($type), )*
        }

        impl McpFlushEx {
            /// The words that identify them in scripts, in order.
            pub const WORDS: &'static [&'static str] = &[$(<$type as Extension>::WORD),*];

            /// The extension identified by `word`, with default fields.
            pub fn blank(word: &str) -> Option<Self> {
                match word {
                    $( <$type as Extension>::WORD => Some(Self::$variant($type::default())), )*
                    _ => None,
                }
            }

            pub(crate) fn scripted(&mut self) -> &mut dyn Scripted {
                match self {
                    $( Self::$variant(it) => it, )*
                }
            }
        }

        $(impl From<$type> for crate::FlushEx {
            fn from(extension: $type) -> Self {
                Self::Mcp(McpFlushEx::$variant(extension))
            }
        })*
    };
}

flushes! {
    Progress(McpProgress),
    Log(McpLog),
    ResourcesUpdated(McpResourcesUpdated),
    ToolsListChanged(McpToolsListChanged),
    PromptsListChanged(McpPromptsListChanged),
    ResourcesListChanged(McpResourcesListChanged),
    RootsListChanged(McpRootsListChanged),
    Response(McpResponse),
}

words! {
    /// Reason of a refusal. Bindings with clients map it to the error code, and HTTP status, of the
    /// client's revision.
    pub enum McpResetKind {
        /// `params` are invalid for the operation.
        Invalid "invalid",
        /// The tool, prompt or resource does not exist or is not allowed.
        NotFound "notFound",
        /// The caller is not authorised.
        NotAuthorized "notAuthorized",
        /// The client lacks a capability that the operation requires.
        MissingCapability "missingCapability",
        /// A `Mcp-Param-*` header contradicts the arguments.
        HeaderMismatch "headerMismatch",
        /// No answer within the deadline.
        TimedOut "timedOut",
        /// The upstream cannot be reached or has no capacity.
        Unavailable "unavailable",
        /// A limit of the gateway is reached. The upstream was not asked, so this says nothing about it.
        Busy "busy",
        /// A message exceeds a limit.
        TooLarge "tooLarge",
        /// The caller did not consume its result.
        SlowConsumer "slowConsumer",
        /// An internal error in tidegate.
        Internal "internal",
        /// An error of an upstream server, to be passed on unchanged.
        Relayed "relayed",
    }
}

extension! {
    /// RESET: the operation is refused.
    pub struct McpReset "mcp" {
        /// Reason, for programs.
        kind "kind": McpResetKind = McpResetKind::Internal,
        /// Reason, for people: a plain sentence.
        message "message": ByteString = ByteString::new(),
        /// The error's `data`, as JSON.
        data "data": Option<Bytes> = None,
        /// Error code of a passed-on error.
        code "code": Option<i64> = None,
        /// Scopes that the caller needs for the operation and can ask for.
        scopes "scopes": Vec<ByteString> = Vec::new(),
        /// The upstream has not received the operation, so that nothing was executed.
        not_sent "notSent": bool = false,
    }
}

impl McpReset {
    /// A refusal with a kind and a message.
    pub fn new(kind: McpResetKind, message: impl Into<ByteString>) -> Self {
        Self {
            kind,
            message: message.into(),
            ..Self::default()
        }
    }

    /// The refusal of a caller that lacks some of these scopes and can ask for them.
    pub fn insufficient_scope<S: AsRef<str>>(scopes: &[S]) -> Self {
        let needed: Vec<&str> = scopes.iter().map(AsRef::as_ref).collect();
        Self {
            scopes: needed.iter().map(|scope| (*scope).into()).collect(),
            ..Self::new(
                McpResetKind::NotAuthorized,
                format!(
                    "Insufficient scope; this operation needs: {}.",
                    needed.join(" ")
                ),
            )
        }
    }

    /// The refusal of an operation that has to ask its client for something, for which the client lacks
    /// these capabilities.
    pub fn missing_capability(capabilities: McpCapabilities) -> Self {
        Self {
            data: Some(input::required(capabilities)),
            ..Self::new(
                McpResetKind::MissingCapability,
                format!(
                    "The client has not declared a capability that this operation requires: {}.",
                    input::names(capabilities)
                ),
            )
        }
    }

    /// Adds the scopes that a binding on the way asked for, which the caller has. A client asks for the
    /// named scopes alone, so that a token without these would be refused there.
    #[must_use]
    pub fn with_scopes_of_the_way(self, scopes: &[String]) -> Self {
        if self.scopes.is_empty() {
            return self;
        }
        let mut all: Vec<&str> = scopes.iter().map(String::as_str).collect();
        for scope in &self.scopes {
            if !all.contains(&&**scope) {
                all.push(scope);
            }
        }
        Self {
            data: self.data,
            ..Self::insufficient_scope(&all)
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]
mod tests {
    use tidegate_json::Limits;

    use super::*;

    #[test]
    fn the_document_is_returned_only_for_the_text_it_was_parsed_from() {
        let body = Bytes::from_static(b"{\"params\":{\"name\":\"publish\"}}");
        let document = Document::parse(Parts::from(body.clone()), Limits::default());
        let document = document.expect("JSON");
        let params = document.root().get("params").expect("once").expect("there");
        let (text, place) = (params.bytes(), params.id());
        let read = McpParams::new(document.at(place));
        assert_eq!(text, "{\"name\":\"publish\"}");
        let name = |read: Document| read.root().get("name").unwrap().unwrap().string();
        let given = read.clone().of(&text).map(name);
        assert_eq!(given, Some(Some("publish".into())));
        let changed = Bytes::copy_from_slice(&text);
        let front = Bytes::from_static(b"{\"params\":");
        let parted = [front, body.slice(10..)].into_iter().collect::<Parts>();
        let parted = Document::parse(parted, Limits::default()).expect("JSON");
        let params = parted.root().get("params").expect("once").expect("there");
        let place = params.id();
        let later = McpParams::new(parted.at(place));
        assert!(later.of(&text).is_some(), "wherever it lies in one piece");
        for other in [changed, text.slice(..4), body, Bytes::new()] {
            assert!(read.clone().of(&other).is_none(), "{other:?}");
        }
        // Nor does it matter where its buffers end, as long as they are the same.
        for cut in 0..text.len() {
            let pieces = |text: &Bytes| [text.slice(..cut), text.slice(cut..)];
            let same = pieces(&text).into_iter().collect();
            assert!(read.clone().of_parts(&same).is_some(), "{cut}");
            let [front, back] = pieces(&text);
            let copied = [front.clone(), Bytes::copy_from_slice(&back)];
            let short = Parts::from(front.clone());
            let long = [front, back.clone(), back].into_iter().collect();
            for other in [copied.into_iter().collect(), short, long] {
                assert!(read.clone().of_parts(&other).is_none(), "{cut}");
            }
        }
    }
}
