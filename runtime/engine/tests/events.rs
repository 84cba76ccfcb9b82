//! Guarantees about events and metrics.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so"
)]

use std::sync::Arc;

use bytes::Bytes;
use tidegate_engine::streams::bytes_stream::BytesBegin;
use tidegate_engine::streams::{
    Audit, BeginEx, Extension as _, Field as _, Frame, Identity, Severity, event,
};
use tidegate_engine::testing::Rig;
use tidegate_engine::{
    At, Binding, CallContext, Context, Measures, Meter, StreamId, Time, Token, WallTime,
};

event! {
    /// A stream has begun.
    pub struct Begun "test.begun" Info "stream {number} has begun" {
        /// Which, counted from 1.
        number "number": u64 = 0,
    }
}

event! {
    /// Somebody looked closely.
    pub struct Looked "test.looked" Debug "somebody looked" {}
}

event! {
    /// Somebody decided.
    pub struct Decided "test.decided" Debug audit(part) "decided by rule {rule}" {
        /// By which rule.
        rule "rule": u64 = 0,
    }
}

/// Counts the streams it accepts, and emits an event for each.
#[derive(Default)]
struct Counting {
    begun: u64,
}

impl Binding for Counting {
    fn exchanges(&self) -> usize {
        0
    }

    fn report(&self, meter: &mut dyn Meter) {
        meter.counter("test.begun", self.begun);
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, _: BeginEx) {
        cx.accept(stream, Token::default());
        self.begun += 1;
        cx.event(&Begun { number: self.begun });
        cx.event_with(|_| Looked {});
        let decided = Decided { rule: 7 };
        cx.event_about(&decided, || Some(vec![Bytes::from_static(b"on")]));
    }

    fn on_frame(&mut self, _: &mut Context<'_>, _: At, _: Frame) {}

    fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}
}

#[test]
fn an_event_has_time_binding_trace_and_fields() {
    let mut rig = Rig::new();
    let caller = rig.edge(0);
    let counting = rig
        .worker
        .attach("counting0", Box::new(Counting::default()));
    let wall = WallTime::from_unix_millis(1_000);
    rig.worker.set_wall_clock(Time::START, wall);
    let stream = rig.open(caller, counting, BytesBegin::default());
    let trace = rig.turn(caller, |cx| cx.call_of(stream).map(|call| call.trace));
    let event = rig.worker.poll_event().expect("it was emitted");
    assert_eq!((event.at, event.id), (wall, Begun::WORD));
    assert_eq!(Some(event.trace), trace);
    assert_eq!(rig.worker.name(event.binding), "counting0");
    assert_eq!(event.message, "stream 1 has begun");
    assert_eq!(event.fields, [("number", 1u64.to_value())]);
    assert_eq!(
        rig.worker.poll_event(),
        None,
        "debug events are not recorded"
    );
    rig.worker.listen_from(Severity::Warn);
    rig.worker.listen_to(&[Looked::WORD]);
    rig.open(caller, counting, BytesBegin::default());
    let looked = rig.worker.poll_event().map(|event| event.id);
    assert_eq!(
        (looked, rig.worker.poll_event()),
        (Some(Looked::WORD), None)
    );
    rig.worker.listen_to(&[]);
    rig.worker.listen_from(Severity::Debug);
    rig.open(caller, counting, BytesBegin::default());
    assert!(
        rig.worker
            .poll_event()
            .is_some_and(|it| it.id == "test.begun")
    );
    assert!(
        rig.worker
            .poll_event()
            .is_some_and(|it| it.id == "test.looked")
    );
}

#[test]
fn events_beyond_the_queue_limit_are_dropped_and_counted() {
    let mut rig = Rig::new();
    let caller = rig.edge(0);
    let counting = rig
        .worker
        .attach("counting0", Box::new(Counting::default()));
    for _ in 0..5_000 {
        let stream = rig.open(caller, counting, BytesBegin::default());
        rig.turn(caller, |cx| cx.terminate(stream, None, None));
    }
    let mut measures = Measures::default();
    rig.worker.report(&mut measures);
    assert_eq!(measures.value("counting0", "test.begun"), 5_000);
    let dropped = measures.value("", "engine.events.dropped");
    let kept = std::iter::from_fn(|| rig.worker.poll_event()).count();
    assert!(dropped > 0 && kept > 0);
    assert_eq!(dropped + kept as u64, 5_000);
    assert_eq!(measures.value("", "engine.streams.opened"), 5_000);
}

#[test]
fn every_event_is_counted_and_made_only_if_it_is_recorded() {
    let mut rig = Rig::new();
    let caller = rig.edge(0);
    let counting = rig
        .worker
        .attach("counting0", Box::new(Counting::default()));
    for _ in 0..3 {
        rig.open(caller, counting, BytesBegin::default());
    }
    rig.turn(caller, |cx| {
        cx.event_with::<Looked>(|_| panic!("nobody hears it"));
        cx.count_event::<Looked>();
    });
    let mut measures = Measures::default();
    rig.worker.report(&mut measures);
    let count = |id| measures.labelled("", "engine.events", id);
    assert_eq!(
        (
            count(Begun::WORD),
            count(Looked::WORD),
            count(Decided::WORD)
        ),
        (3, 5, 3)
    );
    let recorded = std::iter::from_fn(|| rig.worker.poll_event()).count();
    assert_eq!(recorded, 3, "of severity info");
}

#[test]
fn an_audited_event_has_identity_and_payload_only_for_an_audit_log() {
    let mut rig = Rig::new();
    let caller = rig.edge(0);
    let counting = rig
        .worker
        .attach("counting0", Box::new(Counting::default()));
    let alice = Arc::new(Identity {
        subject: "alice".into(),
        ..Identity::default()
    });
    let open = |rig: &mut Rig| {
        let call = CallContext {
            identity: Some(Arc::clone(&alice)),
            ..CallContext::default()
        };
        let begin = BytesBegin::default();
        let opened = rig.turn(caller, |cx| {
            cx.open_for(call, counting, begin, Token::default())
        });
        opened.expect("room");
        let events = std::iter::from_fn(|| rig.worker.poll_event());
        events
            .filter(|event| event.id == Decided::WORD)
            .collect::<Vec<_>>()
    };
    assert_eq!(open(&mut rig), [], "nobody hears it");
    rig.worker.listen_from(Severity::Debug);
    let [logged] = &open(&mut rig)[..] else {
        panic!("it is logged");
    };
    assert_eq!(logged.message, "decided by rule 7");
    assert_eq!((&logged.identity, &logged.payload), (&None, &None));
    rig.worker.listen_from(Severity::Warn);
    rig.worker.listen_to_audited();
    let [audited] = &open(&mut rig)[..] else {
        panic!("it is audited");
    };
    assert_eq!((audited.audit, audited.message.as_str()), (Audit::Part, ""));
    assert_eq!(audited.identity, Some(alice));
    assert_eq!(audited.payload, Some(vec![Bytes::from_static(b"on")]));
}
