//! MCP streams: one operation a stream, whatever revision and transport the client speaks.
//!
//! Initial DATA is the JSON-RPC `params` object, as received; reply DATA is the `result` object
//! alone. JSON-RPC ids, envelopes and HTTP never cross into the stream. The initial half stays open
//! while the caller is interested: its END means *enough* (for `resourcesSubscribe` it is the
//! unsubscribe, for `lifecycle` the close), its ABORT *cancelled*. A refusal is a RESET of the
//! initial half; the name or uri in BEGIN is authoritative over the one in `params`.

use bytes::Bytes;
use bytestring::ByteString;
use tidegate_json::{Document, Parts};

mod operation;

use crate::scripted::Scripted;
use crate::{Extension, extension, flags, words};
pub use operation::{
    McpBeginEx, McpCompletionComplete, McpEra, McpHeader, McpLifecycle, McpMethod, McpPromptsGet,
    McpPromptsList, McpResourcesList, McpResourcesRead, McpResourcesSubscribe,
    McpResourcesTemplatesList, McpSubject, McpToolsCall, McpToolsList,
};

flags! {
    /// What a client or a server can do, exchanged by `lifecycle`.
    pub struct McpCapabilities(u16) {
        /// The server has tools.
        SERVER_TOOLS = 1,
        /// The server has prompts.
        SERVER_PROMPTS = 2,
        /// The server has resources.
        SERVER_RESOURCES = 4,
        /// The server tells when its tools change.
        SERVER_TOOLS_LIST_CHANGED = 8,
        /// The server tells when its prompts change.
        SERVER_PROMPTS_LIST_CHANGED = 16,
        /// The server tells when its resources change.
        SERVER_RESOURCES_LIST_CHANGED = 32,
        /// The client has roots.
        CLIENT_ROOTS = 64,
        /// The client can sample a model.
        CLIENT_SAMPLING = 128,
        /// The client can ask its user.
        CLIENT_ELICITATION = 256,
        /// … by a form.
        CLIENT_ELICITATION_FORM = 512,
        /// … by a URL.
        CLIENT_ELICITATION_URL = 1024,
        /// Resources can be subscribed to.
        SERVER_RESOURCES_SUBSCRIBE = 2048,
        /// The server completes arguments.
        SERVER_COMPLETIONS = 4096,
    }
}

/// Beside the first DATA of the `params`: the same text, all of it, as it was read already, so that
/// whoever carries the operation out need not read it again. It says nothing that the payload does
/// not say, and who sends none is understood as well.
#[derive(Debug, Clone)]
pub struct McpParams(Document);

impl McpParams {
    /// What was read.
    pub const fn new(read: Document) -> Self {
        Self(read)
    }

    /// What was read, if `payload` is its very text: one that was cut or changed on its way is not.
    pub fn of(self, payload: &Bytes) -> Option<Document> {
        self.0.is_of(payload).then_some(self.0)
    }

    /// The same of a payload that came in several DATA.
    pub fn of_parts(self, payload: &Parts) -> Option<Document> {
        self.0.is_of_parts(payload).then_some(self.0)
    }
}

impl PartialEq for McpParams {
    /// Frames are told apart by their payload.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

words! {
    /// How an operation came out.
    pub enum McpOutcome {
        /// As asked.
        Ok "OK",
        /// The tool failed: the result bears `isError`.
        Error "ERROR",
        /// The server needs something of the client first (2026-07-28).
        InputRequired "INPUT_REQUIRED",
    }
}

words! {
    /// Who may share a cached result (2026-07-28, `cacheScope`).
    pub enum McpCacheScope {
        /// Any client.
        Public "public",
        /// The client that asked.
        Private "private",
    }
}

extension! {
    /// END of the reply half.
    pub struct McpEnd "mcp" {
        /// How the operation came out.
        outcome "outcome": McpOutcome = McpOutcome::Ok,
        /// For how many milliseconds a list or a read stays fresh; absent: no hint.
        ttl_ms "ttlMs": Option<u64> = None,
        /// Who may share it; absent: the client that asked.
        cache_scope "cacheScope": Option<McpCacheScope> = None,
    }
}

extension! {
    /// ABORT of either half.
    pub struct McpAbort "mcp" {
        /// Why, in words.
        reason "reason": Option<ByteString> = None,
    }
}

extension! {
    /// How far an operation has come, on the reply half.
    pub struct McpProgress "progress" {
        /// How far, as a JSON number.
        progress "progress": ByteString = ByteString::new(),
        /// Of how much, as a JSON number.
        total "total": Option<ByteString> = None,
        /// What is going on.
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
    /// A subscribed resource has changed.
    pub struct McpResourcesUpdated "resourcesUpdated" {
        /// Which.
        uri "uri": ByteString = ByteString::new(),
    }
}
extension! {
    /// The tools have changed.
    pub struct McpToolsListChanged "toolsListChanged" {}
}
extension! {
    /// The prompts have changed.
    pub struct McpPromptsListChanged "promptsListChanged" {}
}
extension! {
    /// The resources have changed.
    pub struct McpResourcesListChanged "resourcesListChanged" {}
}
extension! {
    /// The client's answer to a [`McpChallenge`], on the initial half.
    pub struct McpResponse "response" {
        /// Which challenge.
        id "id": u64 = 0,
        /// The `result` or the `error` object, as JSON.
        content "content": Bytes = Bytes::new(),
        /// Whether it is an `error`.
        error "error": bool = false,
    }
}

macro_rules! flushes {
    ($($variant:ident($type:ident)),* $(,)?) => {
        /// What is said beside the payload.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "a variant is named after its struct")]
        pub enum McpFlushEx {
            $( $variant($type), )*
        }

        impl McpFlushEx {
            /// The words that name them in scripts, in order.
            pub const WORDS: &'static [&'static str] = &[$(<$type as Extension>::WORD),*];

            /// The one of a word, with every field at its default.
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
    Response(McpResponse),
}

extension! {
    /// A request of the server to its client (sampling, elicitation, roots), answered by a FLUSH of
    /// [`McpResponse`] on the initial half.
    pub struct McpChallenge "request" {
        /// Pairs the answer with the question.
        id "id": u64 = 0,
        /// The JSON-RPC method.
        method "method": ByteString = ByteString::new(),
        /// Its `params`, as JSON.
        params "params": Bytes = Bytes::new(),
    }
}

words! {
    /// Why an operation was refused. `mcp · server` alone turns a kind into the error code and HTTP
    /// status of the caller's revision.
    pub enum McpResetKind {
        /// `params` are not what the operation takes.
        Invalid "invalid",
        /// There is no such tool, prompt or resource, or it is not to be had here.
        NotFound "notFound",
        /// The caller may not.
        NotAuthorized "notAuthorized",
        /// A `Mcp-Param-*` header contradicts the arguments.
        HeaderMismatch "headerMismatch",
        /// The answer did not come in time.
        TimedOut "timedOut",
        /// What is behind cannot be reached, or has no room.
        Unavailable "unavailable",
        /// A message is over a limit.
        TooLarge "tooLarge",
        /// The caller does not take what it asked for.
        SlowConsumer "slowConsumer",
        /// A fault of tidegate.
        Internal "internal",
        /// An error of a server behind, to be told as it came.
        Relayed "relayed",
    }
}

extension! {
    /// A refusal.
    pub struct McpReset "mcp" {
        /// Why, for the machine.
        kind "kind": McpResetKind = McpResetKind::Internal,
        /// Why, for the reader: a plain sentence.
        message "message": ByteString = ByteString::new(),
        /// The error's `data`, as JSON.
        data "data": Option<Bytes> = None,
        /// The code of a relayed error.
        code "code": Option<i64> = None,
    }
}

impl McpReset {
    /// A refusal of a kind with its sentence.
    pub fn new(kind: McpResetKind, message: impl Into<ByteString>) -> Self {
        Self {
            kind,
            message: message.into(),
            ..Self::default()
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
    fn what_was_read_is_given_for_its_very_text_alone() {
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
