use ::http::Method;
use tidegate_streams::BeginEx;

use super::*;
use crate::server::tests::part::Bench;

const KEY: usize = 0;

fn accepted(options: &Options) -> (Bench, Exchanges, StreamId) {
    let (mut bench, mut exchanges) = (Bench::new(), Exchanges::new(options));
    let head = HttpRequest {
        method: Method::POST,
        path: "/mcp".into(),
        headers: HeaderMap::new(),
        content_length: -1,
        peer: None,
    };
    let (stream, begin) = bench.opened(head);
    let BeginEx::Http(HttpBeginEx::Request(head)) = begin else {
        panic!("{begin:?}")
    };
    bench.act(|cx| exchanges.accept(cx, stream, head));
    (bench, exchanges, stream)
}

fn handle(
    bench: &mut Bench,
    exchanges: &mut Exchanges,
    stream: StreamId,
    frame: Frame,
) -> Option<HttpEvent> {
    bench.rig.send(bench.client, stream, frame);
    let (_, token, frame) = bench.next();
    assert_eq!(Key::of(token), Key::Http(KEY));
    bench.act(|cx| exchanges.on_frame(cx, KEY, frame))
}

fn data(text: &'static str) -> Frame {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

#[test]
fn a_request_is_returned_when_complete_and_its_exchange_ends_with_the_response() {
    let (mut bench, mut exchanges, stream) = accepted(&Options::default());
    assert!(handle(&mut bench, &mut exchanges, stream, data("{\"a\":")).is_none());
    assert!(handle(&mut bench, &mut exchanges, stream, data("1}")).is_none());
    let event = handle(&mut bench, &mut exchanges, stream, Frame::end());
    let Some(HttpEvent::Request(_, body)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(body.contiguous(), "{\"a\":1}");
    let message = Parts::from(Bytes::from_static(b"{}"));
    bench.act(|cx| exchanges.respond(cx, KEY, Head::default(), message));
    assert_eq!(bench.at_client(stream), ("{}".to_owned(), true));
    assert_eq!(exchanges.len(), 0);
}

#[test]
fn a_batch_body_is_read_on_only_when_accepted() {
    let (mut bench, mut exchanges, stream) = accepted(&Options::default());
    let event = handle(&mut bench, &mut exchanges, stream, data("[1"));
    let Some(HttpEvent::BatchBegins(head)) = event else {
        panic!("{event:?}")
    };
    exchanges.read_on(KEY, head);
    assert!(handle(&mut bench, &mut exchanges, stream, data("]")).is_none());
    let event = handle(&mut bench, &mut exchanges, stream, Frame::end());
    assert!(matches!(event, Some(HttpEvent::Request(..))), "{event:?}");

    let (mut bench, mut exchanges, stream) = accepted(&Options::default());
    let event = handle(&mut bench, &mut exchanges, stream, data("[1"));
    assert!(matches!(event, Some(HttpEvent::BatchBegins(_))));
    bench.act(|cx| {
        exchanges.respond_status(cx, KEY, StatusCode::BAD_REQUEST);
        exchanges.read_no_further(cx, KEY);
    });
    assert_eq!(exchanges.len(), 0);
}

#[test]
fn a_body_over_the_limit_is_reported_at_once() {
    let options = Options {
        max_message_size: 4,
        ..Options::default()
    };
    let (mut bench, mut exchanges, stream) = accepted(&options);
    assert!(handle(&mut bench, &mut exchanges, stream, data("{\"a\"")).is_none());
    let event = handle(&mut bench, &mut exchanges, stream, data("}"));
    assert!(matches!(event, Some(HttpEvent::TooLarge)), "{event:?}");
}

#[test]
fn the_owner_is_returned_when_the_client_reads_or_disconnects() {
    let (mut bench, mut exchanges, stream) = accepted(&Options::default());
    exchanges.set_owner(KEY, Owner::Request(9));
    bench.act(|cx| {
        exchanges.begin_events(cx, KEY);
        exchanges.push_event(cx, KEY, Bytes::from(vec![b'1'; 1 << 12]));
    });
    assert!(exchanges.waiting(KEY) > 0, "the client has less credit");
    // The client acknowledges what it has received.
    assert!(!bench.at_client(stream).0.is_empty());
    let (_, _, frame) = bench.next();
    let event = bench.act(|cx| exchanges.on_frame(cx, KEY, frame));
    assert!(matches!(event, Some(HttpEvent::Drained(Owner::Request(9)))));

    let client = bench.client;
    bench.rig.turn(client, |cx| cx.abort(stream, None));
    let (_, _, frame) = bench.next();
    let event = bench.act(|cx| exchanges.on_frame(cx, KEY, frame));
    assert!(matches!(
        event,
        Some(HttpEvent::Disconnected(Owner::Request(9)))
    ));
    assert_eq!(exchanges.len(), 0);
}

#[test]
fn an_event_stream_is_kept_open_by_comments_until_it_is_finished() {
    let (mut bench, mut exchanges, stream) = accepted(&Options::default());
    handle(&mut bench, &mut exchanges, stream, Frame::end());
    bench.act(|cx| {
        exchanges.begin_events(cx, KEY);
        exchanges.keep_open(cx, KEY);
    });
    bench.act(|cx| exchanges.on_timer(cx, KEY));
    assert_eq!(bench.at_client(stream).0, ": keep-alive\n\n");
    bench.act(|cx| exchanges.finish(cx, KEY));
    assert!(bench.at_client(stream).1);
    assert_eq!(exchanges.len(), 0);
}

#[test]
fn a_result_passed_on_in_parts_has_no_length() {
    let (mut bench, mut exchanges, stream) = accepted(&Options::default());
    handle(&mut bench, &mut exchanges, stream, Frame::end());
    bench.act(|cx| exchanges.begin_result(cx, KEY, Bytes::from_static(b"{")));
    let frames = bench.rig.frames(bench.client, stream);
    let Some(Frame::Begin(begin)) = frames.into_iter().next() else {
        panic!("the head comes first")
    };
    let BeginEx::Http(HttpBeginEx::Response(head)) = begin.into_inner() else {
        panic!("another begin")
    };
    assert_eq!(head.content_length, -1);
    assert_eq!(head.headers[CONTENT_TYPE], "application/json");
}
