//! Streamed responses, and clients that disconnect or do not read.

use super::*;

/// Opens an event stream whose head the client has received.
async fn events(harness: &mut Harness, client: &mut Client) -> StreamId {
    client.ask("GET", "/mcp").await;
    let stream = harness.request().await.stream;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    harness.probe().send(stream, head).await;
    let head = client.head().await;
    assert_eq!(head.status, 200);
    assert!(
        head.head.contains("transfer-encoding: chunked"),
        "{}",
        head.head
    );
    stream
}

#[tokio::test]
async fn each_piece_is_sent_at_once() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    let stream = events(&mut harness, &mut client).await;
    for piece in ["data: 1\n\n", "data: 2\n\n", ": ping\n\n"] {
        harness
            .probe()
            .send(stream, Frame::data(piece.into()))
            .await;
        assert_eq!(client.chunk().await, piece);
    }
    harness.probe().send(stream, Frame::end()).await;
    assert_eq!(client.chunk().await, "");
    // The connection stays open.
    client.post("next").await;
    let request = harness.request().await;
    harness.answer(request.stream, "answer").await;
    assert_eq!(client.response().await.body, "answer");
    harness.finish().await;
}

#[tokio::test]
async fn a_disconnect_while_waiting_aborts_the_stream() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    client.post("hello").await;
    let stream = harness.request().await.stream;
    drop(client);
    let (at, frame) = harness.probe().next_but_window().await;
    assert_eq!(at.stream, stream);
    assert!(
        matches!(frame, Frame::Reset(None)),
        "no reply is wanted: {frame:?}"
    );
    harness.finish().await;
}

#[tokio::test]
async fn a_disconnect_from_an_event_stream_resets_it() {
    let mut harness = Harness::new();
    let mut client = harness.client().await;
    let stream = events(&mut harness, &mut client).await;
    drop(client);
    let (at, frame) = harness.probe().next_but_window().await;
    assert_eq!((at.stream, frame), (stream, Frame::reset()));
    harness.finish().await;
}

#[tokio::test]
async fn a_disconnect_before_the_body_is_consumed_aborts_it() {
    let mut harness = Harness::with(options(), Limits::default(), 1, 10);
    let mut client = harness.client().await;
    client.post("more than ten bytes").await;
    let (_, begin) = harness.probe().next_but_window().await;
    assert!(matches!(begin, Frame::Begin(_)));
    let (_, part) = harness.probe().next_but_window().await;
    assert!(matches!(part, Frame::Data(_)));
    drop(client);
    let frames = [
        harness.probe().next_but_window().await.1,
        harness.probe().next_but_window().await.1,
    ];
    assert_eq!(frames, [Frame::reset(), Frame::abort()]);
    harness.finish().await;
}

#[tokio::test]
async fn an_aborted_response_is_incomplete_for_the_client() {
    let mut harness = Harness::new();
    for length in [-1, 100] {
        let mut client = harness.client().await;
        client.ask("GET", "/mcp").await;
        let stream = harness.request().await.stream;
        let head = Frame::begin(head_of(StatusCode::OK, length));
        harness.probe().send(stream, head).await;
        harness
            .probe()
            .send(stream, Frame::data("part".into()))
            .await;
        client.head().await;
        harness
            .probe()
            .turn(move |cx| cx.terminate(stream, None, None))
            .await;
        let rest = client.rest().await;
        assert!(rest.len() < 100 && !rest.ends_with(b"0\r\n\r\n"));
    }
    harness.serves().await;
    harness.finish().await;
}

#[tokio::test]
async fn a_response_may_follow_a_reset_of_the_body() {
    let mut harness = Harness::with(options(), Limits::default(), 1, 10);
    let mut client = harness.client().await;
    client.post("more than ten bytes").await;
    let (at, _) = harness.probe().next_but_window().await;
    let stream = at.stream;
    let answer = harness.probe().turn(move |cx| {
        cx.send(stream, Frame::begin(head_of(StatusCode::BAD_REQUEST, 4)));
        cx.reset(stream, None);
        cx.send_whole(stream, "well".into());
        cx.end(stream, Frame::end());
    });
    answer.await;
    let response = client.response().await;
    assert_eq!((response.status, response.body.as_str()), (400, "well"));
    harness.probe().seen();
    harness.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_blocks_only_its_own_stream() {
    const PIECE: usize = 16 * 1024;
    let mut harness = Harness::new();
    let mut client = Client::with_small_buffer(harness.address).await;
    let stream = events(&mut harness, &mut client).await;
    let mut pieces = 0;
    loop {
        let send = harness.probe().turn(move |cx| {
            let mut count = 0;
            while cx.credit(stream) >= PIECE {
                cx.send_whole(stream, Bytes::from(vec![b'x'; PIECE]));
                count += 1;
            }
            count
        });
        let count = send.await;
        pieces += count;
        // Another client is served each time.
        harness.serves().await;
        let starved = harness.probe().turn(move |cx| cx.credit(stream) < PIECE);
        if count == 0 && starved.await {
            break;
        }
        assert!(
            pieces * PIECE < 64 << 20,
            "a client that does not read gets no end of it"
        );
    }
    harness.probe().seen();
    let end = harness.probe().turn(move |cx| cx.end(stream, Frame::end()));
    end.await;
    let mut got = 0;
    loop {
        let chunk = client.chunk().await;
        if chunk.is_empty() {
            break;
        }
        got += chunk.len();
    }
    assert_eq!(got, pieces * PIECE);
    harness.finish().await;
}

/// Otherwise the kernel would report space only when a third of its megabytes are sent, and a slow
/// client would appear not to read at all.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_reads_a_part_is_sent_more() {
    let mut harness = Harness::new();
    let mut client = Client::with_small_buffer(harness.address).await;
    let stream = events(&mut harness, &mut client).await;
    loop {
        let send = harness.probe().turn(move |cx| {
            let credit = cx.credit(stream);
            if credit > 0 {
                cx.send_whole(stream, Bytes::from(vec![b'x'; credit]));
            }
            credit
        });
        let count = send.await;
        harness.serves().await;
        if count == 0 {
            break;
        }
    }
    harness.probe().seen();
    client.exactly(256 * 1024).await;
    let (at, frame) = harness.probe().next().await;
    assert_eq!(at.stream, stream);
    assert!(matches!(frame, Frame::Window(_)), "{frame:?}");
    drop(client);
    let (_, frame) = harness.probe().next_but_window().await;
    assert_eq!(frame, Frame::reset());
    harness.finish().await;
}
