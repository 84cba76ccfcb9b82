//! Data in both directions, and backpressure.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const MIB: usize = 1024 * 1024;

/// Echoes everything until the end of the stream.
async fn echo(mut socket: TcpStream) {
    let (mut from, mut to) = socket.split();
    tokio::io::copy(&mut from, &mut to)
        .await
        .expect("the connection holds");
    to.shutdown().await.expect("the connection holds");
}

/// Sends as much as the credit allows. Returns the rest.
async fn send_some(probe: &Probe, stream: StreamId, mut left: Bytes) -> Bytes {
    probe
        .turn(move |cx| {
            let now = left.split_to(cx.credit(stream).min(left.len()));
            if !now.is_empty() {
                cx.send_whole(stream, now);
            }
            left
        })
        .await
}

#[tokio::test]
async fn eight_mebibytes_are_echoed_unchanged() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, socket) = harness.connect(&listener).await;
    let peer = tokio::spawn(echo(socket));
    let sent = pattern(8 * MIB);
    let mut left = sent.clone();
    let mut back = Vec::new();
    let mut ended = false;
    loop {
        left = send_some(&harness.probe, stream, left).await;
        if left.is_empty() && !ended {
            harness.probe.send(stream, Frame::end()).await;
            ended = true;
        }
        match harness.probe.next().await.1 {
            Frame::Data(data) => {
                back.extend_from_slice(&data.payload);
                let taken = data.payload.len();
                let taken = harness.probe.turn(move |cx| cx.acknowledge(stream, taken));
                taken.await;
            }
            Frame::Window(_) => {}
            frame => {
                assert_eq!(frame, Frame::end());
                break;
            }
        }
    }
    assert!(sent == back, "{} of {} bytes", back.len(), sent.len());
    peer.await.expect("the peer is done");
    harness.finish().await;
}

#[tokio::test]
async fn backpressure_of_the_caller_reaches_the_peer() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = harness.connect(&listener).await;
    let sent = pattern(16 * MIB);
    let all = sent.clone();
    let peer = tokio::spawn(async move {
        socket.write_all(&all).await.expect("the connection holds");
    });
    let mut got = Vec::new();
    while got.len() < CALLER_WINDOW as usize {
        got.extend_from_slice(&payload_of(harness.probe.next().await.1));
    }
    assert_eq!(got.len(), CALLER_WINDOW as usize);
    // Another connection is served meanwhile; the first one is still blocked.
    let (other, mut socket) = harness.connect(&listener).await;
    socket.write_all(b"hello").await.expect("it is open");
    let (at, frame) = harness.probe.next_but_window().await;
    assert_eq!(
        (at.stream, payload_of(frame)),
        (other, Bytes::from("hello"))
    );
    assert!(!peer.is_finished(), "the peer still has bytes to send");

    let mut unread = VecDeque::from([got.len()]);
    while got.len() < sent.len() {
        if let Some(taken) = unread.pop_front() {
            let taken = harness.probe.turn(move |cx| cx.acknowledge(stream, taken));
            taken.await;
        }
        let payload = payload_of(harness.probe.next_but_window().await.1);
        unread.push_back(payload.len());
        got.extend_from_slice(&payload);
    }
    assert!(sent == got);
    peer.await.expect("the peer is done");
    for stream in [stream, other] {
        let leave = harness
            .probe
            .turn(move |cx| cx.terminate(stream, None, None));
        leave.await;
    }
    harness.finish().await;
}

#[tokio::test]
async fn a_peer_that_sends_without_a_pause_leaves_the_others_their_turns() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let mut peers = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..2 {
        let (stream, mut socket) = harness.connect(&listener).await;
        streams.push(stream);
        peers.push(tokio::spawn(async move {
            let all = pattern(2 * MIB);
            socket.write_all(&all).await.expect("the connection holds");
            socket
        }));
        // The credit is used up, and the rest waits in the buffers of the kernel.
        let mut got = 0;
        while got < CALLER_WINDOW as usize {
            got += payload_of(harness.probe.next_but_window().await.1).len();
        }
    }
    let both = streams.clone();
    let taken = harness.probe.turn(move |cx| {
        for stream in both {
            cx.acknowledge(stream, CALLER_WINDOW as usize);
        }
    });
    taken.await;
    let (mut got, mut order) = (0, Vec::new());
    while got < 2 * MIB {
        let (at, frame) = harness.probe.next_but_window().await;
        got += payload_of(frame).len();
        order.push(at.stream);
    }
    let last = order.iter().rposition(|it| *it == streams[0]);
    let first = order.iter().position(|it| *it == streams[1]);
    assert!(first < last, "one after the other: {order:?}");
    let last = order.iter().rposition(|it| *it == streams[1]);
    let first = order.iter().position(|it| *it == streams[0]);
    assert!(first < last, "one after the other: {order:?}");
    for stream in streams {
        let leave = harness
            .probe
            .turn(move |cx| cx.terminate(stream, None, None));
        leave.await;
    }
    for peer in peers {
        peer.await.expect("the peer is done");
    }
    harness.finish().await;
}

#[tokio::test]
async fn backpressure_of_the_peer_reaches_the_caller() {
    let listener = listener().await;
    SockRef::from(&listener)
        .set_recv_buffer_size(64 * 1024)
        .expect("the peer may have a small buffer");
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, mut silent) = harness.connect(&listener).await;
    let (other, socket) = harness.connect(&listener).await;
    let peer = tokio::spawn(echo(socket));
    let sent = pattern(64 * MIB);
    let mut left = sent.clone();
    loop {
        let before = left.len();
        left = send_some(&harness.probe, stream, left).await;
        harness.probe.send(other, Frame::data("ping".into())).await;
        let (at, frame) = harness.probe.next_but_window().await;
        assert_eq!((at.stream, payload_of(frame)), (other, Bytes::from("ping")));
        let idle = harness.probe.turn(move |cx| cx.credit(stream) == 0).await;
        if idle && before == left.len() {
            break;
        }
    }
    assert!(left.len() > 32 * MIB, "the kernel's buffers are smaller");
    harness.probe.seen();

    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        silent
            .read_to_end(&mut got)
            .await
            .expect("the connection holds");
        got
    });
    while !left.is_empty() {
        left = send_some(&harness.probe, stream, left).await;
        if !left.is_empty() {
            harness.probe.next().await;
        }
    }
    harness.probe.send(stream, Frame::end()).await;
    harness.probe.send(other, Frame::end()).await;
    assert!(reading.await.expect("the peer reads") == sent);
    peer.await.expect("the peer is done");
    harness.finish().await;
}

#[tokio::test]
async fn many_small_parts_of_one_turn_arrive_in_order() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = harness.connect(&listener).await;
    let sent = pattern(1_000);
    let parts = sent.clone();
    let sending = harness.probe.turn(move |cx| {
        for at in 0..parts.len() {
            cx.send_whole(stream, parts.slice(at..=at));
        }
        cx.end(stream, Frame::end());
    });
    sending.await;
    let mut got = Vec::new();
    socket.read_to_end(&mut got).await.expect("it is open");
    assert_eq!(got, sent);
    drop(socket);
    assert_eq!(harness.probe.next_but_window().await.1, Frame::end());
    harness.finish().await;
}

#[tokio::test]
async fn small_reads_share_their_memory() {
    let listener = listener().await;
    let mut harness = Harness::towards(listener.local_addr().expect("it listens"));
    let (stream, mut socket) = harness.connect(&listener).await;
    let mut kept: Vec<Bytes> = Vec::new();
    for _ in 0..200 {
        socket
            .write_all(b"a small message")
            .await
            .expect("it is open");
        kept.push(payload_of(harness.probe.next().await.1));
    }
    // All of them are kept, contiguously in few blocks.
    let places: Vec<usize> = kept.iter().map(|it| it.as_ptr() as usize).collect();
    let blocks = places
        .windows(2)
        .filter(|two| two[1] != two[0] + 15)
        .count();
    assert!(blocks < 4, "{blocks} blocks for 3 kB");
    let leave = harness
        .probe
        .turn(move |cx| cx.terminate(stream, None, None));
    leave.await;
    harness.finish().await;
}
