//! The edge on pipes in memory, with a probe for the rest of the engine.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_driver::Engine;
use tidegate_driver::testing::{Probe, probe};
use tidegate_engine::Limits;
use tokio::io::{AsyncReadExt as _, DuplexStream, ReadBuf, duplex};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a pipe holds, in bytes.
const PIPE: usize = 1024;

/// What the callee starts with, in bytes.
const CALLEE_WINDOW: u32 = 100;

struct House {
    engine: Engine,
    probe: Probe,
    stream: StreamId,
}

impl House {
    /// An engine that serves `input` and `output`; the stream has begun.
    async fn new<R, W>(max_line_size: usize, input: R, output: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (mut probe, edge) = probe();
        let pipes = Mutex::new(Some((input, output)));
        let engine = Engine::start(1, Limits::default(), move |assembly| {
            let exit = edge.attach(assembly, CALLEE_WINDOW, None);
            let pipes = pipes.lock().expect("no panic").take();
            let (input, output) = pipes.expect("one worker has them");
            attach_to(assembly, &Options { max_line_size }, exit, input, output);
            Ok(())
        });
        let engine = engine.expect("the engine starts");
        let (at, frame) = probe.next().await;
        assert_eq!(frame, Frame::begin(LineBegin {}));
        probe.send(at.stream, frame).await;
        Self {
            engine,
            probe,
            stream: at.stream,
        }
    }

    /// The next message, or what else comes instead, with its credit given back.
    async fn next(&mut self) -> Result<Vec<u8>, Frame> {
        let (stream, mut message) = (self.stream, Vec::new());
        loop {
            let data = match self.probe.next_but_window().await.1 {
                Frame::Data(data) => data,
                other => return Err(other),
            };
            message.extend_from_slice(&data.payload);
            let taken = data.payload.len();
            let taken = self.probe.turn(move |cx| cx.acknowledge(stream, taken));
            taken.await;
            if data.flags.is_fin() {
                return Ok(message);
            }
        }
    }

    async fn say(&self, frame: Frame) {
        self.probe.send(self.stream, frame).await;
    }

    /// The engine is asked to stop, and nothing is left.
    async fn finish(self) {
        let stop = tokio::time::timeout(PATIENCE, self.engine.stop_requested()).await;
        stop.expect("the engine is asked to stop");
        let counters = self.engine.counters().await[0];
        assert_eq!((counters.violations, counters.faults), (0, 0));
        assert_eq!(self.engine.shutdown(PATIENCE).await.streams_cut, 0);
    }
}

/// Writes all of it and closes.
fn feed(mut pipe: DuplexStream, what: Vec<u8>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        pipe.write_all(&what).await.expect("the edge reads");
    })
}

fn data(text: &'static str) -> Frame {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

async fn all(mut pipe: DuplexStream) -> String {
    let mut text = String::new();
    let read = tokio::time::timeout(PATIENCE, pipe.read_to_string(&mut text)).await;
    read.expect("the output ends in time").expect("a text");
    text
}

#[tokio::test]
async fn each_line_is_a_message_and_each_message_a_line() {
    let (input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(PIPE);
    let mut house = House::new(1_000, theirs, ours).await;
    let written = feed(input, b"{\"a\":1}\n\n{\"b\":2}\r\n \t\r\nlast".to_vec());
    for expected in ["{\"a\":1}", "{\"b\":2}", "last"] {
        assert_eq!(house.next().await.expect("a message"), expected.as_bytes());
    }
    assert_eq!(house.next().await, Err(Frame::end()));
    written.await.expect("all is written");

    house.say(data("one")).await;
    house.say(Frame::part(DataFlags::INIT, "tw".into())).await;
    house.say(Frame::part(DataFlags::MIDDLE, "".into())).await;
    house.say(Frame::part(DataFlags::FIN, "o".into())).await;
    house.say(data("{\n  \"pretty\":\r\n  3\n}")).await;
    house.say(Frame::flush(LineOversized::default())).await;
    house.say(Frame::end()).await;
    assert_eq!(all(output).await, "one\ntwo\n{   \"pretty\":    3 }\n");
    let report = house.engine.report().await;
    let lines = |kind| report.labelled("", "stdio.server.lines", kind);
    assert_eq!((lines("received"), lines("sent")), (3, 3));
    assert_eq!(lines("oversized"), 0);
    house.finish().await;
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_as_they_are() {
    let (input, theirs) = duplex(PIPE);
    let (_output, ours) = duplex(PIPE);
    let mut house = House::new(1_000, theirs, ours).await;
    feed(input, b"\xff\xfe{}\0\n".to_vec());
    assert_eq!(house.next().await.expect("a message"), b"\xff\xfe{}\0");
    assert_eq!(house.next().await, Err(Frame::end()));
    house.say(Frame::end()).await;
    house.finish().await;
}

#[tokio::test]
async fn a_line_of_100_megabytes_is_skipped_and_told() {
    const LENGTH: u64 = 100_000_000;
    const LIMIT: usize = 64 * 1024;
    let (mut input, theirs) = duplex(LIMIT);
    let (_output, ours) = duplex(PIPE);
    let mut house = House::new(LIMIT, theirs, ours).await;
    let written = tokio::spawn(async move {
        let part = vec![b'x'; 100_000];
        for _ in 0..1_000 {
            input.write_all(&part).await.expect("the edge reads");
        }
        input.write_all(b"\nnext\n").await.expect("the edge reads");
    });
    let told = LineOversized {
        length: LENGTH,
        limit: LIMIT as u64,
    };
    assert_eq!(house.next().await, Err(Frame::flush(told)));
    assert_eq!(house.next().await.expect("a message"), b"next");
    written.await.expect("all is written");
    assert_eq!(house.next().await, Err(Frame::end()));
    house.say(Frame::end()).await;
    house.finish().await;
}

#[tokio::test]
async fn a_callee_that_takes_nothing_stops_the_reading() {
    let (input, theirs) = duplex(PIPE);
    let (_output, ours) = duplex(PIPE);
    let mut house = House::new(1_000, theirs, ours).await;
    let line = [&[b'x'; 200][..], b"\n"].concat();
    let written = feed(input, line.repeat(10_000));
    // The first part is all that the credit allows.
    let (at, frame) = house.probe.next().await;
    let Frame::Data(first) = frame else {
        panic!("no DATA but {frame:?}");
    };
    assert_eq!(first.payload.len(), CALLEE_WINDOW as usize);
    let over = house.probe.turn(move |cx| cx.is_over(at.stream)).await;
    assert!(!over && house.probe.seen().is_empty());
    assert!(
        !written.is_finished(),
        "most of it waits in front of the edge"
    );

    let stream = at.stream;
    let taken = first.payload.len();
    let taken = house.probe.turn(move |cx| cx.acknowledge(stream, taken));
    taken.await;
    let rest = house.next().await.expect("the rest of the first");
    assert_eq!(rest.len(), 100);
    for _ in 1..10_000 {
        assert_eq!(house.next().await.expect("a message").len(), 200);
    }
    assert_eq!(house.next().await, Err(Frame::end()));
    house.say(Frame::end()).await;
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_no_more_than_fits() {
    let (input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(PIPE);
    let mut house = House::new(1_000, theirs, ours).await;
    let stream = house.stream;
    let mut total = 0;
    loop {
        let send = house.probe.turn(move |cx| {
            let room = cx.credit(stream).min(10_000);
            if room > 0 {
                cx.send_whole(stream, vec![b'x'; room].into());
            }
            room
        });
        let count = send.await;
        if count == 0 {
            break;
        }
        total += count;
        assert!(total <= WINDOW as usize + PIPE);
    }
    // Its requests are heard all the same.
    let fed = feed(input, b"hello\n".to_vec());
    assert_eq!(house.next().await.expect("a message"), b"hello");
    fed.await.expect("all is written");
    house.say(Frame::end()).await;
    let text = all(output).await;
    assert_eq!(text.bytes().filter(|byte| *byte == b'x').count(), total);
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_closes_its_end_stops_the_engine() {
    let (_input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(PIPE);
    let mut house = House::new(1_000, theirs, ours).await;
    drop(output);
    house.say(data("nobody reads this")).await;
    let frames = [
        house.next().await.expect_err("no message"),
        house.next().await.expect_err("no message"),
    ];
    assert_eq!(frames, [Frame::reset(), Frame::abort()]);
    house.finish().await;
}

#[tokio::test]
async fn a_callee_that_refuses_stops_the_engine_behind_its_last_line() {
    let (_input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(PIPE);
    let house = House::new(1_000, theirs, ours).await;
    let stream = house.stream;
    let refuse = house.probe.turn(move |cx| {
        cx.send_whole(stream, "last".into());
        cx.terminate(stream, None, None);
    });
    refuse.await;
    assert_eq!(all(output).await, "last\n");
    house.finish().await;
}

#[tokio::test]
async fn a_stop_ends_the_input_and_waits_for_the_output() {
    let (_input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(1);
    let mut house = House::new(1_000, theirs, ours).await;
    let stopping = tokio::spawn(house.engine.shutdown(PATIENCE));
    let end = house.probe.next_but_window().await.1;
    assert_eq!(end, Frame::end(), "as if standard input had ended");
    house
        .probe
        .send(house.stream, data("an answer that was under way"))
        .await;
    house.probe.send(house.stream, Frame::end()).await;
    assert_eq!(all(output).await, "an answer that was under way\n");
    let report = stopping.await.expect("it stops");
    assert_eq!(report.streams_cut, 0);
}

#[test]
fn a_limit_of_0_is_refused() {
    let read = |limit: u64| -> Result<Options, serde::de::value::Error> {
        let config = [("maxLineSize", limit)].into_iter();
        Options::deserialize(serde::de::value::MapDeserializer::new(config))
    };
    assert_eq!(read(1).map(|options| options.max_line_size), Ok(1));
    assert!(read(0).is_err_and(|error| error.to_string() == "must be at least 1"));
}

/// An input that cannot be read.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::Error::other("on purpose")))
    }
}

#[tokio::test]
async fn an_input_that_breaks_ends_like_one_that_is_over() {
    let (output, ours) = duplex(PIPE);
    let mut house = House::new(1_000, Broken, ours).await;
    assert_eq!(house.next().await, Err(Frame::end()));
    house.say(data("bye")).await;
    house.say(Frame::end()).await;
    assert_eq!(all(output).await, "bye\n");
    house.finish().await;
}
