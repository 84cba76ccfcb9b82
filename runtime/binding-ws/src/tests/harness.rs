//! A rig with the binding, and a server of tungstenite in memory.

use bytes::Bytes;
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, StreamId};
use tidegate_streams::bytes_stream::{BytesBegin, BytesConnected, BytesReset};
use tidegate_streams::{AbortEx, Frame, ResetEx};

use crate::frames::{Decoder, Event, Violation};
use crate::{Options, WsClient};

pub(super) const REMOTE: &str = "broker.test:8083";

pub(super) struct Harness {
    pub(super) rig: Rig,
    pub(super) caller: BindingId,
    pub(super) exit: BindingId,
    binding: BindingId,
}

/// A connection: the stream of the caller and the stream to the exit.
#[derive(Clone, Copy)]
pub(super) struct Streams {
    pub(super) caller: StreamId,
    pub(super) exit: StreamId,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with(Options::default(), 1 << 20, 1 << 20)
    }

    pub(super) fn with(options: Options, caller: u32, exit: u32) -> Self {
        let mut rig = Rig::new();
        let exit = rig.edge(exit);
        let binding = rig.attach(WsClient::new(options, exit));
        let caller = rig.edge(caller);
        Self {
            rig,
            caller,
            exit,
            binding,
        }
    }

    /// Opens a connection and answers nothing. Returns the request.
    pub(super) fn ask(&mut self) -> (Streams, String) {
        let caller = self
            .rig
            .open(self.caller, self.binding, BytesBegin::default());
        let opened = self.rig.outputs(self.exit);
        let exit = opened.last().expect("a BEGIN").at.stream;
        let begin = Frame::begin(BytesBegin {
            remote: REMOTE.into(),
            ..BytesBegin::default()
        });
        self.rig.send(self.exit, exit, begin.clone());
        let streams = Streams { caller, exit };
        assert_eq!(self.told(streams), [begin]);
        self.rig.send(self.exit, exit, connected());
        let (request, others) = self.sent(streams);
        assert_eq!(others, []);
        (streams, String::from_utf8(request).expect("text"))
    }

    /// Opens a connection and agrees.
    pub(super) fn open(&mut self) -> Streams {
        let (streams, request) = self.ask();
        self.receive(streams, &answer(&request));
        assert_eq!(self.told(streams), [connected()]);
        streams
    }

    /// The frames for the caller, without WINDOW.
    pub(super) fn told(&mut self, streams: Streams) -> Vec<Frame> {
        let mut frames = self.rig.frames(self.caller, streams.caller);
        frames.retain(|frame| !matches!(frame, Frame::Window(_)));
        frames
    }

    /// The bytes for the exit, and the other frames, without WINDOW.
    pub(super) fn sent(&mut self, streams: Streams) -> (Vec<u8>, Vec<Frame>) {
        let mut bytes = Vec::new();
        let mut others = Vec::new();
        for frame in self.rig.frames(self.exit, streams.exit) {
            match frame {
                Frame::Data(data) => bytes.extend_from_slice(&data.payload),
                Frame::Window(_) => {}
                other => others.push(other),
            }
        }
        let length = bytes.len();
        self.rig
            .turn(self.exit, |cx| cx.acknowledge(streams.exit, length));
        (bytes, others)
    }

    /// The frames of WebSocket for the exit, unmasked.
    pub(super) fn frames(&mut self, streams: Streams) -> Vec<Event> {
        let (bytes, _) = self.sent(streams);
        unmasked(&bytes).expect("valid frames")
    }

    pub(super) fn receive(&mut self, streams: Streams, bytes: &[u8]) {
        let data = Frame::data(Bytes::copy_from_slice(bytes));
        self.rig.send(self.exit, streams.exit, data);
    }

    /// The reason in the frames that end the stream of the caller.
    pub(super) fn failure(&mut self, streams: Streams) -> BytesReset {
        let frames = self.told(streams);
        let [.., Frame::Reset(Some(reset)), Frame::Abort(Some(abort))] = frames.as_slice() else {
            panic!("no failure but {frames:?}");
        };
        let ResetEx::Bytes(reset) = &**reset else {
            panic!("another protocol");
        };
        assert_eq!(**abort, AbortEx::Bytes(reset.clone()));
        assert_eq!(&*reset.remote, REMOTE);
        reset.clone()
    }

    pub(super) fn close(&mut self, streams: Streams) {
        self.rig.turn(self.caller, |cx| {
            cx.terminate(streams.caller, None, None);
        });
    }

    /// Checks that nothing remains.
    pub(super) fn finish(mut self) {
        self.rig.outputs(self.exit);
        self.rig.outputs(self.caller);
        self.rig.assert_idle();
    }
}

fn connected() -> Frame {
    Frame::flush(BytesConnected {
        remote: REMOTE.into(),
        host: "broker.test".into(),
        ..BytesConnected::default()
    })
}

/// The answer of a server that agrees, with the key as tungstenite hashes it.
pub(super) fn answer(request: &str) -> Vec<u8> {
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = tungstenite::handshake::derive_accept_key(key.expect("a key").as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    .into_bytes()
}

/// The frames of a client, whose masks are removed first.
fn unmasked(mut bytes: &[u8]) -> Result<Vec<Event>, Violation> {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    while let [first, second, ..] = *bytes {
        assert!(second & 0x80 != 0, "a client masks");
        let head = match second & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let length = match head {
            2 => usize::from(second & 0x7f),
            4 => usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
            _ => usize::try_from(u64::from_be_bytes(bytes[2..10].try_into().expect("8")))
                .expect("small"),
        };
        let mask = &bytes[head..head + 4];
        let payload = bytes[head + 4..head + 4 + length].iter();
        let payload: Vec<u8> = payload
            .zip(mask.iter().cycle())
            .map(|(a, b)| a ^ b)
            .collect();
        let mut frame = vec![first, second & 0x7f];
        frame.extend_from_slice(&bytes[2..head]);
        frame.extend(payload);
        let mut frame = Bytes::from(frame);
        while let Some(event) = decoder.next(&mut frame)? {
            events.push(event);
        }
        bytes = &bytes[head + 4 + length..];
    }
    Ok(events)
}
