//! Unix sockets, several endpoints, and the options of sockets.

use serde_json::{Value, json};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn with(options: Value) -> Harness {
    Harness::with(serde_json::from_value(options).expect("valid options"))
}

/// An address that refuses connections.
async fn closed() -> SocketAddr {
    let listener = listener().await;
    listener.local_addr().expect("it listens")
}

async fn connected(harness: &mut Harness, remote: &str, host: &str) {
    let (_, frame) = harness.probe.next_but_window().await;
    let connected = BytesConnected {
        remote: remote.into(),
        host: host.into(),
        ..BytesConnected::default()
    };
    assert_eq!(frame, Frame::flush(connected));
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_carries_data_in_both_directions() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mqtt.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("it listens");
    let mut harness = with(json!({ "unix": path }));
    let remote = format!("unix:{}", path.display());
    let stream = harness.open(&remote).await;
    let (mut socket, _) = listener.accept().await.expect("the edge connects");
    connected(&mut harness, &remote, "").await;
    harness
        .probe
        .send(stream, Frame::data("there".into()))
        .await;
    let mut there = [0; 5];
    socket.read_exact(&mut there).await.expect("it is open");
    assert_eq!(&there, b"there");
    socket.write_all(b"back").await.expect("it is open");
    let back = payload_of(harness.probe.next_but_window().await.1);
    assert_eq!(back, "back");
    harness.probe.send(stream, Frame::end()).await;
    assert_eq!(socket.read(&mut there).await.expect("it is open"), 0);
    drop(socket);
    assert_eq!(harness.probe.next_but_window().await.1, Frame::end());
    harness.finish().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_missing_unix_socket_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mqtt.sock");
    let mut harness = with(json!({ "unix": path }));
    let remote = format!("unix:{}", path.display());
    let reset = outcomes::refused(&mut harness, &remote).await;
    assert_eq!(&*reset.reason, "no such file");
    assert_eq!(&*reset.remote, remote);
    harness.finish().await;
}

#[tokio::test]
async fn a_connection_goes_to_the_first_endpoint_that_accepts_it() {
    let (first, second) = (closed().await, listener().await);
    let address = second.local_addr().expect("it listens");
    let mut harness = with(json!({ "endpoints": [first.to_string(), address.to_string()] }));
    let all = format!("{first}, {address}");
    let stream = harness.open(&all).await;
    let (socket, _) = second.accept().await.expect("the edge connects");
    connected(&mut harness, &address.to_string(), "127.0.0.1").await;
    // The first one is back, and has its turn only later.
    let back = TcpListener::bind(first).await.expect("the port is free");
    let other = harness.open(&all).await;
    let (other_socket, _) = second.accept().await.expect("the edge connects");
    connected(&mut harness, &address.to_string(), "127.0.0.1").await;
    for stream in [stream, other] {
        harness.probe.send(stream, Frame::abort()).await;
    }
    drop((socket, other_socket, back));
    harness.probe.seen();
    harness.finish().await;
}

#[tokio::test]
async fn connections_return_to_an_endpoint_that_is_back() {
    let (first, second) = (closed().await, listener().await);
    let address = second.local_addr().expect("it listens");
    let endpoints = [first.to_string(), address.to_string()];
    let mut harness = with(json!({ "endpoints": endpoints, "returnAfter": 0 }));
    let all = format!("{first}, {address}");
    let one = harness.open(&all).await;
    connected(&mut harness, &address.to_string(), "127.0.0.1").await;
    let back = TcpListener::bind(first).await.expect("the port is free");
    let two = harness.open(&all).await;
    connected(&mut harness, &first.to_string(), "127.0.0.1").await;
    for stream in [one, two] {
        harness.probe.send(stream, Frame::abort()).await;
    }
    drop(back);
    harness.probe.seen();
    harness.finish().await;
}

#[tokio::test]
async fn if_no_endpoint_accepts_each_is_named_with_its_reason() {
    let (first, second) = (closed().await, closed().await);
    let mut harness = with(json!({ "endpoints": [first.to_string(), second.to_string()] }));
    let remote = format!("{first}, {second}");
    let reset = outcomes::refused(&mut harness, &remote).await;
    let expected = format!("{first}: connection refused; {second}: connection refused");
    assert_eq!(&*reset.reason, expected);
    assert_eq!(&*reset.remote, remote);
    harness.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn silent_endpoints_share_the_time_to_connect() {
    // The kernel ignores new connections while the queue of a listener is full.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let full = full.expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    full.bind(&any.into()).expect("there is a free port");
    full.listen(0).expect("it listens");
    let silent = full
        .local_addr()
        .expect("it listens")
        .as_socket()
        .expect("an address");
    let _waiting = TcpStream::connect(silent)
        .await
        .expect("the queue has room");
    let second = listener().await;
    let address = second.local_addr().expect("it listens");
    let mut harness = with(json!({
        "endpoints": [silent.to_string(), address.to_string()], "connectTimeout": 400
    }));
    let stream = harness.open(&format!("{silent}, {address}")).await;
    connected(&mut harness, &address.to_string(), "127.0.0.1").await;
    harness.probe.send(stream, Frame::abort()).await;
    harness.probe.seen();
    harness.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn dead_peers_are_found_by_keep_alive_and_user_timeout() {
    let listener = listener().await;
    let address = listener.local_addr().expect("it listens");
    for (keep_alive, expected) in [(8_000, Some(8)), (0, None)] {
        let options = json!({
            "host": "127.0.0.1", "port": address.port(), "keepAlive": keep_alive, "userTimeout": 7_000
        });
        let options: Options = serde_json::from_value(options).expect("valid options");
        let endpoints = crate::failover::Endpoints::new(&options);
        let journey = endpoints.journey(&BytesBegin::default());
        let (_, socket) = journey.connect(&options).await.expect("it listens");
        let crate::socket::Socket::Tcp(_, socket) = &socket else {
            panic!("another socket");
        };
        let socket = SockRef::from(socket.as_ref());
        assert_eq!(socket.keepalive().expect("an option"), expected.is_some());
        if let Some(seconds) = expected {
            let idle = socket.tcp_keepalive_time().expect("an option");
            assert_eq!(idle, Duration::from_secs(seconds));
            let interval = socket.tcp_keepalive_interval().expect("an option");
            assert_eq!(interval, Duration::from_secs(seconds / 4));
            assert_eq!(socket.tcp_keepalive_retries().expect("an option"), 4);
        }
        let within = socket.tcp_user_timeout().expect("an option");
        assert_eq!(within, Some(Duration::from_secs(7)));
    }
}
