use tidegate_streams::mcp::{McpCapabilities, McpToolsListChanged};

use super::*;
use crate::server::tests::part::Bench;
use crate::server::updates::Change;

fn sessions(bench: &Bench) -> Sessions {
    let options = Options {
        max_sessions: 1,
        max_session_bytes: 4,
        ..Options::default()
    };
    Sessions::new(bench.exit, &options)
}

fn requested() -> Requested {
    Requested {
        version: "2025-03-26",
        capabilities: McpCapabilities::NONE,
        client: Client {
            name: "c".into(),
            version: "1".into(),
        },
    }
}

fn opened(bench: &mut Bench, sessions: &mut Sessions, sink: Sink) -> (usize, StreamId) {
    let id = Id::number(0);
    let key = bench.act(|cx| sessions.open(cx, (sink, id), requested(), ByteString::new));
    (key.expect("room"), bench.at_exit().0)
}

fn handle(
    bench: &mut Bench,
    sessions: &mut Sessions,
    key: usize,
    stream: StreamId,
    frame: Frame,
) -> Option<SessionEvent> {
    let frame = bench.exit_sends(stream, frame);
    bench.act(|cx| sessions.on_frame(cx, key, frame))
}

fn begun(bench: &mut Bench, sessions: &mut Sessions, sink: Sink) -> (usize, StreamId) {
    let (key, stream) = opened(bench, sessions, sink);
    let lifecycle = McpLifecycle {
        session_id: Some("at-exit".into()),
        ..McpLifecycle::default()
    };
    let event = handle(bench, sessions, key, stream, Frame::begin(lifecycle));
    let Some(SessionEvent::Begun(begun)) = event else {
        panic!("{event:?}")
    };
    assert_eq!((begun.sink, begun.version), (sink, "2025-03-26"));
    assert_eq!(sessions.find(&begun.session_id), Some(key));
    (key, stream)
}

fn end(bench: &mut Bench, sessions: &mut Sessions, key: usize) -> Ended {
    bench.act(|cx| {
        sessions.end_lifecycle(cx, key, EndedBy::Client);
        sessions.take_subscriptions(key);
        sessions.remove(cx, key).expect("it is there")
    })
}

#[test]
fn a_session_is_found_by_its_id_until_it_is_removed() {
    let mut bench = Bench::new();
    let mut sessions = sessions(&bench);
    let (key, _) = begun(&mut bench, &mut sessions, Sink::Http(1));
    assert!(sessions.takes_batches(key));
    assert_eq!(sessions.identity(key).as_deref(), Some("at-exit"));
    let id = sessions.id(key).cloned().expect("an id");
    let full = bench.act(|cx| {
        sessions.open(
            cx,
            (Sink::Http(2), Id::number(1)),
            requested(),
            ByteString::new,
        )
    });
    assert_eq!(full.expect_err("too many").status(), 503);
    sessions.register(key, Id::number(4), 9);
    assert_eq!(sessions.request(key, &Id::number(4)), Some(9));
    let ended = end(&mut bench, &mut sessions, key);
    assert_eq!((ended.line, ended.requests), (None, vec![9]));
    assert_eq!(sessions.find(&id), None);
    assert_eq!(bench.kinds_at_exit(), ["end", "reset"]);
    bench.rig.assert_idle();
}

#[test]
fn a_refused_or_unanswered_session_answers_initialize() {
    let mut bench = Bench::new();
    let mut sessions = sessions(&bench);
    let (key, stream) = opened(&mut bench, &mut sessions, Sink::Http(1));
    assert!(sessions.is_awaited_by(key, Sink::Http(1)));
    assert!(!sessions.is_idle(key), "somebody waits for it");
    let frame = bench.exit_refuses(stream, McpResetKind::Unavailable);
    let event = bench.act(|cx| sessions.on_frame(cx, key, frame));
    let Some(SessionEvent::Refused(sink, _, reset)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(
        (sink, reset.kind),
        (Sink::Http(1), McpResetKind::Unavailable)
    );
    let _ = end(&mut bench, &mut sessions, key);

    let (key, _) = opened(&mut bench, &mut sessions, Sink::Line(0));
    let event = bench.act(|cx| sessions.on_timer(cx, key));
    let Some(SessionEvent::Refused(sink, _, reset)) = event else {
        panic!("{event:?}")
    };
    assert_eq!((sink, reset.kind), (Sink::Line(0), McpResetKind::TimedOut));
}

#[test]
fn a_session_expires_only_without_running_requests() {
    let mut bench = Bench::new();
    let mut sessions = sessions(&bench);
    let (key, _) = begun(&mut bench, &mut sessions, Sink::Http(1));
    sessions.register(key, Id::number(4), 9);
    assert!(bench.act(|cx| sessions.on_timer(cx, key)).is_none());
    sessions.unregister(key, &Id::number(4));
    assert!(sessions.open_events(key, 5).is_none());
    assert!(bench.act(|cx| sessions.on_timer(cx, key)).is_none());
    assert!(!sessions.end_events(key, 4), "another one");
    assert!(sessions.end_events(key, 5));
    let event = bench.act(|cx| sessions.on_timer(cx, key));
    assert!(matches!(event, Some(SessionEvent::Expired)), "{event:?}");
}

#[test]
fn updates_go_to_its_line_or_to_its_newest_event_stream() {
    let mut bench = Bench::new();
    let mut sessions = sessions(&bench);
    let (key, stream) = begun(&mut bench, &mut sessions, Sink::Http(1));
    assert_eq!(sessions.sink(key), Sink::Nowhere);
    let changed = Frame::flush(McpToolsListChanged {});
    let event = handle(&mut bench, &mut sessions, key, stream, changed);
    assert!(matches!(event, Some(SessionEvent::Changed)), "{event:?}");
    assert_eq!(sessions.open_events(key, 5), None);
    assert_eq!(sessions.open_events(key, 6), Some(5));
    assert_eq!(sessions.sink(key), Sink::Http(6));
    assert_eq!(sessions.next_update(key), Some(Change::List(List::Tools)));
    assert_eq!(sessions.next_update(key), None);
    assert_eq!(sessions.take_events(key), Some(6));
    let _ = end(&mut bench, &mut sessions, key);
    assert_eq!(bench.kinds_at_exit(), ["end", "reset"]);
    let (key, _) = begun(&mut bench, &mut sessions, Sink::Line(0));
    assert_eq!(sessions.sink(key), Sink::Line(0));
    sessions.detach_line(key);
    assert_eq!(sessions.sink(key), Sink::Nowhere);
}

#[test]
fn the_uris_of_its_subscriptions_are_bounded_and_an_update_goes_with_an_unsubscribe() {
    let mut bench = Bench::new();
    let mut sessions = sessions(&bench);
    let (key, _) = begun(&mut bench, &mut sessions, Sink::Http(1));
    sessions.subscribe(key, "abc".into(), 7);
    assert!(sessions.check_subscription(key, "d").is_ok());
    assert!(sessions.check_subscription(key, "de").is_err());
    assert_eq!(sessions.subscription(key, "abc"), Some(7));
    assert_eq!(sessions.subscriptions(key).collect::<Vec<_>>(), [7]);
    sessions.note(key, &"abc".into(), "abc".into());
    assert_eq!(sessions.unsubscribe(key, &"abc".into()), Some(7));
    assert_eq!(sessions.next_update(key), None);
    sessions.subscribe(key, "abc".into(), 8);
    sessions.note(key, &"abc".into(), "abc".into());
    sessions.remove_subscription(key, "abc");
    assert!(sessions.next_update(key).is_some(), "what it told goes out");
    assert_eq!(sessions.take_subscriptions(key), Vec::<usize>::new());
}
