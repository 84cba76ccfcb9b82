//! Prints frames and packets in the syntax of scripts.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderMap;
use tidegate_binding_mqtt::codec::Packet;
use tidegate_streams::http_stream::HttpBeginEx;
use tidegate_streams::{BeginEx, DataFlags, Frame, FrameKind, Protocol, Scripted, Value};

/// A frame, without the conversation.
pub(crate) fn frame(frame: &mut Frame, protocol: Protocol) -> String {
    let kind = frame.kind();
    let mut out = kind.to_string();
    match frame {
        Frame::Begin(begin) => {
            if let BeginEx::Http(http) = &**begin {
                return head(http);
            }
        }
        Frame::Window(window) => {
            let (acknowledge, maximum) = (window.acknowledge, window.maximum);
            let _ = write!(out, " acknowledge={acknowledge} maximum={maximum}");
            if window.padding > 0 {
                let _ = write!(out, " padding={}", window.padding);
            }
            return out;
        }
        Frame::Data(data) => out.push_str(part(data.flags)),
        _ => {}
    }
    if let Some(extension) = frame.extension() {
        // Other kinds have one extension for each protocol, so its word is redundant.
        if matches!(
            kind,
            FrameKind::Begin | FrameKind::Flush | FrameKind::Challenge
        ) {
            let _ = write!(out, " {}", extension.word());
        }
        fields(&mut out, extension);
    }
    if let Frame::Data(data) = frame {
        out.push(' ');
        out.push_str(&payload(&data.payload, protocol));
    }
    out
}

/// The part of a message; empty for a whole message.
pub(crate) const fn part(flags: DataFlags) -> &'static str {
    match (flags.is_init(), flags.is_fin()) {
        (true, true) => "",
        (true, false) => " init",
        (false, true) => " fin",
        (false, false) => " mid",
    }
}

/// A packet, without the conversation.
pub(crate) fn packet(packet: &Packet) -> String {
    let mut out = packet.word().to_owned();
    fields(&mut out, packet);
    if let Some(bytes) = packet.payload() {
        out.push(' ');
        out.push_str(&payload(&bytes, Protocol::Bytes));
    }
    out
}

fn fields(out: &mut String, scripted: &dyn Scripted) {
    for (name, value) in scripted.fields() {
        let _ = write!(out, " {name}={value}");
    }
}

/// A payload: JSON if the protocol carries JSON objects, text if it is UTF-8, otherwise hex.
pub(crate) fn payload(bytes: &Bytes, protocol: Protocol) -> String {
    let json = matches!(
        protocol,
        Protocol::Mcp | Protocol::Line | Protocol::Http | Protocol::Store
    );
    let structured = bytes.starts_with(b"{") || bytes.starts_with(b"[");
    if json
        && structured
        && let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes)
    {
        return value.to_string();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::Value::from(text).to_string(),
        Err(_) => Value::Hex(bytes.clone()).to_string(),
    }
}

/// The head of an HTTP message.
fn head(http: &HttpBeginEx) -> String {
    match http {
        HttpBeginEx::Request(request) => {
            let mut out = format!("{} path={:?}", request.method, &request.path[..]);
            headers(&mut out, &request.headers);
            out
        }
        HttpBeginEx::Response(response) => {
            let mut out = response.status.as_u16().to_string();
            headers(&mut out, &response.headers);
            out
        }
    }
}

/// Headers as fields.
pub(crate) fn headers(out: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = write!(out, " {name}={}", serde_json::Value::from(&*value));
    }
}
