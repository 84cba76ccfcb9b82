//! Access to frames by name, for scripts and traces that do not know their types.

use crate::pooled::Pooled;
use std::fmt::Write as _;

use crate::bytes_stream::{BytesBegin, BytesConnected, BytesReset};
use crate::http_stream::HttpReset;
use crate::line::{LineBegin, LineOversized, LineReset};
use crate::mcp::{McpAbort, McpBeginEx, McpChallenge, McpEnd, McpFlushEx, McpReset};
use crate::mqtt::{
    MqttAcknowledge, MqttBeginEx, MqttDataEx, MqttEnd, MqttFlushEx, MqttGap, MqttGranted,
    MqttPublish, MqttPublishData, MqttReset, MqttSession, MqttSubscribe, MqttSubscribeData,
    MqttUnsubscribe,
};
use crate::store::{StoreBegin, StoreRecord, StoreReset, StoreStored};
use crate::{
    AbortEx, BeginEx, ChallengeEx, DataEx, EndEx, Extension, FieldDoc, FieldError, FlushEx, Frame,
    FrameKind, Protocol, ResetEx, Value,
};

/// An extension as a trait object with named fields.
pub trait Scripted {
    /// The word that identifies it.
    fn word(&self) -> &'static str;
    /// Its fields, in order.
    fn known(&self) -> &'static [FieldDoc];
    /// The fields that differ from their defaults, in order.
    fn fields(&self) -> Vec<(&'static str, Value)>;
    /// A field by its specified name.
    fn value(&self, name: &str) -> Option<Value>;
    /// Sets a field by its specified name.
    fn set(&mut self, name: &str, value: &Value) -> Result<(), FieldError>;
}

impl<E: Extension> Scripted for E {
    fn word(&self) -> &'static str {
        E::WORD
    }

    fn known(&self) -> &'static [FieldDoc] {
        E::FIELDS
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        Extension::fields(self)
    }

    fn value(&self, name: &str) -> Option<Value> {
        Extension::value(self, name)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), FieldError> {
        Extension::set(self, name, value)
    }
}

/// `match`es the extension of a frame and returns its struct as [`Scripted`].
macro_rules! within {
    ($frame:expr) => {
        match $frame {
            Frame::Begin(begin) => match &mut **begin {
                BeginEx::Http(_) => None,
                BeginEx::Line(line) => Some(line),
                BeginEx::Bytes(bytes) => Some(bytes),
                BeginEx::Store(store) => Some(store),
                BeginEx::Mqtt(MqttBeginEx::Session(session)) => Some(session),
                BeginEx::Mqtt(MqttBeginEx::Publish(publish)) => Some(publish),
                BeginEx::Mqtt(MqttBeginEx::Subscribe(subscribe)) => Some(subscribe),
                BeginEx::Mcp(begin) => Some(begin.scripted()),
            },
            Frame::Data(data) => match data.extension.as_deref_mut()? {
                DataEx::Mqtt(MqttDataEx::Publish(publish)) => Some(publish),
                DataEx::Mqtt(MqttDataEx::Subscribe(subscribe)) => Some(subscribe),
                DataEx::Store(record) => Some(record),
                // Nothing to show beyond the payload.
                DataEx::Mcp(_) => return None,
            },
            Frame::End(end) => match end.as_deref_mut()? {
                EndEx::Mcp(end) => Some(end),
                EndEx::Mqtt(end) => Some(end),
            },
            Frame::Abort(abort) => match abort.as_deref_mut()? {
                AbortEx::Http(abort) => Some(abort),
                AbortEx::Line(abort) => Some(abort),
                AbortEx::Mcp(abort) => Some(abort),
                AbortEx::Mqtt(abort) => Some(abort),
                AbortEx::Bytes(abort) => Some(abort),
                AbortEx::Store(abort) => Some(abort),
            },
            Frame::Flush(flush) => match &mut **flush {
                FlushEx::Line(oversized) => Some(oversized),
                FlushEx::Mqtt(MqttFlushEx::Unsubscribe(unsubscribe)) => Some(unsubscribe),
                FlushEx::Mqtt(MqttFlushEx::Acknowledge(acknowledge)) => Some(acknowledge),
                FlushEx::Mqtt(MqttFlushEx::Gap(gap)) => Some(gap),
                FlushEx::Mqtt(MqttFlushEx::Granted(granted)) => Some(granted),
                FlushEx::Mcp(flush) => Some(flush.scripted()),
                FlushEx::Bytes(connected) => Some(connected),
                FlushEx::Store(stored) => Some(stored),
            },
            Frame::Reset(reset) => match reset.as_deref_mut()? {
                ResetEx::Http(reset) => Some(reset),
                ResetEx::Line(reset) => Some(reset),
                ResetEx::Mcp(reset) => Some(reset),
                ResetEx::Mqtt(reset) => Some(reset),
                ResetEx::Bytes(reset) => Some(reset),
                ResetEx::Store(reset) => Some(reset),
            },
            Frame::Challenge(challenge) => match &mut **challenge {
                ChallengeEx::Mcp(challenge) => Some(challenge),
            },
            Frame::Window(_) => None,
        }
    };
}

impl Frame {
    /// The frame's extension, if it has one with named fields.
    pub fn extension(&mut self) -> Option<&mut dyn Scripted> {
        within!(self)
    }

    /// A frame with a default extension. `word` selects the extension if the protocol has several
    /// for the frame: BEGIN, FLUSH, and DATA of mqtt.
    ///
    /// `None` if the protocol has no such extension; WINDOW has none.
    pub fn blank(kind: FrameKind, protocol: Protocol, word: &str) -> Option<Self> {
        Some(match kind {
            FrameKind::Begin => Self::Begin(Pooled::new(blank_begin(protocol, word)?)),
            FrameKind::Data => {
                let extension = match (protocol, word) {
                    (Protocol::Mqtt, "publish") => DataEx::from(MqttPublishData::default()),
                    (Protocol::Mqtt, "subscribe") => MqttSubscribeData::default().into(),
                    (Protocol::Store, _) => StoreRecord::default().into(),
                    _ => return None,
                };
                Self::data_with(crate::DataFlags::WHOLE, bytes::Bytes::new(), extension)
            }
            FrameKind::End => match protocol {
                Protocol::Mcp => Self::end_with(McpEnd::default()),
                Protocol::Mqtt => Self::end_with(MqttEnd::default()),
                _ => return None,
            },
            FrameKind::Abort => match protocol {
                Protocol::Mcp => Self::abort_with(McpAbort::default()),
                Protocol::Mqtt => Self::abort_with(AbortEx::Mqtt(MqttReset::default())),
                Protocol::Bytes => Self::abort_with(AbortEx::Bytes(BytesReset::default())),
                Protocol::Http => Self::abort_with(AbortEx::Http(HttpReset::default())),
                Protocol::Line => Self::abort_with(AbortEx::Line(LineReset::default())),
                Protocol::Store => Self::abort_with(AbortEx::Store(StoreReset::default())),
            },
            FrameKind::Flush => Self::Flush(Box::new(blank_flush(protocol, word)?)),
            FrameKind::Reset => match protocol {
                Protocol::Mcp => Self::reset_with(McpReset::default()),
                Protocol::Mqtt => Self::reset_with(ResetEx::Mqtt(MqttReset::default())),
                Protocol::Bytes => Self::reset_with(ResetEx::Bytes(BytesReset::default())),
                Protocol::Http => Self::reset_with(ResetEx::Http(HttpReset::default())),
                Protocol::Line => Self::reset_with(ResetEx::Line(LineReset::default())),
                Protocol::Store => Self::reset_with(ResetEx::Store(StoreReset::default())),
            },
            FrameKind::Challenge => match protocol {
                Protocol::Mcp => Self::challenge(McpChallenge::default()),
                _ => return None,
            },
            FrameKind::Window => return None,
        })
    }
}

impl FrameKind {
    /// Every extension, as frame kind, protocol and word.
    pub fn extensions() -> impl Iterator<Item = (Self, Protocol, &'static str)> {
        const FRONT: [(FrameKind, Protocol, &str); 6] = [
            (FrameKind::Begin, Protocol::Line, "line"),
            (FrameKind::Begin, Protocol::Bytes, "bytes"),
            (FrameKind::Begin, Protocol::Store, "store"),
            (FrameKind::Begin, Protocol::Mqtt, "session"),
            (FrameKind::Begin, Protocol::Mqtt, "publish"),
            (FrameKind::Begin, Protocol::Mqtt, "subscribe"),
        ];
        const MIDDLE: [(FrameKind, Protocol, &str); 18] = [
            (FrameKind::Data, Protocol::Mqtt, "publish"),
            (FrameKind::Data, Protocol::Mqtt, "subscribe"),
            (FrameKind::Data, Protocol::Store, "record"),
            (FrameKind::End, Protocol::Mcp, "mcp"),
            (FrameKind::End, Protocol::Mqtt, "mqtt"),
            (FrameKind::Abort, Protocol::Mcp, "mcp"),
            (FrameKind::Abort, Protocol::Mqtt, "mqtt"),
            (FrameKind::Abort, Protocol::Bytes, "bytes"),
            (FrameKind::Abort, Protocol::Http, "http"),
            (FrameKind::Abort, Protocol::Line, "line"),
            (FrameKind::Abort, Protocol::Store, "store"),
            (FrameKind::Flush, Protocol::Line, "oversized"),
            (FrameKind::Flush, Protocol::Mqtt, "unsubscribe"),
            (FrameKind::Flush, Protocol::Mqtt, "acknowledge"),
            (FrameKind::Flush, Protocol::Mqtt, "gap"),
            (FrameKind::Flush, Protocol::Mqtt, "granted"),
            (FrameKind::Flush, Protocol::Bytes, "connected"),
            (FrameKind::Flush, Protocol::Store, "stored"),
        ];
        const BACK: [(FrameKind, Protocol, &str); 7] = [
            (FrameKind::Reset, Protocol::Mcp, "mcp"),
            (FrameKind::Reset, Protocol::Mqtt, "mqtt"),
            (FrameKind::Reset, Protocol::Bytes, "bytes"),
            (FrameKind::Reset, Protocol::Http, "http"),
            (FrameKind::Reset, Protocol::Line, "line"),
            (FrameKind::Reset, Protocol::Store, "store"),
            (FrameKind::Challenge, Protocol::Mcp, "request"),
        ];
        let begins = McpBeginEx::WORDS.iter();
        let flushes = McpFlushEx::WORDS.iter();
        FRONT
            .into_iter()
            .chain(begins.map(|word| (Self::Begin, Protocol::Mcp, *word)))
            .chain(MIDDLE)
            .chain(flushes.map(|word| (Self::Flush, Protocol::Mcp, *word)))
            .chain(BACK)
    }
}

/// Documentation of the fields of every extension, in Markdown.
pub fn reference() -> String {
    let mut out = String::new();
    for (kind, protocol, word) in FrameKind::extensions() {
        let mut frame = Frame::blank(kind, protocol, word);
        let Some(extension) = frame.as_mut().and_then(Frame::extension) else {
            continue;
        };
        let has_word = matches!(
            kind,
            FrameKind::Begin | FrameKind::Flush | FrameKind::Challenge
        );
        let word = if has_word { word } else { "" };
        let title = format!("{} · {kind} {word}", protocol.word());
        let _ = write!(out, "\n## {}\n\n", title.trim_end());
        if extension.known().is_empty() {
            out.push_str("No fields.\n");
            continue;
        }
        out.push_str("| field | meaning | default |\n|---|---|---|\n");
        for FieldDoc { name, doc } in extension.known() {
            let default = extension.value(name).map(|value| value.to_string());
            let default = default.unwrap_or_default();
            let _ = writeln!(out, "| `{name}` | {} | `{default}` |", doc.trim());
        }
    }
    out
}

/// The default of the extension identified by the word.
macro_rules! named {
    ($word:expr => $($type:ty),* $(,)?) => {
        match $word {
            $( <$type as Extension>::WORD => <$type>::default().into(), )*
            _ => return None,
        }
    };
}

fn blank_begin(protocol: Protocol, word: &str) -> Option<BeginEx> {
    Some(match protocol {
        Protocol::Http => return None,
        Protocol::Line => LineBegin::default().into(),
        Protocol::Bytes => BytesBegin::default().into(),
        Protocol::Store => StoreBegin::default().into(),
        Protocol::Mqtt => named!(word => MqttSession, MqttPublish, MqttSubscribe),
        Protocol::Mcp => McpBeginEx::blank(word)?.into(),
    })
}

fn blank_flush(protocol: Protocol, word: &str) -> Option<FlushEx> {
    Some(match protocol {
        Protocol::Line => named!(word => LineOversized),
        Protocol::Mqtt => named!(word => MqttUnsubscribe, MqttAcknowledge, MqttGap, MqttGranted),
        Protocol::Mcp => McpFlushEx::blank(word)?.into(),
        Protocol::Bytes => named!(word => BytesConnected),
        Protocol::Store => named!(word => StoreStored),
        Protocol::Http => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_creates_a_frame_with_that_word() {
        for (kind, protocol, word) in FrameKind::extensions() {
            let mut frame = Frame::blank(kind, protocol, word).expect("a frame");
            assert_eq!(frame.kind(), kind);
            assert_eq!(
                frame.extension().map(|extension| extension.word()),
                Some(word)
            );
        }
        assert_eq!(
            Frame::blank(FrameKind::Begin, Protocol::Mcp, "toolCall"),
            None
        );
    }

    #[test]
    fn a_field_is_set_and_read_by_its_specified_name() {
        let mut frame =
            Frame::blank(FrameKind::Begin, Protocol::Mcp, "toolsCall").expect("a frame");
        let extension = frame.extension().expect("an extension");
        let name = Value::Text("publish".into());
        extension.set("name", &name).expect("a field");
        assert_eq!(extension.value("name"), Some(name.clone()));
        assert_eq!(extension.fields(), [("name", name)]);
        assert!(extension.set("nmae", &Value::Integer(1)).is_err());
    }
}
