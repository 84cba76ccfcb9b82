//! Whether what came out is what the script says.

use bytes::{Bytes, BytesMut};
use tidegate_binding_mqtt::codec::Packet;
use tidegate_engine::StreamId;
use tidegate_streams::http_stream::HttpBeginEx;
use tidegate_streams::{BeginEx, Data, Frame, Protocol, Scripted};

use super::call::without_call;
use super::emitted::{Emitted, What};
use super::stage::{Conversation, Stage, word_of};
use crate::captures::Captures;
use crate::difference::Difference;
use crate::said::Said;
use crate::{compare, print};

/// The headers of server-sent events.
pub(super) const EVENTS: [(&str, &str); 3] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
];

impl Said {
    /// Whether it speaks of the half that something came out on; a packet has none.
    fn is_of_half(&self, emitted: &Emitted) -> bool {
        !matches!(emitted.what, What::Frame(_)) || emitted.reply == self.reply
    }
}

impl Stage {
    /// Compares one reaction.
    pub(super) fn expect(&mut self, said: &Said) -> Result<(), Difference> {
        let index = self.candidate(said, self.side(&said.side)?)?;
        self.expect_at(said, index)
    }

    /// Compares one reaction with whatever has come out; gives what had come out before it, as
    /// lines, which is then taken for read.
    pub(super) fn expect_later(&mut self, said: &Said) -> Option<Vec<String>> {
        let index = (0..self.pending.len()).find(|index| self.expect_at(said, *index).is_ok())?;
        Some((0..index).filter_map(|_| self.read_one()).collect())
    }

    /// Compares one reaction with what came out at a place.
    fn expect_at(&mut self, said: &Said, index: usize) -> Result<(), Difference> {
        let side = self.side(&said.side)?;
        let emitted = self.pending.get(index).ok_or("nothing came out")?.clone();
        let known = self
            .conversations
            .get(&(side, said.number))
            .map(|it| it.stream);
        let begins = matches!(emitted.frame(), Some(Frame::Begin(_)));
        let is_packet = matches!(emitted.what, What::Packet(_) | What::Malformed(..));
        let same = emitted.side == side && (is_packet || emitted.reply == said.reply);
        if !same || known.is_some_and(|stream| stream != emitted.stream) {
            return Err("something else came out".into());
        }
        let opens = begins && !emitted.reply && self.sides.get(side).is_some_and(|it| !it.caller);
        if known.is_none() && !opens {
            return Err(format!("{} has not begun", said.conversation()).into());
        }
        if known.is_none()
            && self
                .conversations
                .values()
                .any(|it| it.stream == emitted.stream)
        {
            return Err("something else came out".into());
        }
        let mut captures = self.captures.clone();
        let used = self.compare(said, index, &emitted, &mut captures)?;
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
            self.conversations.insert((side, said.number), conversation);
        }
        for emitted in shown.into_iter().rev() {
            let line = self.line(&emitted);
            self.trace.push(line);
        }
        Ok(())
    }

    /// The first thing that came out, or, where their order is left open, the first of the
    /// conversation.
    fn candidate(&self, said: &Said, side: usize) -> Result<usize, String> {
        if self.pending.is_empty() {
            return Err("nothing came out".to_owned());
        }
        if !self.seeded {
            return Ok(0);
        }
        let known = self
            .conversations
            .get(&(side, said.number))
            .map(|it| it.stream);
        let fits = |emitted: &Emitted| match known {
            Some(stream) => emitted.stream == stream && said.is_of_half(emitted),
            None => self.begins(said, side, emitted),
        };
        self.pending
            .iter()
            .position(fits)
            .ok_or_else(|| "something else came out".to_owned())
    }

    /// Whether it begins the conversation: one that begins is told from others by what it asks for.
    fn begins(&self, said: &Said, side: usize, emitted: &Emitted) -> bool {
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
            && opening(said, begin, emitted, protocol, &mut captures).is_ok()
    }

    /// Compares; gives the places of what was used.
    fn compare(
        &self,
        said: &Said,
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
                packet_is(said, packet, captures)?;
                Ok(vec![index])
            }
            What::Malformed(_, why) => {
                Err(format!("bytes came out that are no packet: {why}").into())
            }
            What::Frame(Frame::Begin(begin)) if protocol == Protocol::Http => match &**begin {
                BeginEx::Http(HttpBeginEx::Response(response)) => {
                    if said.verb != response.status.as_u16().to_string() {
                        return Err(format!("the status is {}", response.status).into());
                    }
                    let json = matches!(said.payload, Some(crate::said::Payload::Json { .. }));
                    let implied: &[(&str, &str)] = match (said.has("open"), json) {
                        (true, _) => &EVENTS,
                        (false, true) => &[("content-type", "application/json")],
                        (false, false) => &[],
                    };
                    compare::headers(said, &response.headers, implied, captures)?;
                    if said.has("open") {
                        return Ok(vec![index]);
                    }
                    let (places, body) = self.response_body(index, emitted.stream)?;
                    payload_is(said, &body, captures)?;
                    Ok(places)
                }
                _ => Err("a request came out".into()),
            },
            What::Frame(frame) => {
                let mut frame = frame.clone();
                if said.verb == "event" || said.verb == "comment" {
                    let (places, payload) = self.message(index, emitted.stream)?;
                    event_is(said, &payload, captures)?;
                    return Ok(places);
                }
                if frame.kind().word() != said.verb {
                    return Err(format!("it is a {}", frame.kind()).into());
                }
                match &frame {
                    Frame::Window(_) => {
                        window_is(said, &frame, captures)?;
                        return Ok(vec![index]);
                    }
                    Frame::Data(data) => {
                        let part = print::part(data.flags).trim();
                        let fragment = ["init", "mid", "fin"].iter().find(|it| said.has(it));
                        let (places, payload) = match fragment {
                            Some(wanted) if *wanted == part => (vec![index], data.payload.clone()),
                            Some(_) => return Err(format!("it is the part '{part}'").into()),
                            None => self.message(index, emitted.stream)?,
                        };
                        compare::frame(said, &mut frame, protocol, captures)?;
                        payload_is(said, &payload, captures)?;
                        return Ok(places);
                    }
                    Frame::Begin(_) => {
                        opening(said, &frame, emitted, protocol, captures)?;
                        return Ok(vec![index]);
                    }
                    _ => {}
                }
                compare::frame(said, &mut frame, protocol, captures)?;
                Ok(vec![index])
            }
        }
    }

    /// A whole message, which may have come in parts, from its first part at `index`.
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
        Err("a part of a message came out, and not all of it".to_owned())
    }

    /// The body of a response from its head at `index` to its end, and the places of all that.
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
        Err("the response has not come to its end".to_owned())
    }
}

/// Whether a BEGIN, and what its stream carries, is what the script says.
fn opening(
    said: &Said,
    begin: &Frame,
    emitted: &Emitted,
    protocol: Protocol,
    captures: &mut Captures,
) -> Result<(), Difference> {
    emitted.carried.agrees(said, captures)?;
    compare::frame(&without_call(said), &mut begin.clone(), protocol, captures)
}

fn packet_is(said: &Said, packet: &Packet, captures: &mut Captures) -> Result<(), Difference> {
    if packet.word() != said.verb {
        return Err(format!("it is a {}", packet.word()).into());
    }
    if let Some(mut blank) = Packet::blank(packet.word()) {
        compare::fields(said, packet, &mut blank, captures)?;
    }
    match packet.payload() {
        Some(payload) => payload_is(said, &payload, captures),
        None => Ok(()),
    }
}

fn payload_is(said: &Said, payload: &Bytes, captures: &mut Captures) -> Result<(), Difference> {
    let difference = match &said.payload {
        Some(wanted) => wanted.difference(payload, captures),
        None if payload.is_empty() => None,
        None => return Err("it has a payload, which is not in the script".into()),
    };
    difference.map_or(Ok(()), |what| Err(Difference::of_payload(what)))
}

/// One server-sent event, whose data is JSON, or a comment.
fn event_is(said: &Said, payload: &Bytes, captures: &mut Captures) -> Result<(), Difference> {
    match event_data(payload) {
        Some(data) if said.verb == "event" => payload_is(said, &Bytes::from(data), captures),
        None if said.verb == "comment" && is_comment(payload) => Ok(()),
        _ => Err(format!("it is no {}", said.verb).into()),
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

/// How a script says it.
pub(super) fn event_text(payload: &[u8]) -> Option<String> {
    if is_comment(payload) {
        return Some("comment".to_owned());
    }
    let data = Bytes::from(event_data(payload)?);
    Some(format!(
        "event\n  {}",
        print::payload(&data, Protocol::Http)
    ))
}

fn window_is(said: &Said, frame: &Frame, captures: &mut Captures) -> Result<(), Difference> {
    let Frame::Window(window) = frame else {
        return Err("it is no window".into());
    };
    let told = [
        (
            "acknowledge",
            i64::try_from(window.acknowledge).unwrap_or(i64::MAX),
        ),
        ("maximum", i64::from(window.maximum)),
        ("padding", i64::from(window.padding)),
    ];
    for (name, number) in told {
        let value = tidegate_streams::Value::Integer(number);
        let agrees = match said.fields.iter().find(|(known, _)| known == name) {
            Some((_, pattern)) => pattern.matches(&value, captures),
            None => number == 0,
        };
        if !agrees {
            return Err(Difference::of_field(name, format!("{name} is {number}")));
        }
    }
    Ok(())
}
