//! The extensions each frame can carry, over all protocols.

use std::cell::RefCell;
use std::thread::LocalKey;

use crate::pooled::{Pool, Poolable};
use crate::{bytes_stream, http_stream, line, mcp, mqtt, store};

/// The protocols whose streams bindings exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP requests and responses.
    Http,
    /// One JSON-RPC message a line.
    Line,
    /// MCP operations.
    Mcp,
    /// MQTT publications and subscriptions.
    Mqtt,
    /// A byte stream to a peer on the network.
    Bytes,
    /// Records that are kept in a file.
    Store,
}

impl Protocol {
    /// The word used in configs, logs and scripts.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Line => "line",
            Self::Mcp => "mcp",
            Self::Mqtt => "mqtt",
            Self::Bytes => "bytes",
            Self::Store => "store",
        }
    }
}

macro_rules! extensions {
    ($(#[doc = $doc:literal])+ $name:ident { $($variant:ident($type:ty)),* $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "a variant is named after its protocol")]
        pub enum $name { $($variant($type)),* }

        $(impl From<$type> for $name {
            fn from(extension: $type) -> Self {
                Self::$variant(extension)
            }
        })*
    };
}

extensions! {
    /// Extension of BEGIN.
    BeginEx {
        Http(http_stream::HttpBeginEx),
        Line(line::LineBegin),
        Mcp(mcp::McpBeginEx),
        Mqtt(mqtt::MqttBeginEx),
        Bytes(bytes_stream::BytesBegin),
        Store(store::StoreBegin),
    }
}
extensions! {
    /// Extension of DATA.
    DataEx {
        Mqtt(mqtt::MqttDataEx),
        Mcp(mcp::McpParams),
        Store(store::StoreRecord),
    }
}
extensions! {
    /// Extension of END.
    EndEx { Mcp(mcp::McpEnd), Mqtt(mqtt::MqttEnd) }
}
extensions! {
    /// Extension of ABORT.
    AbortEx {
        Http(http_stream::HttpReset),
        Line(line::LineReset),
        Mcp(mcp::McpAbort),
        Mqtt(mqtt::MqttReset),
        Bytes(bytes_stream::BytesReset),
        Store(store::StoreReset),
    }
}
extensions! {
    /// Extension of FLUSH.
    FlushEx {
        Line(line::LineOversized),
        Mcp(mcp::McpFlushEx),
        Mqtt(mqtt::MqttFlushEx),
        Bytes(bytes_stream::BytesConnected),
        Store(store::StoreStored),
    }
}
extensions! {
    /// Extension of RESET.
    ResetEx {
        Http(http_stream::HttpReset),
        Line(line::LineReset),
        Mcp(mcp::McpReset),
        Mqtt(mqtt::MqttReset),
        Bytes(bytes_stream::BytesReset),
        Store(store::StoreReset),
    }
}

impl ResetEx {
    /// The reset sent to a peer when a handler panicked, in the terms of its protocol; `None` for a
    /// protocol without one.
    pub fn internal_fault(protocol: Protocol) -> Option<Self> {
        const WHAT: &str =
            "Internal error in tidegate; the request was ended. See the tidegate log.";
        match protocol {
            Protocol::Mcp => Some(mcp::McpReset::new(mcp::McpResetKind::Internal, WHAT).into()),
            Protocol::Mqtt => {
                let reset = mqtt::MqttReset {
                    reason: WHAT.into(),
                    ..mqtt::MqttReset::default()
                };
                Some(reset.into())
            }
            Protocol::Http | Protocol::Line | Protocol::Bytes | Protocol::Store => None,
        }
    }
}
extensions! {
    /// Extension of CHALLENGE.
    ChallengeEx { Mcp(mcp::McpChallenge) }
}

macro_rules! pooled {
    ($($name:ident),* $(,)?) => {
        $(impl Poolable for $name {
            fn pool() -> &'static LocalKey<Pool<Self>> {
                thread_local! {
                    static POOL: Pool<$name> = const { RefCell::new(Vec::new()) };
                }
                &POOL
            }
        })*
    };
}

// Extensions that every call uses are pooled. Resets and aborts are rare enough to be allocated.
pooled! { BeginEx, DataEx, EndEx }

impl BeginEx {
    /// The protocol of the stream this BEGIN opens.
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Http(_) => Protocol::Http,
            Self::Line(_) => Protocol::Line,
            Self::Mcp(_) => Protocol::Mcp,
            Self::Mqtt(_) => Protocol::Mqtt,
            Self::Bytes(_) => Protocol::Bytes,
            Self::Store(_) => Protocol::Store,
        }
    }
}
