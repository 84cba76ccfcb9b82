//! How connections begin and end.

use socket2::{Domain, Socket, Type};
use tidegate_streams::bytes_stream::BytesReset;
use tidegate_streams::{AbortEx, ResetEx};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Opens a stream that is refused. Returns the reason.
pub(super) async fn refused(harness: &mut Harness, remote: &str) -> BytesReset {
    harness.open(remote).await;
    let (first, second) = (harness.probe.next().await.1, harness.probe.next().await.1);
    let Frame::Reset(Some(reset)) = first else {
        panic!("no RESET with a reason but {first:?}");
    };
    let ResetEx::Bytes(reset) = *reset else {
        panic!("another protocol's reason: {reset:?}");
    };
    let same = AbortEx::Bytes(reset.clone());
    assert_eq!(second, Frame::Abort(Some(Box::new(same))));
    reset
}

#[tokio::test]
async fn a_refused_connection_is_reported_with_host_and_port() {
    let listener = listener().await;
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let mut harness = Harness::towards(address);
    let reset = refused(&mut harness, &address.to_string()).await;
    assert_eq!(reset.remote.to_string(), address.to_string());
    assert_eq!(reset.reason.to_string(), "connection refused");
    assert!(!reset.connected);
    let report = harness.engine.report().await;
    assert_eq!(report.labelled("", "tcp.client.connects", "failed"), 1);
    assert_eq!(report.labelled("", "tcp.client.connects", "connected"), 0);
    harness.finish().await;
}

#[tokio::test]
async fn an_unresolvable_name_is_reported() {
    // Too long for any resolver.
    let name = "x".repeat(300);
    let mut harness = Harness::with(options(&name, 1883));
    let reset = refused(&mut harness, &format!("{name}:1883")).await;
    assert_eq!(reset.remote.to_string(), format!("{name}:1883"));
    assert!(!reset.reason.is_empty());
    harness.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connect_timeout_is_reported() {
    // The kernel ignores new connections while the queue of a listener is full.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    full.bind(&any.into()).expect("there is a free port");
    full.listen(0).expect("it listens");
    let address = full.local_addr().expect("it listens");
    let address = address.as_socket().expect("an address of IPv4");
    let _waits = TcpStream::connect(address)
        .await
        .expect("the queue has one place");

    let mut slow = options("127.0.0.1", address.port());
    slow.connect_timeout = 50;
    let mut harness = Harness::with(slow);
    let reset = refused(&mut harness, &address.to_string()).await;
    assert_eq!(
        reset.reason.to_string(),
        "no answer within 50 ms (connectTimeout)"
    );
    harness.finish().await;
}

#[tokio::test]
async fn a_stream_cancelled_while_connecting_is_removed() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    for _ in 0..20 {
        let stream = harness.probe.open(BytesBegin::default()).await;
        let leave = harness
            .probe
            .turn(move |cx| cx.terminate(stream, None, None));
        leave.await;
    }
    harness.probe.seen();
    harness.finish().await;
}

#[tokio::test]
async fn data_sent_while_connecting_is_written_once_connected() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let address = listener.local_addr().expect("it listens").to_string();
    let stream = harness.open(&address).await;
    harness
        .probe
        .send(stream, Frame::data("early".into()))
        .await;
    harness.probe.send(stream, Frame::end()).await;
    let (mut socket, _) = listener.accept().await.expect("the edge connects");
    let mut got = String::new();
    socket.read_to_string(&mut got).await.expect("it is open");
    assert_eq!(got, "early");
    harness.connected(&listener).await;
    drop(socket);
    assert_eq!(harness.probe.next_but_window().await.1, Frame::end());
    harness.finish().await;
}

#[tokio::test]
async fn data_received_before_a_reset_is_delivered_although_a_write_fails() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, socket) = harness.connect(&listener).await;
    let socket = socket.into_std().expect("it is open");
    let last_word = harness.probe.turn(move |cx| {
        use std::io::Write as _;
        // All of it is queued before the edge's task runs again, which writes before it reads.
        (&socket).write_all(b"farewell").expect("it is open");
        let now = Some(Duration::ZERO);
        SockRef::from(&socket).set_linger(now).expect("it is open");
        drop(socket);
        cx.send(stream, Frame::data("more".into()));
    });
    last_word.await;
    let payload = payload_of(harness.probe.next_but_window().await.1);
    assert_eq!(payload, "farewell");
    let end = harness.probe.next_but_window().await.1;
    assert!(matches!(end, Frame::Reset(Some(_))), "{end:?}");
    harness.finish().await;
}

#[tokio::test]
async fn data_sent_before_end_is_written_although_the_stream_is_aborted_at_once() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = harness.connect(&listener).await;
    let leave = harness.probe.turn(move |cx| {
        cx.send(stream, Frame::data("farewell".into()));
        cx.end(stream, Frame::end());
        cx.terminate(stream, None, None);
    });
    leave.await;
    let mut got = String::new();
    socket.read_to_string(&mut got).await.expect("it is open");
    assert_eq!(got, "farewell");
    harness.finish().await;
}

#[tokio::test]
async fn nagle_and_delayed_acknowledgements_are_off() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, _socket) = harness.connect(&listener).await;
    let kept = Kept {
        connections: 1,
        undelayed: 1,
    };
    assert_eq!(harness.kept().await, kept);
    let leave = harness
        .probe
        .turn(move |cx| cx.terminate(stream, None, None));
    leave.await;
    harness.finish().await;
}

#[tokio::test]
async fn a_peer_that_closes_ends_the_reply_and_may_still_be_written_to() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = harness.connect(&listener).await;
    socket.write_all(b"last words").await.expect("it is open");
    socket.shutdown().await.expect("it is open");
    let payload = payload_of(harness.probe.next_but_window().await.1);
    assert_eq!(payload, "last words");
    assert_eq!(harness.probe.next_but_window().await.1, Frame::end());

    harness
        .probe
        .send(stream, Frame::data("answer".into()))
        .await;
    harness.probe.send(stream, Frame::end()).await;
    let mut got = String::new();
    socket.read_to_string(&mut got).await.expect("it is open");
    assert_eq!(got, "answer");
    let report = harness.engine.report().await;
    assert_eq!(report.labelled("", "tcp.client.bytes", "sent"), 6);
    // A connection that both sides have closed is removed.
    harness.finish().await;
}

#[tokio::test]
async fn a_caller_that_ends_closes_one_direction() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = harness.connect(&listener).await;
    harness.probe.send(stream, Frame::end()).await;
    assert_eq!(socket.read(&mut [0]).await.expect("it is open"), 0);
    socket.write_all(b"still").await.expect("it is open");
    assert_eq!(payload_of(harness.probe.next_but_window().await.1), "still");
    drop(socket);
    assert_eq!(harness.probe.next_but_window().await.1, Frame::end());
    let report = harness.engine.report().await;
    assert_eq!(report.labelled("", "tcp.client.connects", "connected"), 1);
    assert_eq!(report.labelled("", "tcp.client.bytes", "received"), 5);
    harness.finish().await;
}

#[tokio::test]
async fn a_peer_that_resets_aborts_the_reply_with_the_reason() {
    let listener = listener().await;
    let address = listener.local_addr().expect("it listens");
    let mut harness = Harness::towards(address);
    let (_, socket) = harness.connect(&listener).await;
    let now = Some(Duration::ZERO);
    SockRef::from(&socket).set_linger(now).expect("it is open");
    drop(socket);
    let reset = BytesReset {
        remote: address.to_string().into(),
        reason: "connection reset".into(),
        connected: true,
        ..BytesReset::default()
    };
    let frames = [
        harness.probe.next_but_window().await.1,
        harness.probe.next_but_window().await.1,
    ];
    let both = [Frame::reset_with(reset.clone()), Frame::abort_with(reset)];
    assert_eq!(frames, both);
    harness.finish().await;
}

#[tokio::test]
async fn a_caller_that_aborts_closes_the_socket() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    for reset_only in [false, true] {
        let (stream, mut socket) = harness.connect(&listener).await;
        let leave = harness.probe.turn(move |cx| {
            if reset_only {
                cx.reset(stream, None);
            } else {
                cx.abort(stream, None);
            }
        });
        leave.await;
        let read = socket.read(&mut [0]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        let leave = harness
            .probe
            .turn(move |cx| cx.terminate(stream, None, None));
        leave.await;
        harness.probe.seen();
    }
    harness.finish().await;
}
