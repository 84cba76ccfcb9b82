//! Prints emitted frames as lines of a script.

use std::fmt::Write as _;

use http::HeaderMap;
use tidegate_streams::http_stream::{HttpBeginEx, HttpResponse};
use tidegate_streams::{BeginEx, Frame, Protocol};

use super::emitted::{Emitted, What};
use super::harness::{Conversation, Harness, word_of};
use super::reaction::{EVENTS, event_text};
use crate::print;

impl Harness {
    /// The remaining frames, as lines.
    pub(super) fn remaining(&mut self) -> Vec<String> {
        let pending = self.pending.clone();
        let lines = self.read_all();
        self.pending = pending;
        lines
    }

    /// Removes the remaining frames and returns them as lines.
    pub(super) fn read_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.read_one()).collect()
    }

    /// Removes the first remaining frame and returns it as a line; a BEGIN gets a conversation number. A
    /// complete message or HTTP response is one line.
    pub(super) fn read_one(&mut self) -> Option<String> {
        let mut emitted = self.pending.front()?.clone();
        let mut places = vec![0];
        let protocol = self.sides.get(emitted.side).map(|side| side.protocol);
        let mut statement = None;
        if let Some(Frame::Data(data)) = emitted.frame()
            && data.flags.is_init()
            && let Ok((all, payload)) = self.message(0, emitted.stream)
        {
            let mut whole = data.clone();
            whole.flags = tidegate_streams::DataFlags::WHOLE;
            whole.payload = payload;
            statement = event_text(&whole.payload).filter(|_| protocol == Some(Protocol::Http));
            emitted.what = What::Frame(Frame::Data(whole));
            places = all;
        } else if let Some(response) = response(&emitted) {
            let (all, text) = self.response_text(response, emitted.stream);
            (places, statement) = (all, Some(text));
        }
        let line = match statement {
            Some(statement) => format!("< {} {statement}", self.conversation(&emitted)),
            None => self.line(&emitted),
        };
        for place in places.into_iter().rev() {
            self.pending.remove(place);
        }
        if matches!(emitted.frame(), Some(Frame::Begin(_))) && !emitted.reply {
            let key = (emitted.side, self.number(&emitted));
            let word = word_of(emitted.frame());
            self.conversations.entry(key).or_insert(Conversation {
                stream: emitted.stream,
                word,
            });
        }
        Some(line)
    }

    /// A response: complete, or only its head if it is still open.
    fn response_text(
        &self,
        response: &HttpResponse,
        stream: tidegate_engine::StreamId,
    ) -> (Vec<usize>, String) {
        let mut out = response.status.as_u16().to_string();
        let Ok((places, body)) = self.response_body(0, stream) else {
            out.push_str(" open");
            stated_headers(&mut out, &response.headers, &EVENTS);
            return (vec![0], out);
        };
        let body_text = print::payload(&body, Protocol::Http);
        let is_json = body_text.starts_with(['{', '[']);
        let implied: &[_] = if is_json {
            &[("content-type", "application/json")]
        } else {
            &[]
        };
        stated_headers(&mut out, &response.headers, implied);
        if !body.is_empty() {
            let _ = write!(out, "\n  {body_text}");
        }
        (places, out)
    }

    /// The number of the conversation, or the next free one.
    fn number(&self, emitted: &Emitted) -> u32 {
        let own = |((side, _), it): &(&(usize, u32), &Conversation)| {
            *side == emitted.side && it.stream == emitted.stream
        };
        if let Some(((_, number), _)) = self.conversations.iter().find(own) {
            return *number;
        }
        let of_side = self
            .conversations
            .keys()
            .filter(|(side, _)| *side == emitted.side);
        of_side.map(|(_, number)| *number).max().unwrap_or(0) + 1
    }

    /// An emitted frame as a line of a script.
    pub(super) fn line(&self, emitted: &Emitted) -> String {
        let Some(side) = self.sides.get(emitted.side) else {
            return String::new();
        };
        let mut statement = match &emitted.what {
            What::Frame(frame) => print::frame(&mut frame.clone(), side.protocol),
            What::Packet(packet) => print::packet(packet),
            What::Malformed(bytes, why) => {
                format!("bytes {} # {why}", print::payload(bytes, Protocol::Bytes))
            }
        };
        emitted.carried.print(&mut statement);
        format!("< {} {statement}", self.conversation(emitted))
    }

    /// The name of the conversation, with `'` for the reply half.
    fn conversation(&self, emitted: &Emitted) -> String {
        let reply = emitted.reply && matches!(emitted.what, What::Frame(_));
        let mark = if reply { "'" } else { "" };
        let name = self
            .sides
            .get(emitted.side)
            .map_or("", |side| side.name.as_str());
        format!("{name}.{}{mark}", self.number(emitted))
    }
}

fn response(emitted: &Emitted) -> Option<&HttpResponse> {
    match emitted.frame()? {
        Frame::Begin(begin) => match &**begin {
            BeginEx::Http(HttpBeginEx::Response(response)) => Some(response),
            _ => None,
        },
        _ => None,
    }
}

/// Prints the headers that are not implied.
fn stated_headers(out: &mut String, headers: &HeaderMap, implied: &[(&str, &str)]) {
    let mut headers = headers.clone();
    for (name, value) in implied {
        if headers
            .get(*name)
            .is_some_and(|header| header.as_bytes() == value.as_bytes())
        {
            headers.remove(*name);
        }
    }
    print::headers(out, &headers);
}
