//! The operations of MCP in one table. From it follow the BEGIN extension, script word and JSON-RPC
//! method of each operation.

use bytestring::ByteString;

use super::{McpCapabilities, McpLogLevel};
use crate::scripted::Scripted;
use crate::{Extension, extension};

extension! {
    /// A session. The initial BEGIN carries the client's capabilities; the reply BEGIN carries the
    /// server's capabilities and the session identity assigned by the callee.
    pub struct McpLifecycle "lifecycle" {
        /// Session identity on this hop, assigned by the callee; absent on the initial BEGIN.
        session_id "sessionId": Option<ByteString> = None,
        /// Capabilities of the sender.
        capabilities "capabilities": McpCapabilities = McpCapabilities::NONE,
    }
}

extension! {
    /// `tools/call`
    pub struct McpToolsCall "toolsCall" {
        /// Session identity, absent without a session.
        session_id "sessionId": Option<ByteString> = None,
        /// Tool name; takes precedence over the member of `params`.
        name "name": ByteString = ByteString::new(),
        /// Length of `params` in bytes; -1 if unknown.
        content_length "contentLength": i64 = -1,
        /// Values of `Mcp-Param-*` headers, by parameter name in lower case. The binding that owns
        /// the tool's schema checks them against the arguments.
        headers "headers": Vec<McpHeader> = Vec::new(),
        /// Whether the client's transport and revision require a header for each parameter that
        /// declares one; a missing header is then a mismatch.
        headers_required "headersRequired": bool = false,
        /// What the client can be asked for while the operation runs.
        capabilities "capabilities": McpCapabilities = McpCapabilities::NONE,
        /// The least severe log messages that the client wants; absent: it has not said so.
        log_level "logLevel": Option<McpLogLevel> = None,
    }
}

extension! {
    /// One `Mcp-Param-*` header, decoded.
    pub struct McpHeader "header" {
        /// Name after `Mcp-Param-`, in lower case.
        name "name": ByteString = ByteString::new(),
        /// Value, with the base64 form decoded.
        value "value": ByteString = ByteString::new(),
    }
}
crate::record_field!(McpHeader);

extension! {
    /// `completion/complete`
    pub struct McpCompletionComplete "completionComplete" {
        /// Session identity, absent without a session.
        session_id "sessionId": Option<ByteString> = None,
        /// Length of `params` in bytes; -1 if unknown.
        content_length "contentLength": i64 = -1,
    }
}

/// The two generations of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpEra {
    /// Each request stands alone (2026-07-28).
    Modern,
    /// `initialize` begins a session.
    Legacy,
}

/// The member of `params` that names the subject of an operation; the `Mcp-Name` header repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpSubject {
    /// `name`
    Name,
    /// `uri`
    Uri,
}

impl McpSubject {
    /// The name of the member.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Uri => "uri",
        }
    }
}

/// The eras in which a method exists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Eras {
    Both,
    Modern,
    Legacy,
}

impl Eras {
    const fn include(self, era: McpEra) -> bool {
        matches!(
            (self, era),
            (Self::Both, _) | (Self::Modern, McpEra::Modern) | (Self::Legacy, McpEra::Legacy)
        )
    }
}

/// Declares the BEGIN extension of an operation, unless it has fields of its own.
macro_rules! declare {
    ([own $subject:ident] $(#[doc = $doc:literal])+ $type:ident $word:literal) => {};
    ([list] $(#[doc = $doc:literal])+ $type:ident $word:literal) => {
        extension! {
            $(#[doc = $doc])+
            pub struct $type $word {
                /// Session identity, absent without a session.
                session_id "sessionId": Option<ByteString> = None,
                /// Where the page begins, as the `nextCursor` of the page before stated it; takes
                /// precedence over the member of `params`. Absent: the first page.
                cursor "cursor": Option<ByteString> = None,
            }
        }
    };
    ([item name] $(#[doc = $doc:literal])+ $type:ident $word:literal) => {
        declare! { @item name "name" $(#[doc = $doc])+ $type $word }
    };
    ([item uri] $(#[doc = $doc:literal])+ $type:ident $word:literal) => {
        declare! { @item uri "uri" $(#[doc = $doc])+ $type $word }
    };
    ([asking name] $(#[doc = $doc:literal])+ $type:ident $word:literal) => {
        declare! { @asking name "name" $(#[doc = $doc])+ $type $word }
    };
    ([asking uri] $(#[doc = $doc:literal])+ $type:ident $word:literal) => {
        declare! { @asking uri "uri" $(#[doc = $doc])+ $type $word }
    };
    (@asking $key:ident $name:literal $(#[doc = $doc:literal])+ $type:ident $word:literal) => {
        declare! {
            @item $key $name $(#[doc = $doc])+ $type $word
            /// What the client can be asked for while the operation runs.
            capabilities "capabilities": McpCapabilities = McpCapabilities::NONE,
            /// The least severe log messages that the client wants; absent: it has not said so.
            log_level "logLevel": Option<McpLogLevel> = None,
        }
    };
    (
        @item $key:ident $name:literal $(#[doc = $doc:literal])+ $type:ident $word:literal
        $($more:tt)*
    ) => {
        extension! {
            $(#[doc = $doc])+
            pub struct $type $word {
                /// Session identity, absent without a session.
                session_id "sessionId": Option<ByteString> = None,
                /// Name or URI of the subject; takes precedence over the member of `params`.
                $key $name: ByteString = ByteString::new(),
                /// Length of `params` in bytes; -1 if unknown.
                content_length "contentLength": i64 = -1,
                $($more)*
            }
        }
    };
}

/// Sets the fields shared by the operations of a shape.
macro_rules! fill {
    ([list] $type:ident, $session_id:ident, $subject:ident, $length:ident) => {
        $type {
            session_id: $session_id,
            cursor: None,
        }
    };
    ([item $key:ident] $type:ident, $session_id:ident, $subject:ident, $length:ident) => {
        $type {
            session_id: $session_id,
            $key: $subject,
            content_length: $length,
        }
    };
    ([asking $key:ident] $type:ident, $session_id:ident, $subject:ident, $length:ident) => {
        fill!([own $key] $type, $session_id, $subject, $length)
    };
    ([own none] $type:ident, $session_id:ident, $subject:ident, $length:ident) => {
        $type {
            session_id: $session_id,
            content_length: $length,
        }
    };
    ([own $key:ident] $type:ident, $session_id:ident, $subject:ident, $length:ident) => {
        $type {
            session_id: $session_id,
            $key: $subject,
            content_length: $length,
            ..$type::default()
        }
    };
}

/// The subject of a shape.
macro_rules! subject {
    ([list]) => {
        None
    };
    ([$shape:ident none]) => {
        None
    };
    ([$shape:ident name]) => {
        Some(McpSubject::Name)
    };
    ([$shape:ident uri]) => {
        Some(McpSubject::Uri)
    };
    ([list] $it:ident) => {
        None
    };
    ([$shape:ident none] $it:ident) => {
        None
    };
    ([$shape:ident $key:ident] $it:ident) => {
        Some(&mut $it.$key)
    };
}

/// The cursor of a shape.
macro_rules! cursor {
    ([list] $it:ident) => {
        Some(&mut $it.cursor)
    };
    ([$shape:ident $key:ident] $it:ident) => {
        None
    };
}

macro_rules! operations {
    (
        session { $session:ident($session_type:ident) $session_word:literal }
        streams { $(
            $(#[doc = $doc:literal])+
            $variant:ident($type:ident) $word:literal [$($shape:ident)+]
                = $method:literal $era:ident, cacheable: $cacheable:literal, paged: $paged:literal;
        )* }
        methods { $(
            $(#[doc = $other_doc:literal])+
            $other:ident = $other_method:literal $other_era:ident,
                subject: $other_subject:ident, cacheable: $other_cacheable:literal;
        )* }
    ) => {
        $( declare! { [$($shape)+] $(#[doc = $doc])+ $type $word } )*

        /// BEGIN extension of mcp streams. The reply BEGIN repeats the variant.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "a variant is named after its struct")]
        pub enum McpBeginEx {
            $session($session_type),
            $( $variant($type), )*
        }

        operations! { @from $session($session_type) $( $variant($type) )* }

        impl McpBeginEx {
            /// The words that identify the operations in scripts, in order.
            pub const WORDS: &'static [&'static str] = &[$session_word, $($word),*];

            /// The operation identified by `word`, with default fields.
            pub fn blank(word: &str) -> Option<Self> {
                match word {
                    $session_word => Some($session_type::default().into()),
                    $( $word => Some($type::default().into()), )*
                    _ => None,
                }
            }

            /// The operation requested by a method; `None` for a method without a stream of its
            /// own.
            pub fn of_method(
                method: McpMethod,
                session_id: Option<ByteString>,
                subject: ByteString,
                content_length: i64,
            ) -> Option<Self> {
                match method {
                    $( McpMethod::$variant => Some(Self::$variant(
                        fill!([$($shape)+] $type, session_id, subject, content_length)
                    )), )*
                    $( McpMethod::$other => None, )*
                }
            }

            /// The method that requests the operation; `None` for a session, which several methods
            /// open.
            pub const fn method(&self) -> Option<McpMethod> {
                match self {
                    Self::$session(_) => None,
                    $( Self::$variant(_) => Some(McpMethod::$variant), )*
                }
            }

            /// The session identity, if the operation belongs to a session.
            pub fn session_id(&self) -> Option<&ByteString> {
                match self {
                    Self::$session(it) => it.session_id.as_ref(),
                    $( Self::$variant(it) => it.session_id.as_ref(), )*
                }
            }

            /// Sets the session identity; each hop has its own.
            pub fn set_session_id(&mut self, session_id: Option<ByteString>) {
                match self {
                    Self::$session(it) => it.session_id = session_id,
                    $( Self::$variant(it) => it.session_id = session_id, )*
                }
            }

            /// What the client can be asked for, if the operation may ask.
            pub const fn capabilities(&self) -> McpCapabilities {
                match self {
                    Self::ToolsCall(it) => it.capabilities,
                    Self::PromptsGet(it) => it.capabilities,
                    Self::ResourcesRead(it) => it.capabilities,
                    _ => McpCapabilities::NONE,
                }
            }

            /// The least severe log messages that the client wants, if it has said so.
            pub const fn log_level(&self) -> Option<McpLogLevel> {
                match self {
                    Self::ToolsCall(it) => it.log_level,
                    Self::PromptsGet(it) => it.log_level,
                    Self::ResourcesRead(it) => it.log_level,
                    _ => None,
                }
            }

            /// Sets the least severe log messages that the client wants.
            pub const fn set_log_level(&mut self, level: Option<McpLogLevel>) {
                match self {
                    Self::ToolsCall(it) => it.log_level = level,
                    Self::PromptsGet(it) => it.log_level = level,
                    Self::ResourcesRead(it) => it.log_level = level,
                    _ => {}
                }
            }

            /// Sets what the client can be asked for, if the operation may ask.
            pub const fn set_capabilities(&mut self, capabilities: McpCapabilities) {
                match self {
                    Self::ToolsCall(it) => it.capabilities = capabilities,
                    Self::PromptsGet(it) => it.capabilities = capabilities,
                    Self::ResourcesRead(it) => it.capabilities = capabilities,
                    _ => {}
                }
            }

            /// The name or URI of the subject, if the operation has one.
            #[allow(unused_variables, reason = "a list has no subject")]
            pub fn subject_mut(&mut self) -> Option<&mut ByteString> {
                match self {
                    Self::$session(_) => None,
                    $( Self::$variant(it) => subject!([$($shape)+] it), )*
                }
            }

            /// The cursor of a list; `None` if the operation is not a list.
            #[allow(unused_variables, reason = "only a list has a cursor")]
            pub fn cursor_mut(&mut self) -> Option<&mut Option<ByteString>> {
                match self {
                    Self::$session(_) => None,
                    $( Self::$variant(it) => cursor!([$($shape)+] it), )*
                }
            }

            /// The word that identifies the operation in scripts and logs.
            pub const fn word(&self) -> &'static str {
                match self {
                    Self::$session(_) => <$session_type as Extension>::WORD,
                    $( Self::$variant(_) => <$type as Extension>::WORD, )*
                }
            }

            pub(crate) fn scripted(&mut self) -> &mut dyn Scripted {
                match self {
                    Self::$session(it) => it,
                    $( Self::$variant(it) => it, )*
                }
            }
        }

        /// The JSON-RPC methods of requests.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum McpMethod {
            $( $(#[doc = $doc])+ $variant, )*
            $( $(#[doc = $other_doc])+ $other, )*
        }

        impl McpMethod {
            /// Every method.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)* $(Self::$other),*];

            /// The method called `name`, if it exists in the era.
            pub fn of(name: &str, era: McpEra) -> Option<Self> {
                match name {
                    $( $method => Eras::$era.include(era).then_some(Self::$variant), )*
                    $( $other_method => Eras::$other_era.include(era).then_some(Self::$other), )*
                    _ => None,
                }
            }

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$variant => $method, )*
                    $( Self::$other => $other_method, )*
                }
            }

            /// The member of `params` that names its subject, if it has one.
            pub const fn subject(self) -> Option<McpSubject> {
                match self {
                    $( Self::$variant => subject!([$($shape)+]), )*
                    $( Self::$other => subject!([own $other_subject]), )*
                }
            }

            /// Whether its results carry `ttlMs` and `cacheScope` in the modern era.
            pub const fn is_cacheable(self) -> bool {
                match self {
                    $( Self::$variant => $cacheable, )*
                    $( Self::$other => $other_cacheable, )*
                }
            }

            /// Whether its results are paginated, with `cursor` and `nextCursor`.
            pub const fn is_paged(self) -> bool {
                match self {
                    $( Self::$variant => $paged, )*
                    $( Self::$other => false, )*
                }
            }
        }
    };
    (@from $($variant:ident($type:ident))*) => { $(
        impl From<$type> for McpBeginEx {
            fn from(extension: $type) -> Self {
                Self::$variant(extension)
            }
        }

        impl From<$type> for crate::BeginEx {
            fn from(extension: $type) -> Self {
                Self::Mcp(McpBeginEx::$variant(extension))
            }
        }
    )* };
}

// `list`: BEGIN carries the session and the cursor. `item`: also the subject and the length of `params`.
// `asking`: an `item` whose client may be asked for something. `own`: BEGIN has fields of its own,
// declared above.
operations! {
    session { Lifecycle(McpLifecycle) "lifecycle" }
    streams {
        /// `tools/list`
        ToolsList(McpToolsList) "toolsList" [list]
            = "tools/list" Both, cacheable: true, paged: true;
        /// `tools/call`
        ToolsCall(McpToolsCall) "toolsCall" [own name]
            = "tools/call" Both, cacheable: false, paged: false;
        /// `prompts/list`
        PromptsList(McpPromptsList) "promptsList" [list]
            = "prompts/list" Both, cacheable: true, paged: true;
        /// `prompts/get`
        PromptsGet(McpPromptsGet) "promptsGet" [asking name]
            = "prompts/get" Both, cacheable: false, paged: false;
        /// `resources/list`
        ResourcesList(McpResourcesList) "resourcesList" [list]
            = "resources/list" Both, cacheable: true, paged: true;
        /// `resources/templates/list`
        ResourcesTemplatesList(McpResourcesTemplatesList) "resourcesTemplatesList" [list]
            = "resources/templates/list" Both, cacheable: true, paged: true;
        /// `resources/read`
        ResourcesRead(McpResourcesRead) "resourcesRead" [asking uri]
            = "resources/read" Both, cacheable: true, paged: false;
        /// `resources/subscribe`: open while the subscription lasts. The reply BEGIN is sent once
        /// updates can no longer be missed; each update is a FLUSH with `resourcesUpdated`.
        ResourcesSubscribe(McpResourcesSubscribe) "resourcesSubscribe" [item uri]
            = "resources/subscribe" Legacy, cacheable: false, paged: false;
        /// `completion/complete`
        CompletionComplete(McpCompletionComplete) "completionComplete" [own none]
            = "completion/complete" Both, cacheable: false, paged: false;
    }
    methods {
        /// `logging/setLevel`: the least severe log messages that a session wants.
        LoggingSetLevel = "logging/setLevel" Legacy, subject: none, cacheable: false;
        /// `initialize`: opens a session.
        Initialize = "initialize" Legacy, subject: none, cacheable: false;
        /// `ping`
        Ping = "ping" Legacy, subject: none, cacheable: false;
        /// `server/discover`: returns what a session would report.
        Discover = "server/discover" Modern, subject: none, cacheable: true;
        /// `subscriptions/listen`: several subscriptions in one request.
        Listen = "subscriptions/listen" Modern, subject: none, cacheable: false;
        /// `resources/unsubscribe`: ends a subscription.
        ResourcesUnsubscribe = "resources/unsubscribe" Legacy, subject: uri, cacheable: false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_found_by_its_exact_name_in_its_era() {
        for method in McpMethod::ALL {
            let found = |era| McpMethod::of(method.name(), era) == Some(*method);
            assert!(found(McpEra::Modern) || found(McpEra::Legacy), "{method:?}");
            assert!(!method.is_paged() || method.is_cacheable(), "{method:?}");
        }
        assert_eq!(McpMethod::of("ping", McpEra::Modern), None);
        assert_eq!(McpMethod::of("server/discover", McpEra::Legacy), None);
        assert_eq!(McpMethod::of("tools/call ", McpEra::Modern), None);
    }

    #[test]
    fn each_operation_maps_to_its_method_and_back() {
        let mut streams = 0;
        for method in McpMethod::ALL {
            let session = Some(ByteString::from("s"));
            let begin = McpBeginEx::of_method(*method, session.clone(), "x".into(), 7);
            let Some(mut begin) = begin else { continue };
            streams += 1;
            assert_eq!(begin.method(), Some(*method));
            assert_eq!(begin.session_id(), session.as_ref());
            let subject = begin.subject_mut().map(|subject| subject.to_string());
            assert_eq!(subject.is_some(), method.subject().is_some(), "{method:?}");
            assert!(subject.is_none_or(|subject| subject == "x"));
            assert_eq!(
                begin.cursor_mut().is_some(),
                method.is_paged(),
                "{method:?}"
            );
        }
        assert_eq!(streams + 1, McpBeginEx::WORDS.len(), "and the session");
    }

    #[test]
    fn each_word_creates_its_operation() {
        for word in McpBeginEx::WORDS {
            assert_eq!(McpBeginEx::blank(word).expect("known").word(), *word);
        }
        assert_eq!(McpBeginEx::blank("toolCall"), None);
    }
}
