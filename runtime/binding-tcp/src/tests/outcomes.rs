//! How connections begin and end.

use socket2::{Domain, Socket, Type};
use tidegate_streams::bytes_stream::BytesReset;
use tidegate_streams::{AbortEx, ResetEx};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Opens a stream that is refused, and tells what the caller is told.
async fn refused(house: &mut House, remote: &str) -> BytesReset {
    house.open(remote).await;
    let (first, second) = (house.probe.next().await.1, house.probe.next().await.1);
    let Frame::Reset(Some(told)) = first else {
        panic!("no RESET with a reason but {first:?}");
    };
    let ResetEx::Bytes(told) = *told else {
        panic!("another protocol's reason: {told:?}");
    };
    let same = AbortEx::Bytes(told.clone());
    assert_eq!(second, Frame::Abort(Some(Box::new(same))));
    told
}

#[tokio::test]
async fn a_refused_connection_is_told_with_host_and_port() {
    let listener = listener().await;
    let address = listener.local_addr().expect("it listens");
    drop(listener);
    let mut house = House::towards(address);
    let told = refused(&mut house, &address.to_string()).await;
    assert_eq!(told.remote.to_string(), address.to_string());
    assert_eq!(told.reason.to_string(), "connection refused");
    assert!(!told.connected);
    let report = house.engine.report().await;
    assert_eq!(report.labelled("", "tcp.client.connects", "failed"), 1);
    assert_eq!(report.labelled("", "tcp.client.connects", "connected"), 0);
    house.finish().await;
}

#[tokio::test]
async fn a_name_without_an_address_is_told() {
    // Too long for any resolver to ask for.
    let name = "x".repeat(300);
    let mut house = House::with(options(&name, 1883));
    let told = refused(&mut house, &format!("{name}:1883")).await;
    assert_eq!(told.remote.to_string(), format!("{name}:1883"));
    assert!(!told.reason.is_empty());
    house.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_peer_that_does_not_answer_is_given_up() {
    // The kernel ignores whoever wants to connect while a listener's queue is full.
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
    let mut house = House::with(slow);
    let told = refused(&mut house, &address.to_string()).await;
    assert_eq!(told.reason.to_string(), "no answer within 50 ms");
    house.finish().await;
}

#[tokio::test]
async fn a_caller_that_leaves_while_connecting_leaves_nothing() {
    let listener = listener().await;
    let mut house = House::towards(listener.local_addr().expect("it listens"));
    for _ in 0..20 {
        let stream = house.probe.open(BytesBegin::default()).await;
        let leave = house.probe.turn(move |cx| cx.terminate(stream, None, None));
        leave.await;
    }
    house.probe.seen();
    house.finish().await;
}

#[tokio::test]
async fn what_is_said_before_the_connection_is_up_is_written_then() {
    let listener = listener().await;
    let mut house = House::towards(listener.local_addr().expect("it listens"));
    let address = listener.local_addr().expect("it listens").to_string();
    let stream = house.open(&address).await;
    house.probe.send(stream, Frame::data("early".into())).await;
    house.probe.send(stream, Frame::end()).await;
    let (mut socket, _) = listener.accept().await.expect("the edge connects");
    let mut got = String::new();
    socket.read_to_string(&mut got).await.expect("it is open");
    assert_eq!(got, "early");
    drop(socket);
    assert_eq!(house.probe.next_but_window().await.1, Frame::end());
    house.finish().await;
}

#[tokio::test]
async fn what_a_peer_says_before_it_resets_is_read_though_a_write_fails() {
    let listener = listener().await;
    let mut house = House::towards(listener.local_addr().expect("it listens"));
    let (stream, socket) = house.connect(&listener).await;
    let socket = socket.into_std().expect("it is open");
    let last_word = house.probe.turn(move |cx| {
        use std::io::Write as _;
        // All of it is there before the edge's task runs again, which writes before it reads.
        (&socket).write_all(b"farewell").expect("it is open");
        let now = Some(Duration::ZERO);
        SockRef::from(&socket).set_linger(now).expect("it is open");
        drop(socket);
        cx.send(stream, Frame::data("more".into()));
    });
    last_word.await;
    let payload = payload_of(house.probe.next_but_window().await.1);
    assert_eq!(payload, "farewell");
    let end = house.probe.next_but_window().await.1;
    assert!(matches!(end, Frame::Reset(Some(_))), "{end:?}");
    house.finish().await;
}

#[tokio::test]
async fn a_last_word_is_written_though_its_stream_is_given_up_at_once() {
    let listener = listener().await;
    let mut house = House::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = house.connect(&listener).await;
    let leave = house.probe.turn(move |cx| {
        cx.send(stream, Frame::data("farewell".into()));
        cx.end(stream, Frame::end());
        cx.terminate(stream, None, None);
    });
    leave.await;
    let mut got = String::new();
    socket.read_to_string(&mut got).await.expect("it is open");
    assert_eq!(got, "farewell");
    house.finish().await;
}

#[tokio::test]
async fn nothing_is_delayed() {
    let listener = listener().await;
    let mut house = House::towards(listener.local_addr().expect("it listens"));
    let (stream, _socket) = house.connect(&listener).await;
    let kept = Kept {
        connections: 1,
        undelayed: 1,
    };
    assert_eq!(house.kept().await, kept);
    let leave = house.probe.turn(move |cx| cx.terminate(stream, None, None));
    leave.await;
    house.finish().await;
}

#[tokio::test]
async fn a_peer_that_closes_ends_the_reply_and_may_still_be_written_to() {
    let listener = listener().await;
    let mut house = House::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = house.connect(&listener).await;
    socket.write_all(b"last words").await.expect("it is open");
    socket.shutdown().await.expect("it is open");
    let payload = payload_of(house.probe.next_but_window().await.1);
    assert_eq!(payload, "last words");
    assert_eq!(house.probe.next_but_window().await.1, Frame::end());

    house.probe.send(stream, Frame::data("answer".into())).await;
    house.probe.send(stream, Frame::end()).await;
    let mut got = String::new();
    socket.read_to_string(&mut got).await.expect("it is open");
    assert_eq!(got, "answer");
    let report = house.engine.report().await;
    assert_eq!(report.labelled("", "tcp.client.bytes", "sent"), 6);
    // Nothing is kept of a connection that both sides have closed.
    house.finish().await;
}

#[tokio::test]
async fn a_caller_that_ends_closes_one_direction() {
    let listener = listener().await;
    let mut house = House::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = house.connect(&listener).await;
    house.probe.send(stream, Frame::end()).await;
    assert_eq!(socket.read(&mut [0]).await.expect("it is open"), 0);
    socket.write_all(b"still").await.expect("it is open");
    assert_eq!(payload_of(house.probe.next_but_window().await.1), "still");
    drop(socket);
    assert_eq!(house.probe.next_but_window().await.1, Frame::end());
    let report = house.engine.report().await;
    assert_eq!(report.labelled("", "tcp.client.connects", "connected"), 1);
    assert_eq!(report.labelled("", "tcp.client.bytes", "received"), 5);
    house.finish().await;
}

#[tokio::test]
async fn a_peer_that_resets_aborts_the_reply_with_the_reason() {
    let listener = listener().await;
    let address = listener.local_addr().expect("it listens");
    let mut house = House::towards(address);
    let (_, socket) = house.connect(&listener).await;
    let now = Some(Duration::ZERO);
    SockRef::from(&socket).set_linger(now).expect("it is open");
    drop(socket);
    let told = BytesReset {
        remote: address.to_string().into(),
        reason: "the connection was reset".into(),
        connected: true,
    };
    let frames = [
        house.probe.next_but_window().await.1,
        house.probe.next_but_window().await.1,
    ];
    let both = [Frame::reset_with(told.clone()), Frame::abort_with(told)];
    assert_eq!(frames, both);
    house.finish().await;
}

#[tokio::test]
async fn a_caller_that_aborts_closes_the_socket() {
    let listener = listener().await;
    let mut house = House::towards(listener.local_addr().expect("it listens"));
    for reset_only in [false, true] {
        let (stream, mut socket) = house.connect(&listener).await;
        let leave = house.probe.turn(move |cx| {
            if reset_only {
                cx.reset(stream, None);
            } else {
                cx.abort(stream, None);
            }
        });
        leave.await;
        let read = socket.read(&mut [0]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        let leave = house.probe.turn(move |cx| cx.terminate(stream, None, None));
        leave.await;
        house.probe.seen();
    }
    house.finish().await;
}
