//! The edge on in-memory pipes, with a probe in place of the engine.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_driver::Engine;
use tidegate_driver::testing::{Probe, probe};
use tidegate_engine::Limits;
use tokio::io::{AsyncReadExt as _, DuplexStream, ReadBuf, duplex};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Capacity of a pipe, in bytes.
const PIPE: usize = 1024;

/// Initial credit of the callee, in bytes.
const CALLEE_WINDOW: u32 = 100;

struct Harness {
    engine: Engine,
    probe: Probe,
    stream: StreamId,
}

impl Harness {
    /// An engine that serves `input` and `output`, with its stream open.
    async fn new<R, W>(max_line_size: usize, input: R, output: W) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        Self::of(None, max_line_size, input, output).await
    }

    /// The same for a client with an identity.
    async fn of<R, W>(
        identity: Option<Arc<Identity>>,
        max_line_size: usize,
        input: R,
        output: W,
    ) -> Self
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
            let options = Options {
                max_line_size,
                ..Options::default()
            };
            let client = Client {
                exit,
                identity: identity.clone(),
            };
            attach_to(assembly, &options, client, input, output);
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

    /// The next message, or another frame; acknowledges it.
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

    async fn send(&self, frame: Frame) {
        self.probe.send(self.stream, frame).await;
    }

    /// Waits for the stop request, and asserts that nothing remains.
    async fn finish(self) {
        let stop = tokio::time::timeout(TIMEOUT, self.engine.stop_requested()).await;
        stop.expect("a stop is requested");
        let counters = self.engine.counters().await[0];
        assert_eq!((counters.violations, counters.faults), (0, 0));
        assert_eq!(self.engine.shutdown(TIMEOUT).await.streams_cut, 0);
    }
}

/// Writes everything and closes.
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
    let read = tokio::time::timeout(TIMEOUT, pipe.read_to_string(&mut text)).await;
    read.expect("the output ends in time").expect("a text");
    text
}

#[tokio::test]
async fn each_line_is_a_message_and_each_message_a_line() {
    let (input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(PIPE);
    let mut harness = Harness::new(1_000, theirs, ours).await;
    let written = feed(input, b"{\"a\":1}\n\n{\"b\":2}\r\n \t\r\nlast".to_vec());
    for expected in ["{\"a\":1}", "{\"b\":2}", "last"] {
        assert_eq!(
            harness.next().await.expect("a message"),
            expected.as_bytes()
        );
    }
    assert_eq!(harness.next().await, Err(Frame::end()));
    written.await.expect("all is written");

    harness.send(data("one")).await;
    harness
        .send(Frame::part(DataFlags::INIT, "tw".into()))
        .await;
    harness
        .send(Frame::part(DataFlags::MIDDLE, "".into()))
        .await;
    harness.send(Frame::part(DataFlags::FIN, "o".into())).await;
    harness.send(data("{\n  \"pretty\":\r\n  3\n}")).await;
    harness.send(Frame::flush(LineOversized::default())).await;
    harness.send(Frame::end()).await;
    assert_eq!(all(output).await, "one\ntwo\n{   \"pretty\":    3 }\n");
    let report = harness.engine.report().await;
    let lines = |kind| report.labelled("", "stdio.server.lines", kind);
    assert_eq!((lines("received"), lines("sent")), (3, 3));
    assert_eq!(lines("oversized"), 0);
    harness.finish().await;
}

#[tokio::test]
async fn invalid_utf_8_is_passed_on_unchanged() {
    let (input, theirs) = duplex(PIPE);
    let (_output, ours) = duplex(PIPE);
    let mut harness = Harness::new(1_000, theirs, ours).await;
    feed(input, b"\xff\xfe{}\0\n".to_vec());
    assert_eq!(harness.next().await.expect("a message"), b"\xff\xfe{}\0");
    assert_eq!(harness.next().await, Err(Frame::end()));
    harness.send(Frame::end()).await;
    harness.finish().await;
}

#[tokio::test]
async fn a_line_of_100_megabytes_is_skipped_and_reported() {
    const LENGTH: u64 = 100_000_000;
    const LIMIT: usize = 64 * 1024;
    let (mut input, theirs) = duplex(LIMIT);
    let (_output, ours) = duplex(PIPE);
    let mut harness = Harness::new(LIMIT, theirs, ours).await;
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
    assert_eq!(harness.next().await, Err(Frame::flush(told)));
    assert_eq!(harness.next().await.expect("a message"), b"next");
    written.await.expect("all is written");
    assert_eq!(harness.next().await, Err(Frame::end()));
    harness.send(Frame::end()).await;
    harness.finish().await;
}

#[tokio::test]
async fn input_is_not_read_without_credit() {
    let (input, theirs) = duplex(PIPE);
    let (_output, ours) = duplex(PIPE);
    let mut harness = Harness::new(1_000, theirs, ours).await;
    let line = [&[b'x'; 200][..], b"\n"].concat();
    let written = feed(input, line.repeat(10_000));
    // The first part uses all of the credit.
    let (at, frame) = harness.probe.next().await;
    let Frame::Data(first) = frame else {
        panic!("no DATA but {frame:?}");
    };
    assert_eq!(first.payload.len(), CALLEE_WINDOW as usize);
    let over = harness.probe.turn(move |cx| cx.is_over(at.stream)).await;
    assert!(!over && harness.probe.seen().is_empty());
    assert!(
        !written.is_finished(),
        "most of it waits in front of the edge"
    );

    let stream = at.stream;
    let taken = first.payload.len();
    let taken = harness.probe.turn(move |cx| cx.acknowledge(stream, taken));
    taken.await;
    let rest = harness.next().await.expect("the rest of the first");
    assert_eq!(rest.len(), 100);
    for _ in 1..10_000 {
        assert_eq!(harness.next().await.expect("a message").len(), 200);
    }
    assert_eq!(harness.next().await, Err(Frame::end()));
    harness.send(Frame::end()).await;
    harness.finish().await;
}

#[tokio::test]
async fn output_for_a_client_that_does_not_read_is_bounded() {
    let (input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(PIPE);
    let mut harness = Harness::new(1_000, theirs, ours).await;
    let stream = harness.stream;
    let mut total = 0;
    loop {
        let send = harness.probe.turn(move |cx| {
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
    // Its requests are still read.
    let fed = feed(input, b"hello\n".to_vec());
    assert_eq!(harness.next().await.expect("a message"), b"hello");
    fed.await.expect("all is written");
    harness.send(Frame::end()).await;
    let text = all(output).await;
    assert_eq!(text.bytes().filter(|byte| *byte == b'x').count(), total);
    harness.finish().await;
}

#[tokio::test]
async fn closing_the_output_stops_the_engine() {
    let (_input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(PIPE);
    let mut harness = Harness::new(1_000, theirs, ours).await;
    drop(output);
    harness.send(data("nobody reads this")).await;
    let frames = [
        harness.next().await.expect_err("no message"),
        harness.next().await.expect_err("no message"),
    ];
    assert_eq!(frames, [Frame::reset(), Frame::abort()]);
    harness.finish().await;
}

#[tokio::test]
async fn a_reset_stops_the_engine_after_the_last_line() {
    let (_input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(PIPE);
    let harness = Harness::new(1_000, theirs, ours).await;
    let stream = harness.stream;
    let refuse = harness.probe.turn(move |cx| {
        cx.send_whole(stream, "last".into());
        cx.terminate(stream, None, None);
    });
    refuse.await;
    assert_eq!(all(output).await, "last\n");
    harness.finish().await;
}

#[tokio::test]
async fn a_stop_ends_the_input_and_waits_for_the_output() {
    let (_input, theirs) = duplex(PIPE);
    let (output, ours) = duplex(1);
    let mut harness = Harness::new(1_000, theirs, ours).await;
    let stopping = tokio::spawn(harness.engine.shutdown(TIMEOUT));
    let end = harness.probe.next_but_window().await.1;
    assert_eq!(end, Frame::end(), "as if standard input had ended");
    harness
        .probe
        .send(harness.stream, data("an answer that was under way"))
        .await;
    harness.probe.send(harness.stream, Frame::end()).await;
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

/// An input that fails.
struct FailingInput;

impl AsyncRead for FailingInput {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::Error::other("on purpose")))
    }
}

#[tokio::test]
async fn a_failing_input_ends_the_stream() {
    let (output, ours) = duplex(PIPE);
    let mut harness = Harness::new(1_000, FailingInput, ours).await;
    assert_eq!(harness.next().await, Err(Frame::end()));
    harness.send(data("bye")).await;
    harness.send(Frame::end()).await;
    assert_eq!(all(output).await, "bye\n");
    harness.finish().await;
}

#[tokio::test]
async fn the_stream_has_the_identity_of_the_client_and_ends_when_it_expires() {
    let identity = |expires| {
        let identity = Identity {
            subject: "alice".into(),
            expires,
            ..Identity::default()
        };
        Some(Arc::new(identity))
    };
    let (input, theirs) = duplex(PIPE);
    let (_output, ours) = duplex(PIPE);
    let mut harness = Harness::of(identity(u64::MAX), 1_000, theirs, ours).await;
    let stream = harness.stream;
    let call = harness.probe.turn(move |cx| cx.call_of(stream).cloned());
    let call = call.await.expect("the stream is open");
    assert_eq!(call.identity, identity(u64::MAX));
    feed(input, b"{}\n".to_vec());
    assert_eq!(harness.next().await.expect("a message"), b"{}");
    assert_eq!(harness.next().await, Err(Frame::end()));
    harness.send(Frame::end()).await;
    harness.finish().await;

    // Its input stays open.
    let (_input, theirs) = duplex(PIPE);
    let (_output, ours) = duplex(PIPE);
    let mut harness = Harness::of(identity(1), 1_000, theirs, ours).await;
    assert_eq!(harness.next().await, Err(Frame::end()));
    harness.send(Frame::end()).await;
    harness.finish().await;
}
