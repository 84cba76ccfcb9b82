//! Sends the stimuli of the script.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_binding_mqtt::codec::{Packet, REMAINING_LENGTH_MAX, encode};
use tidegate_engine::{StreamId, Token};
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::{
    BeginEx, Data, DataFlags, Frame, FrameKind, Pooled, Protocol, Scripted, Value, Window,
};

use super::call::{stated, without_call};
use super::harness::{Conversation, Harness, is_on_reply, word_of};
use crate::difference::Difference;
use crate::statement::Statement;

impl Harness {
    /// Sends a stimulus and collects the reactions.
    pub(super) fn stimulate(&mut self, statement: &Statement) -> Result<(), Difference> {
        let side = self.side(&statement.side)?;
        let protocol = self
            .sides
            .get(side)
            .map_or(Protocol::Bytes, |side| side.protocol);
        if protocol == Protocol::Http
            && Method::from_bytes(statement.verb.as_bytes()).is_ok()
            && statement
                .verb
                .chars()
                .all(|letter| letter.is_ascii_uppercase())
        {
            self.request(statement, side)?;
        } else if protocol == Protocol::Bytes
            && let Some(packet) = Packet::blank(&statement.verb)
        {
            let bytes = self.packet(statement, side, packet)?;
            self.data(statement, side, DataFlags::WHOLE, bytes, None)?;
        } else if protocol == Protocol::Bytes && statement.verb == "bytes" {
            let bytes = self.payload(statement)?;
            self.data(statement, side, DataFlags::WHOLE, bytes, None)?;
        } else {
            self.frame(statement, side, protocol)?;
        }
        self.collect();
        Ok(())
    }

    fn frame(
        &mut self,
        statement: &Statement,
        side: usize,
        protocol: Protocol,
    ) -> Result<(), Difference> {
        let kind = FrameKind::ALL
            .into_iter()
            .find(|kind| kind.word() == statement.verb);
        let kind = kind.ok_or_else(|| unknown(&statement.verb, protocol))?;
        let caller = self.sides.get(side).is_some_and(|side| side.caller);
        if is_on_reply(caller, kind) != statement.reply {
            let fix = if statement.reply { "remove" } else { "add" };
            return Err(format!("wrong half for {kind} of this side; {fix} the trailing '").into());
        }
        if kind == FrameKind::Window {
            return self.window(statement, side);
        }
        if kind == FrameKind::Data {
            let flags = match () {
                () if statement.has("init") => DataFlags::INIT,
                () if statement.has("mid") => DataFlags::MIDDLE,
                () if statement.has("fin") => DataFlags::FIN,
                () => DataFlags::WHOLE,
            };
            let payload = self.payload(statement)?;
            let word = self
                .conversations
                .get(&(side, statement.number))
                .map(|it| it.word);
            let blank = Frame::blank(kind, protocol, word.unwrap_or_default());
            let extension = match blank {
                // Only the first part of a message has an extension.
                Some(mut frame) if flags.is_init() => {
                    self.fill(statement, &mut frame)?;
                    match frame {
                        Frame::Data(data) => data.extension,
                        _ => None,
                    }
                }
                _ => None,
            };
            return self.data(statement, side, flags, payload, extension);
        }
        let word = statement.words.first().map_or("", String::as_str);
        let mut frame = match kind {
            FrameKind::End | FrameKind::Reset | FrameKind::Abort if statement.fields.is_empty() => {
                match kind {
                    FrameKind::End => Frame::end(),
                    FrameKind::Reset => Frame::reset(),
                    _ => Frame::abort(),
                }
            }
            _ => Frame::blank(kind, protocol, word)
                .ok_or_else(|| format!("unknown {} {kind} '{word}'", protocol.word()))?,
        };
        if kind == FrameKind::Begin && caller && !self.is_open(side, statement.number) {
            self.fill(&without_call(statement), &mut frame)?;
            if let Frame::Begin(begin) = frame {
                return self.open(statement, side, begin.into_inner());
            }
            return Ok(());
        }
        self.fill(statement, &mut frame)?;
        self.send(statement, side, frame)
    }

    /// Sets the stated fields.
    fn fill(&self, statement: &Statement, frame: &mut Frame) -> Result<(), Difference> {
        let Some(extension) = frame.extension() else {
            return Ok(());
        };
        for (name, pattern) in &statement.fields {
            let refused =
                |error: &dyn std::fmt::Display| Difference::of_field(name, error.to_string());
            let value = pattern.resolve(&self.captures);
            let value = value.map_err(|error| refused(&error))?;
            let set = extension.set(name, &value);
            set.map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    fn is_open(&self, side: usize, number: u32) -> bool {
        self.conversations.contains_key(&(side, number))
    }

    fn open(
        &mut self,
        statement: &Statement,
        side: usize,
        begin: BeginEx,
    ) -> Result<(), Difference> {
        let Some(edge) = self.sides.get(side).map(|side| side.edge) else {
            return Ok(());
        };
        let call = stated(statement, &self.captures, self.now)?;
        let target = self.target;
        let word = word_of(Some(&Frame::begin(begin.clone())));
        let opened = self.worker.turn(self.now, edge, |cx| {
            cx.open_for(call, target, begin, Token::default())
        });
        if let Ok(stream) = opened {
            let conversation = Conversation { stream, word };
            self.conversations
                .insert((side, statement.number), conversation);
        }
        Ok(())
    }

    fn stream(&self, statement: &Statement, side: usize) -> Result<StreamId, String> {
        let conversation = self.conversations.get(&(side, statement.number));
        let conversation =
            conversation.ok_or_else(|| format!("{} is not open", statement.conversation()))?;
        Ok(conversation.stream)
    }

    fn send(&mut self, statement: &Statement, side: usize, frame: Frame) -> Result<(), Difference> {
        let stream = self.stream(statement, side)?;
        if let Some(side) = self.sides.get(side) {
            self.worker
                .turn(self.now, side.edge, |cx| cx.send(stream, frame));
        }
        Ok(())
    }

    fn payload(&self, statement: &Statement) -> Result<Bytes, String> {
        match &statement.payload {
            Some(payload) => payload
                .resolve(&self.captures)
                .map_err(|error| error.to_string()),
            None => Ok(Bytes::new()),
        }
    }

    fn data(
        &mut self,
        statement: &Statement,
        side: usize,
        flags: DataFlags,
        payload: Bytes,
        extension: Option<Pooled<tidegate_streams::DataEx>>,
    ) -> Result<(), Difference> {
        let stream = self.stream(statement, side)?;
        let Some(edge) = self.sides.get(side).map(|side| side.edge) else {
            return Ok(());
        };
        let credit = self.worker.turn(self.now, edge, |cx| cx.credit(stream));
        let live = self.worker.turn(self.now, edge, |cx| cx.is_sending(stream));
        if live && payload.len() > credit {
            return Err(format!(
                "the credit is {credit} bytes, the payload has {}",
                payload.len()
            )
            .into());
        }
        let frame = Frame::Data(Data {
            flags,
            payload,
            extension,
        });
        self.send(statement, side, frame)
    }

    fn packet(
        &self,
        statement: &Statement,
        side: usize,
        mut packet: Packet,
    ) -> Result<Bytes, Difference> {
        let stream = self.stream(statement, side)?;
        let version = self.versions.get(&stream).copied().unwrap_or_default();
        for (name, pattern) in &statement.fields {
            let refused =
                |error: &dyn std::fmt::Display| Difference::of_field(name, error.to_string());
            let value = pattern.resolve(&self.captures);
            let value = value.map_err(|error| refused(&error))?;
            let set = packet.set(name, &value);
            set.map_err(|error| refused(&error))?;
        }
        if let Packet::Publish(publish) = &mut packet {
            let payload = self.payload(statement)?;
            if !payload.is_empty() {
                publish.payload.push(payload);
            }
        }
        let mut out = BytesMut::new();
        encode(&packet, version, REMAINING_LENGTH_MAX, &mut out)
            .map_err(|error| format!("cannot encode the packet: {error:?}"))?;
        Ok(out.freeze())
    }

    fn window(&mut self, statement: &Statement, side: usize) -> Result<(), Difference> {
        let number = |name: &str| -> Result<u64, String> {
            let Some((_, pattern)) = statement.fields.iter().find(|(known, _)| known == name)
            else {
                return Ok(0);
            };
            match pattern
                .resolve(&self.captures)
                .map_err(|error| error.to_string())?
            {
                Value::Integer(number) => {
                    u64::try_from(number).map_err(|_| format!("'{name}' must be a number"))
                }
                _ => Err(format!("'{name}' must be a number")),
            }
        };
        let narrow = |name: &str| -> Result<u32, String> {
            u32::try_from(number(name)?).map_err(|_| format!("'{name}' is too large"))
        };
        let window = Window {
            acknowledge: number("acknowledge")?,
            maximum: narrow("maximum")?,
            padding: narrow("padding")?,
        };
        self.send(statement, side, Frame::Window(window))
    }

    /// Sends a request: head, body if any, and END unless it is `open`.
    fn request(&mut self, statement: &Statement, side: usize) -> Result<(), Difference> {
        let body = self.payload(statement)?;
        let mut headers = HeaderMap::new();
        let mut path = "/mcp".to_owned();
        let mut peer = None;
        for (name, pattern) in &without_call(statement).fields {
            let value = pattern
                .resolve(&self.captures)
                .map_err(|error| error.to_string())?;
            let Value::Text(text) = value else {
                return Err(format!("header '{name}' must be a quoted string").into());
            };
            if name == "path" {
                path = text.to_string();
                continue;
            }
            if name == "peer" {
                let address = text.parse();
                peer = Some(address.map_err(|_| format!("invalid address '{text}'"))?);
                continue;
            }
            let wrong = || format!("invalid header '{name}'");
            let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| wrong())?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            headers.append(name, value);
        }
        let length = i64::try_from(body.len()).unwrap_or(-1);
        let request = HttpRequest {
            method: Method::from_bytes(statement.verb.as_bytes())
                .map_err(|_| format!("invalid method '{}'", statement.verb))?,
            path: path.into(),
            headers,
            content_length: if statement.has("open") { -1 } else { length },
            peer,
        };
        self.open(statement, side, request.into())?;
        if !body.is_empty() {
            self.data(statement, side, DataFlags::WHOLE, body, None)?;
        }
        if !statement.has("open") {
            self.send(statement, side, Frame::end())?;
        }
        Ok(())
    }
}

/// The error for a verb that is neither a frame nor, on the network side, a packet.
fn unknown(verb: &str, protocol: Protocol) -> String {
    let frames = FrameKind::ALL.map(FrameKind::word).join(", ");
    match protocol {
        Protocol::Bytes => {
            format!("unknown packet '{verb}'; specs/FIELDS.md lists the packets")
        }
        _ => format!("unknown frame '{verb}'; valid: {frames}"),
    }
}
