use tidegate_streams::BeginEx;
use tidegate_streams::mcp::McpResourcesUpdated;

use super::*;
use crate::jsonrpc::Method;
use crate::server::calls::Subject;
use crate::server::tests::part::Bench;

const HOLDER: Holder = Holder::Session(3);

fn subscriptions(bench: &Bench) -> Subscriptions {
    let options = Options {
        max_subscription_bytes: 3,
        ..Options::default()
    };
    Subscriptions::new(bench.exit, &options)
}

fn call(cx: &Context<'_>) -> Call {
    Call::begin(cx, Method::ResourcesSubscribe, Subject::default)
}

fn opened(bench: &mut Bench, subscriptions: &mut Subscriptions) -> (usize, StreamId) {
    let opened = bench.act(|cx| subscriptions.open(cx, HOLDER, call(cx), None, "uri".into(), None));
    let (stream, frames) = bench.at_exit();
    assert!(matches!(frames[..], [Frame::Begin(_), Frame::Data(_)]));
    (opened.expect("room"), stream)
}

fn told(
    bench: &mut Bench,
    subscriptions: &mut Subscriptions,
    key: usize,
    stream: StreamId,
    frame: Frame,
) -> Option<SubscriptionEvent> {
    let frame = bench.exit_sends(stream, frame);
    bench.act(|cx| subscriptions.on_frame(cx, key, frame))
}

fn begin() -> Frame {
    Frame::begin(BeginEx::from(McpResourcesSubscribe::default()))
}

#[test]
fn confirmation_returns_the_waiting_requests_and_later_ones_do_not_wait() {
    let mut bench = Bench::new();
    let mut subscriptions = subscriptions(&bench);
    let (key, stream) = opened(&mut bench, &mut subscriptions);
    assert!(!subscriptions.confirmed_or_wait(key, Sink::Http(1), &Id::number(1)));
    assert!(!subscriptions.confirmed_or_wait(key, Sink::Http(2), &Id::number(2)));
    subscriptions.client_disconnected(key, Sink::Http(1));
    let event = told(&mut bench, &mut subscriptions, key, stream, begin());
    let Some(SubscriptionEvent::Confirmed {
        holder, waiting, ..
    }) = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(holder, HOLDER);
    assert_eq!(waiting, [(Sink::Http(2), Id::number(2))]);
    assert!(subscriptions.confirmed_or_wait(key, Sink::Http(1), &Id::number(3)));
    let updated = McpResourcesUpdated { uri: "part".into() };
    let event = told(
        &mut bench,
        &mut subscriptions,
        key,
        stream,
        Frame::flush(updated),
    );
    let Some(SubscriptionEvent::Updated {
        subscribed,
        changed,
        ..
    }) = event
    else {
        panic!("{event:?}")
    };
    assert_eq!((&*subscribed, &*changed), ("uri", "part"));
    assert!(
        bench
            .act(|cx| subscriptions.close(cx, key))
            .waiting
            .is_empty()
    );
    assert_eq!(bench.kinds_at_exit(), ["end", "reset"]);
    assert_eq!((subscriptions.len(), subscriptions.bytes), (0, 0));
    bench.rig.assert_idle();
}

#[test]
fn the_last_cancellation_ends_the_subscription() {
    let mut bench = Bench::new();
    let mut subscriptions = subscriptions(&bench);
    let (key, _) = opened(&mut bench, &mut subscriptions);
    for id in [1, 2] {
        subscriptions.confirmed_or_wait(key, Sink::Http(id), &Id::number(id as u64));
    }
    assert!(subscriptions.cancel_wait(key, &Id::number(9)).is_none());
    let first = subscriptions
        .cancel_wait(key, &Id::number(1))
        .expect("it waits");
    assert_eq!((first.sink, first.abandoned), (Sink::Http(1), None));
    let last = subscriptions
        .cancel_wait(key, &Id::number(2))
        .expect("it waits");
    assert_eq!(last.abandoned.as_deref(), Some("uri"));
}

#[test]
fn a_lost_subscription_frees_its_space_and_returns_waiting_requests() {
    let mut bench = Bench::new();
    let mut subscriptions = subscriptions(&bench);
    assert!(subscriptions.check_room(3).is_ok());
    let (key, stream) = opened(&mut bench, &mut subscriptions);
    assert!(subscriptions.check_room(1).is_err());
    subscriptions.confirmed_or_wait(key, Sink::Http(1), &Id::number(1));
    let frame = bench.exit_refuses(stream, McpResetKind::NotFound);
    let event = bench.act(|cx| subscriptions.on_frame(cx, key, frame));
    let Some(SubscriptionEvent::Lost(lost)) = event else {
        panic!("{event:?}")
    };
    assert!(!lost.confirmed && lost.waiting.len() == 1);
    assert_eq!(
        lost.reset.map(|reset| reset.kind),
        Some(McpResetKind::NotFound)
    );
    assert!(subscriptions.check_room(3).is_ok());

    assert_eq!(bench.kinds_at_exit(), ["reset"]);
    let (key, _) = opened(&mut bench, &mut subscriptions);
    let event = bench.act(|cx| subscriptions.on_timer(cx, key));
    let Some(SubscriptionEvent::Lost(lost)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(
        lost.reset.map(|reset| reset.kind),
        Some(McpResetKind::TimedOut)
    );
    assert_eq!(bench.kinds_at_exit(), ["reset", "abort"]);
}

#[test]
fn waiting_requests_are_bounded_over_all_subscriptions_of_a_session() {
    let mut bench = Bench::new();
    let mut subscriptions = subscriptions(&bench);
    let (key, _) = opened(&mut bench, &mut subscriptions);
    for id in 0..REQUESTS_MAX {
        assert!(subscriptions.check_waiting([key].into_iter()).is_ok());
        subscriptions.confirmed_or_wait(key, Sink::Nowhere, &Id::number(id as u64));
    }
    assert!(subscriptions.check_waiting([key].into_iter()).is_err());
    assert!(subscriptions.check_waiting(std::iter::empty()).is_ok());
}
