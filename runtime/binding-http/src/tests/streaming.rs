//! Responses that come bit by bit, and clients that leave or do not read.

use super::*;

/// Opens a stream of events, of which the client has the head.
async fn events(house: &mut House, client: &mut Client) -> StreamId {
    client.ask("GET", "/mcp").await;
    let stream = house.request().await.stream;
    let head = Frame::begin(head_of(StatusCode::OK, -1));
    house.probe().send(stream, head).await;
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
async fn each_piece_reaches_the_client_at_once() {
    let mut house = House::new();
    let mut client = house.client().await;
    let stream = events(&mut house, &mut client).await;
    for piece in ["data: 1\n\n", "data: 2\n\n", ": ping\n\n"] {
        house.probe().send(stream, Frame::data(piece.into())).await;
        assert_eq!(client.chunk().await, piece);
    }
    house.probe().send(stream, Frame::end()).await;
    assert_eq!(client.chunk().await, "");
    // The connection lives on.
    client.post("next").await;
    let request = house.request().await;
    house.answer(request.stream, "answer").await;
    assert_eq!(client.response().await.body, "answer");
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_aborts_its_stream() {
    let mut house = House::new();
    let mut client = house.client().await;
    client.post("hello").await;
    let stream = house.request().await.stream;
    drop(client);
    let (at, frame) = house.probe().next_but_window().await;
    assert_eq!(at.stream, stream);
    assert!(
        matches!(frame, Frame::Reset(None)),
        "no reply is wanted: {frame:?}"
    );
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_of_events_resets_it() {
    let mut house = House::new();
    let mut client = house.client().await;
    let stream = events(&mut house, &mut client).await;
    drop(client);
    let (at, frame) = house.probe().next_but_window().await;
    assert_eq!((at.stream, frame), (stream, Frame::reset()));
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_body_was_taken_aborts_it() {
    let mut house = House::with(options(), Limits::default(), 1, 10);
    let mut client = house.client().await;
    client.post("more than ten bytes").await;
    let (_, begin) = house.probe().next_but_window().await;
    assert!(matches!(begin, Frame::Begin(_)));
    let (_, part) = house.probe().next_but_window().await;
    assert!(matches!(part, Frame::Data(_)));
    drop(client);
    let frames = [
        house.probe().next_but_window().await.1,
        house.probe().next_but_window().await.1,
    ];
    assert_eq!(frames, [Frame::reset(), Frame::abort()]);
    house.finish().await;
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_a_whole_one() {
    let mut house = House::new();
    for length in [-1, 100] {
        let mut client = house.client().await;
        client.ask("GET", "/mcp").await;
        let stream = house.request().await.stream;
        let head = Frame::begin(head_of(StatusCode::OK, length));
        house.probe().send(stream, head).await;
        house.probe().send(stream, Frame::data("part".into())).await;
        client.head().await;
        house
            .probe()
            .turn(move |cx| cx.terminate(stream, None, None))
            .await;
        let rest = client.rest().await;
        assert!(rest.len() < 100 && !rest.ends_with(b"0\r\n\r\n"));
    }
    house.serves().await;
    house.finish().await;
}

#[tokio::test]
async fn a_refusal_of_the_rest_of_a_body_is_no_refusal_to_answer_it() {
    let mut house = House::with(options(), Limits::default(), 1, 10);
    let mut client = house.client().await;
    client.post("more than ten bytes").await;
    let (at, _) = house.probe().next_but_window().await;
    let stream = at.stream;
    let answer = house.probe().turn(move |cx| {
        cx.send(stream, Frame::begin(head_of(StatusCode::BAD_REQUEST, 4)));
        cx.reset(stream, None);
        cx.send_whole(stream, "well".into());
        cx.end(stream, Frame::end());
    });
    answer.await;
    let response = client.response().await;
    assert_eq!((response.status, response.body.as_str()), (400, "well"));
    house.probe().seen();
    house.finish().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_own_stream_back_alone() {
    const PIECE: usize = 16 * 1024;
    let mut house = House::new();
    let mut client = Client::of_small_buffer(house.address).await;
    let stream = events(&mut house, &mut client).await;
    let mut pieces = 0;
    loop {
        let send = house.probe().turn(move |cx| {
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
        house.serves().await;
        let starved = house.probe().turn(move |cx| cx.credit(stream) < PIECE);
        if count == 0 && starved.await {
            break;
        }
        assert!(
            pieces * PIECE < 64 << 20,
            "a client that does not read gets no end of it"
        );
    }
    house.probe().seen();
    let end = house.probe().turn(move |cx| cx.end(stream, Frame::end()));
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
    house.finish().await;
}

/// Else a kernel would tell of room only when a third of its megabytes are taken, and a slow client
/// would seem not to read at all.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_takes_a_part_is_sent_more() {
    let mut house = House::new();
    let mut client = Client::of_small_buffer(house.address).await;
    let stream = events(&mut house, &mut client).await;
    loop {
        let send = house.probe().turn(move |cx| {
            let credit = cx.credit(stream);
            if credit > 0 {
                cx.send_whole(stream, Bytes::from(vec![b'x'; credit]));
            }
            credit
        });
        let count = send.await;
        house.serves().await;
        if count == 0 {
            break;
        }
    }
    house.probe().seen();
    client.exactly(256 * 1024).await;
    let (at, frame) = house.probe().next().await;
    assert_eq!(at.stream, stream);
    assert!(matches!(frame, Frame::Window(_)), "{frame:?}");
    drop(client);
    let (_, frame) = house.probe().next_but_window().await;
    assert_eq!(frame, Frame::reset());
    house.finish().await;
}
