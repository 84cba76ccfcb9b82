//! What the script plays.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tidegate_binding_mqtt::codec::{Packet, REMAINING_LENGTH_MAX, Version, encode};
use tidegate_engine::{StreamId, Token};
use tidegate_streams::http_stream::HttpRequest;
use tidegate_streams::{
    BeginEx, Data, DataFlags, Frame, FrameKind, Pooled, Protocol, Scripted, Value, Window,
};

use super::call::{stated, without_call};
use super::stage::{Conversation, Stage, stands_on_reply, word_of};
use crate::difference::Difference;
use crate::said::Said;

impl Stage {
    /// Plays one stimulus and takes what comes of it.
    pub(super) fn stimulate(&mut self, said: &Said) -> Result<(), Difference> {
        let side = self.side(&said.side)?;
        let protocol = self
            .sides
            .get(side)
            .map_or(Protocol::Bytes, |side| side.protocol);
        if protocol == Protocol::Http
            && Method::from_bytes(said.verb.as_bytes()).is_ok()
            && said.verb.chars().all(|letter| letter.is_ascii_uppercase())
        {
            self.request(said, side)?;
        } else if protocol == Protocol::Bytes
            && let Some(packet) = Packet::blank(&said.verb)
        {
            let bytes = self.packet(said, packet)?;
            self.data(said, side, DataFlags::WHOLE, bytes, None)?;
        } else if protocol == Protocol::Bytes && said.verb == "bytes" {
            let bytes = self.payload(said)?;
            self.data(said, side, DataFlags::WHOLE, bytes, None)?;
        } else {
            self.frame(said, side, protocol)?;
        }
        self.collect();
        Ok(())
    }

    fn frame(&mut self, said: &Said, side: usize, protocol: Protocol) -> Result<(), Difference> {
        let kind = FrameKind::ALL
            .into_iter()
            .find(|kind| kind.word() == said.verb);
        let kind = kind.ok_or_else(|| format!("'{}' is nothing that can be said", said.verb))?;
        let caller = self.sides.get(side).is_some_and(|side| side.caller);
        if stands_on_reply(caller, kind) != said.reply {
            let mark = if said.reply { "without" } else { "with" };
            return Err(format!("a {kind} of this side stands {mark} a trailing '").into());
        }
        if kind == FrameKind::Window {
            return self.window(said, side);
        }
        if kind == FrameKind::Data {
            let flags = match () {
                () if said.has("init") => DataFlags::INIT,
                () if said.has("mid") => DataFlags::MIDDLE,
                () if said.has("fin") => DataFlags::FIN,
                () => DataFlags::WHOLE,
            };
            let payload = self.payload(said)?;
            let word = self
                .conversations
                .get(&(side, said.number))
                .map(|it| it.word);
            let blank = Frame::blank(kind, protocol, word.unwrap_or_default());
            let extension = match blank {
                // A later part of a message bears none.
                Some(mut frame) if flags.is_init() => {
                    self.fill(said, &mut frame)?;
                    match frame {
                        Frame::Data(data) => data.extension,
                        _ => None,
                    }
                }
                _ => None,
            };
            return self.data(said, side, flags, payload, extension);
        }
        let word = said.words.first().map_or("", String::as_str);
        let mut frame = match kind {
            FrameKind::End | FrameKind::Reset | FrameKind::Abort if said.fields.is_empty() => {
                match kind {
                    FrameKind::End => Frame::end(),
                    FrameKind::Reset => Frame::reset(),
                    _ => Frame::abort(),
                }
            }
            _ => Frame::blank(kind, protocol, word)
                .ok_or_else(|| format!("{} has no {kind} '{word}'", protocol.word()))?,
        };
        if kind == FrameKind::Begin && caller && !self.is_open(side, said.number) {
            self.fill(&without_call(said), &mut frame)?;
            if let Frame::Begin(begin) = frame {
                return self.open(said, side, begin.into_inner());
            }
            return Ok(());
        }
        self.fill(said, &mut frame)?;
        self.send(said, side, frame)
    }

    /// Sets the fields that are said.
    fn fill(&self, said: &Said, frame: &mut Frame) -> Result<(), Difference> {
        let Some(extension) = frame.extension() else {
            return Ok(());
        };
        for (name, pattern) in &said.fields {
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

    fn open(&mut self, said: &Said, side: usize, begin: BeginEx) -> Result<(), Difference> {
        let Some(edge) = self.sides.get(side).map(|side| side.edge) else {
            return Ok(());
        };
        let call = stated(said, &self.captures, self.now)?;
        let target = self.target;
        let word = word_of(Some(&Frame::begin(begin.clone())));
        let opened = self.worker.turn(self.now, edge, |cx| {
            cx.open_for(call, target, begin, Token::default())
        });
        if let Ok(stream) = opened {
            let conversation = Conversation { stream, word };
            self.conversations.insert((side, said.number), conversation);
        }
        Ok(())
    }

    fn stream(&self, said: &Said, side: usize) -> Result<StreamId, String> {
        let conversation = self.conversations.get(&(side, said.number));
        let conversation =
            conversation.ok_or_else(|| format!("{} has not begun", said.conversation()))?;
        Ok(conversation.stream)
    }

    fn send(&mut self, said: &Said, side: usize, frame: Frame) -> Result<(), Difference> {
        let stream = self.stream(said, side)?;
        if let Some(side) = self.sides.get(side) {
            self.worker
                .turn(self.now, side.edge, |cx| cx.send(stream, frame));
        }
        Ok(())
    }

    fn payload(&self, said: &Said) -> Result<Bytes, String> {
        match &said.payload {
            Some(payload) => payload
                .resolve(&self.captures)
                .map_err(|error| error.to_string()),
            None => Ok(Bytes::new()),
        }
    }

    fn data(
        &mut self,
        said: &Said,
        side: usize,
        flags: DataFlags,
        payload: Bytes,
        extension: Option<Pooled<tidegate_streams::DataEx>>,
    ) -> Result<(), Difference> {
        let stream = self.stream(said, side)?;
        let Some(edge) = self.sides.get(side).map(|side| side.edge) else {
            return Ok(());
        };
        let credit = self.worker.turn(self.now, edge, |cx| cx.credit(stream));
        let live = self.worker.turn(self.now, edge, |cx| cx.is_sending(stream));
        if live && payload.len() > credit {
            return Err(format!(
                "the binding has granted {credit} bytes, not {}",
                payload.len()
            )
            .into());
        }
        let frame = Frame::Data(Data {
            flags,
            payload,
            extension,
        });
        self.send(said, side, frame)
    }

    fn packet(&self, said: &Said, mut packet: Packet) -> Result<Bytes, Difference> {
        for (name, pattern) in &said.fields {
            let refused =
                |error: &dyn std::fmt::Display| Difference::of_field(name, error.to_string());
            let value = pattern.resolve(&self.captures);
            let value = value.map_err(|error| refused(&error))?;
            let set = packet.set(name, &value);
            set.map_err(|error| refused(&error))?;
        }
        if let Packet::Publish(publish) = &mut packet {
            let payload = self.payload(said)?;
            if !payload.is_empty() {
                publish.payload.push(payload);
            }
        }
        let mut out = BytesMut::new();
        encode(&packet, Version::V5, REMAINING_LENGTH_MAX, &mut out)
            .map_err(|error| format!("the packet cannot be written: {error:?}"))?;
        Ok(out.freeze())
    }

    fn window(&mut self, said: &Said, side: usize) -> Result<(), Difference> {
        let number = |name: &str| -> Result<u64, String> {
            let Some((_, pattern)) = said.fields.iter().find(|(known, _)| known == name) else {
                return Ok(0);
            };
            match pattern
                .resolve(&self.captures)
                .map_err(|error| error.to_string())?
            {
                Value::Integer(number) => {
                    u64::try_from(number).map_err(|_| format!("{name} must be a number"))
                }
                _ => Err(format!("{name} must be a number")),
            }
        };
        let narrow = |name: &str| -> Result<u32, String> {
            u32::try_from(number(name)?).map_err(|_| format!("{name} is too large"))
        };
        let window = Window {
            acknowledge: number("acknowledge")?,
            maximum: narrow("maximum")?,
            padding: narrow("padding")?,
        };
        self.send(said, side, Frame::Window(window))
    }

    /// A request: its head, its body if it has one, and its end unless it stays open.
    fn request(&mut self, said: &Said, side: usize) -> Result<(), Difference> {
        let body = self.payload(said)?;
        let mut headers = HeaderMap::new();
        let mut path = "/mcp".to_owned();
        for (name, pattern) in &without_call(said).fields {
            let value = pattern
                .resolve(&self.captures)
                .map_err(|error| error.to_string())?;
            let Value::Text(text) = value else {
                return Err(format!("the header {name} must be a quoted text").into());
            };
            if name == "path" {
                path = text.to_string();
                continue;
            }
            let wrong = || format!("{name} is no header");
            let value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| wrong())?;
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            headers.append(name, value);
        }
        let length = i64::try_from(body.len()).unwrap_or(-1);
        let request = HttpRequest {
            method: Method::from_bytes(said.verb.as_bytes())
                .map_err(|_| format!("'{}' is no method", said.verb))?,
            path: path.into(),
            headers,
            content_length: if said.has("open") { -1 } else { length },
        };
        self.open(said, side, request.into())?;
        if !body.is_empty() {
            self.data(said, side, DataFlags::WHOLE, body, None)?;
        }
        if !said.has("open") {
            self.send(said, side, Frame::end())?;
        }
        Ok(())
    }
}
