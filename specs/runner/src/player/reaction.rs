//! Compares reactions of the script with what the binding sent.

use bytes::{Bytes, BytesMut};
use tidegate_binding_mqtt::codec::Packet;
use tidegate_engine::StreamId;
use tidegate_streams::http_stream::HttpBeginEx;
use tidegate_streams::{BeginEx, Data, Frame, Protocol, Scripted};

use super::call::without_call;
use super::emitted::{Emitted, What};
use super::harness::{Conversation, Harness, word_of};
use crate::captures::Captures;
use crate::difference::Difference;
use crate::statement::Statement;
use crate::{compare, print};

/// Headers implied by a response with server-sent events.
pub(super) const EVENTS: [(&str, &str); 3] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
];

impl Statement {
    /// Whether it states the half of an emitted frame; packets have none.
    fn matches_half(&self, emitted: &Emitted) -> bool {
        !matches!(emitted.what, What::Frame(_)) || emitted.reply == self.reply
    }
}

impl Harness {
    /// Compares a reaction with the next emitted frame.
    pub(super) fn expect(&mut self, statement: &Statement) -> Result<(), Difference> {
        let index = self.candidate(statement, self.side(&statement.side)?)?;
        self.expect_at(statement, index)
    }

    /// Finds the first emitted frame that matches a reaction; removes the frames before it and returns
    /// them as lines.
    pub(super) fn expect_later(&mut self, statement: &Statement) -> Option<Vec<String>> {
        let index =
            (0..self.pending.len()).find(|index| self.expect_at(statement, *index).is_ok())?;
        Some((0..index).filter_map(|_| self.read_one()).collect())
    }

    /// Compares a reaction with the emitted frame at an index.
    fn expect_at(&mut self, statement: &Statement, index: usize) -> Result<(), Difference> {
        let side = self.side(&statement.side)?;
        let emitted = self
            .pending
            .get(index)
            .ok_or("the binding sent nothing")?
            .clone();
        let known = self
            .conversations
            .get(&(side, statement.number))
            .map(|it| it.stream);
        let begins = matches!(emitted.frame(), Some(Frame::Begin(_)));
        let is_packet = matches!(emitted.what, What::Packet(_) | What::Malformed(..));
        let same = emitted.side == side && (is_packet || emitted.reply == statement.reply);
        if !same || known.is_some_and(|stream| stream != emitted.stream) {
            return Err("the binding sent another frame".into());
        }
        let opens = begins && !emitted.reply && self.sides.get(side).is_some_and(|it| !it.caller);
        if known.is_none() && !opens {
            return Err(format!("{} is not open", statement.conversation()).into());
        }
        if known.is_none()
            && self
                .conversations
                .values()
                .any(|it| it.stream == emitted.stream)
        {
            return Err("the binding sent another frame".into());
        }
        let mut captures = self.captures.clone();
        let used = self.compare(statement, index, &emitted, &mut captures)?;
        self.captures = captures;
        let mut shown = Vec::new();
        for index in used.into_iter().rev() {
            if let Some(emitted) = self.pending.remove(index) {
                shown.push(emitted);
            }
        }
        if opens {
            let word = word_of(emitted.frame());
            let conversation = Conversation {
                stream: emitted.stream,
                word,
            };
            self.conversations
                .insert((side, statement.number), conversation);
        }
        for emitted in shown.into_iter().rev() {
            let line = self.line(&emitted);
            self.trace.push(line);
        }
        Ok(())
    }

    /// The index of the frame to compare: the first one, or in seeded mode the first of the conversation.
    fn candidate(&self, statement: &Statement, side: usize) -> Result<usize, String> {
        if self.pending.is_empty() {
            return Err("the binding sent nothing".to_owned());
        }
        if !self.seeded {
            return Ok(0);
        }
        let known = self
            .conversations
            .get(&(side, statement.number))
            .map(|it| it.stream);
        let fits = |emitted: &Emitted| match known {
            Some(stream) => emitted.stream == stream && statement.matches_half(emitted),
            None => self.begins(statement, side, emitted),
        };
        self.pending
            .iter()
            .position(fits)
            .ok_or_else(|| "the binding sent another frame".to_owned())
    }

    /// Whether it is the BEGIN of the stated conversation; several new conversations are told apart by
    /// their fields.
    fn begins(&self, statement: &Statement, side: usize, emitted: &Emitted) -> bool {
        let Some(begin @ Frame::Begin(_)) = emitted.frame() else {
            return false;
        };
        let named = self
            .conversations
            .values()
            .any(|it| it.stream == emitted.stream);
        let protocol = self
            .sides
            .get(side)
            .map_or(Protocol::Bytes, |it| it.protocol);
        let mut captures = self.captures.clone();
        emitted.side == side
            && !emitted.reply
            && !named
            && opening(statement, begin, emitted, protocol, &mut captures).is_ok()
    }

    /// Compares; returns the indices of the frames that the reaction covers.
    fn compare(
        &self,
        statement: &Statement,
        index: usize,
        emitted: &Emitted,
        captures: &mut Captures,
    ) -> Result<Vec<usize>, Difference> {
        let protocol = self
            .sides
            .get(emitted.side)
            .map_or(Protocol::Bytes, |it| it.protocol);
        match &emitted.what {
            What::Packet(packet) => {
                packet_is(statement, packet, captures)?;
                Ok(vec![index])
            }
            What::Malformed(_, why) => Err(format!("malformed packet: {why}").into()),
            What::Frame(Frame::Begin(begin)) if protocol == Protocol::Http => match &**begin {
                BeginEx::Http(HttpBeginEx::Response(response)) => {
                    if statement.verb != response.status.as_u16().to_string() {
                        let (expected, status) = (&statement.verb, response.status.as_u16());
                        return Err(format!("expected status {expected}, got {status}").into());
                    }
                    let json = matches!(
                        statement.payload,
                        Some(crate::statement::Payload::Json { .. })
                    );
                    let implied: &[(&str, &str)] = match (statement.has("open"), json) {
                        (true, _) => &EVENTS,
                        (false, true) => &[("content-type", "application/json")],
                        (false, false) => &[],
                    };
                    compare::headers(statement, &response.headers, implied, captures)?;
                    if statement.has("open") {
                        return Ok(vec![index]);
                    }
                    let (places, body) = self.response_body(index, emitted.stream)?;
                    payload_is(statement, &body, captures)?;
                    Ok(places)
                }
                _ => Err("expected a response, got a request".into()),
            },
            What::Frame(frame) => {
                let mut frame = frame.clone();
                if statement.verb == "event" || statement.verb == "comment" {
                    let (places, payload) = self.message(index, emitted.stream)?;
                    event_is(statement, &payload, captures)?;
                    return Ok(places);
                }
                if frame.kind().word() != statement.verb {
                    return Err(format!("expected {}, got {}", statement.verb, frame.kind()).into());
                }
                match &frame {
                    Frame::Window(_) => {
                        window_is(statement, &frame, captures)?;
                        return Ok(vec![index]);
                    }
                    Frame::Data(data) => {
                        let part = print::part(data.flags).trim();
                        let fragment = ["init", "mid", "fin"].iter().find(|it| statement.has(it));
                        let (places, payload) = match fragment {
                            Some(expected) if *expected == part => {
                                (vec![index], data.payload.clone())
                            }
                            Some(_) => {
                                return Err(format!("another part of the message: '{part}'").into());
                            }
                            None => self.message(index, emitted.stream)?,
                        };
                        compare::frame(statement, &mut frame, protocol, captures)?;
                        payload_is(statement, &payload, captures)?;
                        return Ok(places);
                    }
                    Frame::Begin(_) => {
                        opening(statement, &frame, emitted, protocol, captures)?;
                        return Ok(vec![index]);
                    }
                    _ => {}
                }
                compare::frame(statement, &mut frame, protocol, captures)?;
                Ok(vec![index])
            }
        }
    }

    /// A whole message, possibly in several DATA frames, whose first one is at `index`.
    pub(super) fn message(
        &self,
        index: usize,
        stream: StreamId,
    ) -> Result<(Vec<usize>, Bytes), String> {
        let mut payload = BytesMut::new();
        let mut places = Vec::new();
        for (place, emitted) in self.pending.iter().enumerate().skip(index) {
            if emitted.stream != stream {
                continue;
            }
            let Some(Frame::Data(Data {
                flags,
                payload: part,
                ..
            })) = emitted.frame()
            else {
                break;
            };
            if places.is_empty() != flags.is_init() {
                break;
            }
            places.push(place);
            payload.extend_from_slice(part);
            if flags.is_fin() {
                return Ok((places, payload.freeze()));
            }
        }
        Err("incomplete message: the last DATA is missing".to_owned())
    }

    /// The body of the response whose head is at `index`, and the indices of all its frames.
    pub(super) fn response_body(
        &self,
        index: usize,
        stream: StreamId,
    ) -> Result<(Vec<usize>, Bytes), String> {
        let mut places = vec![index];
        let mut body = BytesMut::new();
        for (place, emitted) in self.pending.iter().enumerate().skip(index + 1) {
            if emitted.stream != stream {
                continue;
            }
            places.push(place);
            match emitted.frame() {
                Some(Frame::Data(data)) => body.extend_from_slice(&data.payload),
                Some(Frame::End(_)) => return Ok((places, body.freeze())),
                _ => break,
            }
        }
        Err("incomplete response: END is missing".to_owned())
    }
}

/// Compares a BEGIN and its call context.
fn opening(
    statement: &Statement,
    begin: &Frame,
    emitted: &Emitted,
    protocol: Protocol,
    captures: &mut Captures,
) -> Result<(), Difference> {
    emitted.carried.agrees(statement, captures)?;
    compare::frame(
        &without_call(statement),
        &mut begin.clone(),
        protocol,
        captures,
    )
}

fn packet_is(
    statement: &Statement,
    packet: &Packet,
    captures: &mut Captures,
) -> Result<(), Difference> {
    if packet.word() != statement.verb {
        return Err(format!("expected {}, got {}", statement.verb, packet.word()).into());
    }
    if let Some(mut blank) = Packet::blank(packet.word()) {
        compare::fields(statement, packet, &mut blank, captures)?;
    }
    match packet.payload() {
        Some(payload) => payload_is(statement, &payload, captures),
        None => Ok(()),
    }
}

fn payload_is(
    statement: &Statement,
    payload: &Bytes,
    captures: &mut Captures,
) -> Result<(), Difference> {
    let difference = match &statement.payload {
        Some(expected) => expected.difference(payload, captures),
        None if payload.is_empty() => None,
        None => return Err("unexpected payload".into()),
    };
    difference.map_or(Ok(()), |what| Err(Difference::of_payload(what)))
}

/// Compares a server-sent event with JSON data, or a comment.
fn event_is(
    statement: &Statement,
    payload: &Bytes,
    captures: &mut Captures,
) -> Result<(), Difference> {
    match event_data(payload) {
        Some(data) if statement.verb == "event" => {
            if let Some((_, pattern)) = statement.fields.iter().find(|(name, _)| name == "id") {
                let id = event_field(payload, "id: ").unwrap_or_default();
                let value = tidegate_streams::Value::Text(id.as_str().into());
                if !pattern.matches(&value, captures) {
                    return Err(Difference::of_field("id", format!("id is \"{id}\"")));
                }
            }
            payload_is(statement, &Bytes::from(data), captures)
        }
        None if statement.verb == "comment" && is_comment(payload) => Ok(()),
        _ => Err(format!("expected a server-sent {}", statement.verb).into()),
    }
}

fn is_comment(payload: &[u8]) -> bool {
    payload.starts_with(b":") && payload.ends_with(b"\n\n")
}

/// The data of a server-sent event.
fn event_data(payload: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?.strip_suffix("\n\n")?;
    let data: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    (!data.is_empty()).then(|| data.concat())
}

/// A field of a server-sent event.
fn event_field(payload: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(payload).ok()?;
    let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
    values.next().map(str::to_owned)
}

/// A server-sent event or comment in the syntax of scripts.
pub(super) fn event_text(payload: &[u8]) -> Option<String> {
    if is_comment(payload) {
        return Some("comment".to_owned());
    }
    let data = Bytes::from(event_data(payload)?);
    let id = event_field(payload, "id: ").map(|id| format!(" id=\"{id}\""));
    Some(format!(
        "event{}\n  {}",
        id.unwrap_or_default(),
        print::payload(&data, Protocol::Http)
    ))
}

fn window_is(
    statement: &Statement,
    frame: &Frame,
    captures: &mut Captures,
) -> Result<(), Difference> {
    let Frame::Window(window) = frame else {
        return Err("expected window".into());
    };
    let actual = [
        (
            "acknowledge",
            i64::try_from(window.acknowledge).unwrap_or(i64::MAX),
        ),
        ("maximum", i64::from(window.maximum)),
        ("padding", i64::from(window.padding)),
    ];
    for (name, number) in actual {
        let value = tidegate_streams::Value::Integer(number);
        let agrees = match statement.fields.iter().find(|(known, _)| known == name) {
            Some((_, pattern)) => pattern.matches(&value, captures),
            None => number == 0,
        };
        if !agrees {
            return Err(Difference::of_field(name, format!("{name} is {number}")));
        }
    }
    Ok(())
}
