use tidegate_streams::mcp::{McpChallenge, McpResetKind, McpToolsCall};

use super::*;
use crate::jsonrpc::Params;
use crate::server::calls::Subject;
use crate::server::tests::part::Bench;

fn requests(bench: &Bench) -> Requests {
    Requests::new(bench.exit, &Options::default())
}

fn order(bench: &mut Bench, sink: Sink, era: Era) -> NewRequest {
    let notifications =
        Notifications::of(true, era, &Params::of(None), None).expect("no notifications");
    NewRequest {
        sink,
        id: Id::number(7),
        era,
        method: Method::ToolsCall,
        session: Some(3),
        begin: McpBeginEx::from(McpToolsCall::default()),
        params: Parts::from(Bytes::from_static(b"{}")),
        read: None,
        notifications,
        capabilities: McpCapabilities::NONE,
        call: bench.act(|cx| Call::begin(cx, Method::ToolsCall, Subject::default)),
    }
}

/// A running request and its stream.
fn opened(bench: &mut Bench, requests: &mut Requests, sink: Sink, era: Era) -> (usize, StreamId) {
    let order = order(bench, sink, era);
    let key = bench.act(|cx| requests.open(cx, order)).expect("room");
    let (stream, frames) = bench.at_exit();
    assert!(matches!(frames[..], [Frame::Begin(_), Frame::Data(_)]));
    (key, stream)
}

/// The event returned for a frame of the exit.
fn handle(
    bench: &mut Bench,
    requests: &mut Requests,
    key: usize,
    stream: StreamId,
    frame: Frame,
) -> Option<RequestEvent> {
    let frame = bench.exit_sends(stream, frame);
    bench.act(|cx| requests.on_frame(cx, key, frame))
}

fn begin() -> Frame {
    Frame::begin(BeginEx::from(McpToolsCall::default()))
}

#[test]
fn a_complete_result_is_returned_with_its_client() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, stream) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Legacy);
    assert!(requests.is_of_session(key, 3) && !requests.is_of_session(key, 4));
    let result = Frame::data(Bytes::from_static(b"{\"content\":[]}"));
    for frame in [begin(), result] {
        assert!(handle(&mut bench, &mut requests, key, stream, frame).is_none());
    }
    let event = handle(&mut bench, &mut requests, key, stream, Frame::end());
    let Some(RequestEvent::Answered(closed, message)) = event else {
        panic!("{event:?}")
    };
    assert_eq!((closed.sink, closed.session), (Sink::Http(5), Some(3)));
    let answer = "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":[]}}";
    assert_eq!(message.contiguous(), answer);
    assert_eq!(bench.kinds_at_exit(), ["end"]);
    assert_eq!(requests.len(), 0);
    bench.rig.assert_idle();
}

#[test]
fn a_large_result_over_http_is_passed_on_as_it_arrives() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, stream) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Legacy);
    assert!(handle(&mut bench, &mut requests, key, stream, begin()).is_none());
    let part = |byte: u8| Frame::data(Bytes::from(vec![byte; HELD_HTTP_MAX]));
    // The last part is held back, because members may be added before its brace.
    assert!(handle(&mut bench, &mut requests, key, stream, part(b'1')).is_none());
    assert!(handle(&mut bench, &mut requests, key, stream, part(b'2')).is_none());
    let mut heads = vec![];
    for byte in [b'3', b'4'] {
        let event = handle(&mut bench, &mut requests, key, stream, part(byte));
        let Some(RequestEvent::Part(part)) = event else {
            panic!("{event:?}")
        };
        heads.push(part.head.is_some());
        bench.act(|cx| requests.passed(cx, key, part.length, 0));
    }
    assert_eq!(heads, [true, false]);
    let event = handle(&mut bench, &mut requests, key, stream, Frame::end());
    let Some(RequestEvent::LastPart(closed, rest)) = event else {
        panic!("{event:?}")
    };
    assert!(closed.streaming);
    assert_eq!(
        rest.len(),
        HELD_HTTP_MAX + 1,
        "the last part, and the envelope's brace"
    );
}

#[test]
fn the_exit_is_not_acknowledged_while_the_client_does_not_read() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, stream) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Legacy);
    assert!(handle(&mut bench, &mut requests, key, stream, begin()).is_none());
    let credit = |bench: &mut Bench| {
        let exit = bench.exit;
        bench.rig.turn(exit, |cx| cx.credit(stream))
    };
    let all = credit(&mut bench);
    let mut taken = 0;
    while taken < all {
        let part = Frame::data(Bytes::from(vec![b'1'; 1 << 20]));
        if let Some(RequestEvent::Part(part)) = handle(&mut bench, &mut requests, key, stream, part)
        {
            bench.act(|cx| requests.passed(cx, key, part.length, UNSENT_MAX));
        }
        taken += 1 << 20;
    }
    assert_eq!(credit(&mut bench), 0);
    bench.act(|cx| requests.drained(cx, key, UNSENT_MAX));
    assert_eq!(credit(&mut bench), 0, "too much is still queued");
    bench.act(|cx| requests.drained(cx, key, UNSENT_MAX - 1));
    assert!(credit(&mut bench) > 0);
}

#[test]
fn buffered_results_for_a_shared_channel_are_bounded() {
    for (of_batch, elsewhere, why) in [
        (Some(HELD_RESULT_MAX + 1), 0, "The result exceeds"),
        (None, HELD_WORKER_MAX, "Too many large results"),
    ] {
        let mut bench = Bench::new();
        let mut requests = requests(&bench);
        let (key, stream) = opened(&mut bench, &mut requests, Sink::Line(0), Era::Modern);
        assert!(handle(&mut bench, &mut requests, key, stream, begin()).is_none());
        let part = Frame::data(Bytes::from_static(b"{\"a\""));
        let event = handle(&mut bench, &mut requests, key, stream, part);
        let Some(RequestEvent::Held { sink, length }) = event else {
            panic!("{event:?}")
        };
        assert_eq!((sink, length), (Sink::Line(0), 4));
        let held = bench.act(|cx| requests.hold(cx, key, length, None, 0));
        assert!(held.is_none(), "below the limit");
        let event = bench.act(|cx| requests.hold(cx, key, length, of_batch, elsewhere));
        let Some(RequestEvent::Failed(_, refusal)) = event else {
            panic!("{event:?}")
        };
        assert!(refusal.error().message().starts_with(why), "{refusal:?}");
        assert_eq!((requests.len(), requests.held), (0, 0));
    }
}

#[test]
fn a_disconnect_cancels_a_modern_request_but_not_a_legacy_one() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, _) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Modern);
    let closed = bench.act(|cx| requests.client_disconnected(cx, key));
    assert_eq!(closed.expect("it is over").sink, Sink::Nowhere);
    assert_eq!(bench.kinds_at_exit(), ["reset", "abort"]);

    let (key, stream) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Legacy);
    assert!(
        bench
            .act(|cx| requests.client_disconnected(cx, key))
            .is_none()
    );
    assert!(handle(&mut bench, &mut requests, key, stream, begin()).is_none());
    let event = handle(&mut bench, &mut requests, key, stream, Frame::end());
    let Some(RequestEvent::Answered(closed, _)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(closed.sink, Sink::Nowhere);
}

#[test]
fn an_unanswered_request_times_out() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, _) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Modern);
    let event = bench.act(|cx| requests.on_timer(cx, key, 0));
    let Some(RequestEvent::Failed(_, refusal)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(refusal.outcome(), CallOutcome::TimedOut);
    assert_eq!(bench.kinds_at_exit(), ["reset", "abort"]);
    assert!(
        bench.act(|cx| requests.fail(cx, key, refusal)).is_none(),
        "once"
    );
}

#[test]
fn a_refusal_of_the_exit_is_mapped_to_the_era() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, stream) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Modern);
    let frame = bench.exit_refuses(stream, McpResetKind::NotAuthorized);
    let event = bench.act(|cx| requests.on_frame(cx, key, frame));
    let Some(RequestEvent::Failed(closed, refusal)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(refusal.status(), 403);
    assert_eq!(closed.id, Id::number(7));
}

#[test]
fn requests_of_the_exit_to_the_client_are_refused() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, stream) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Modern);
    let asked = Frame::challenge(McpChallenge::default());
    assert!(handle(&mut bench, &mut requests, key, stream, asked).is_none());
    assert_eq!(bench.kinds_at_exit(), ["flush"]);
    bench.rig.advance(Duration::from_millis(1));
}

/// A modern request whose client can be asked for something.
fn opened_to_ask(bench: &mut Bench, requests: &mut Requests) -> (usize, StreamId) {
    let mut order = order(bench, Sink::Http(5), Era::Modern);
    order.capabilities =
        McpCapabilities::CLIENT_ELICITATION.with(McpCapabilities::CLIENT_ELICITATION_FORM);
    let key = bench.act(|cx| requests.open(cx, order)).expect("room");
    (key, bench.at_exit().0)
}

fn ask(id: u64, cancelled: bool) -> Frame {
    Frame::challenge(McpChallenge {
        id,
        method: "elicitation/create".into(),
        cancelled,
        ..McpChallenge::default()
    })
}

#[test]
fn parked_requests_are_bounded_by_their_size_too() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    requests.parked_bytes = parked::PARKED_BYTES_MAX - 1;
    let (key, stream) = opened_to_ask(&mut bench, &mut requests);
    assert!(handle(&mut bench, &mut requests, key, stream, ask(1, false)).is_none());
    assert!(
        bench
            .act(|cx| requests.on_timer(cx, key, COLLECT))
            .is_none()
    );
    assert_eq!(
        bench.kinds_at_exit(),
        ["flush"],
        "the client cannot be asked"
    );
    assert_eq!(requests.parked, 0);

    requests.parked_bytes -= 1;
    assert!(handle(&mut bench, &mut requests, key, stream, ask(2, false)).is_none());
    let event = bench.act(|cx| requests.on_timer(cx, key, COLLECT));
    assert!(
        matches!(event, Some(RequestEvent::Answered(..))),
        "{event:?}"
    );
    assert_eq!(requests.parked_bytes, parked::PARKED_BYTES_MAX);
    drop(bench.act(|cx| requests.cancel(cx, key)));
    assert_eq!(requests.parked_bytes, parked::PARKED_BYTES_MAX - 2);
}

#[test]
fn a_parked_request_is_not_parked_twice() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, stream) = opened_to_ask(&mut bench, &mut requests);
    assert!(handle(&mut bench, &mut requests, key, stream, ask(1, false)).is_none());
    let event = bench.act(|cx| requests.on_timer(cx, key, COLLECT));
    assert!(
        matches!(event, Some(RequestEvent::Answered(..))),
        "{event:?}"
    );
    let timer = requests.all[key].timer;
    for frame in [ask(1, true), ask(2, false)] {
        assert!(handle(&mut bench, &mut requests, key, stream, frame).is_none());
    }
    assert_eq!(requests.parked, 1);
    assert_eq!(
        requests.all[key].timer, timer,
        "its client still has the time it had"
    );
}

#[test]
fn a_parked_request_counts_for_its_caller() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, stream) = opened_to_ask(&mut bench, &mut requests);
    requests.keep(key, InFlight::default());
    assert!(handle(&mut bench, &mut requests, key, stream, ask(1, false)).is_none());
    let event = bench.act(|cx| requests.on_timer(cx, key, COLLECT));
    assert!(
        matches!(event, Some(RequestEvent::Answered(..))),
        "{event:?}"
    );
    assert!(requests.all[key].in_flight.is_some());
}

#[test]
fn a_large_result_for_a_client_that_is_away_becomes_an_error() {
    let mut bench = Bench::new();
    let mut requests = requests(&bench);
    let (key, stream) = opened(&mut bench, &mut requests, Sink::Http(5), Era::Legacy);
    requests.set_event_stream(key, 4);
    assert!(requests.detach(key));
    assert!(handle(&mut bench, &mut requests, key, stream, begin()).is_none());
    let part = |length| Frame::data(Bytes::from(vec![b'1'; length]));
    assert!(handle(&mut bench, &mut requests, key, stream, part(HELD_HTTP_MAX)).is_none());
    assert!(handle(&mut bench, &mut requests, key, stream, part(1)).is_none());
    let event = handle(&mut bench, &mut requests, key, stream, part(1));
    let Some(RequestEvent::Failed(closed, refusal)) = event else {
        panic!("{event:?}")
    };
    assert_eq!((closed.sink, closed.event_stream), (Sink::Nowhere, 4));
    assert!(refusal.error().message().contains("too large to be kept"));
}
