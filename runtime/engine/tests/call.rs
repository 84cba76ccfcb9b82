//! Guarantees about call contexts and the wall clock.
#![allow(clippy::expect_used, reason = "a test that cannot go on says so")]

use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::streams::bytes_stream::BytesBegin;
use tidegate_engine::streams::{BeginEx, Frame, Identity};
use tidegate_engine::testing::Rig;
use tidegate_engine::{
    At, Binding, BindingId, CallContext, Context, Duration, StreamId, Time, Token, WallTime,
};

/// Opens three streams for each stream it accepts: with the caller's context, with a shared
/// context, and from a timer.
struct Opener {
    exit: BindingId,
    accepted: Vec<StreamId>,
}

impl Binding for Opener {
    fn exchanges(&self) -> usize {
        0
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, _: BeginEx) {
        let token = Token::from_index(self.accepted.len());
        cx.accept(stream, token);
        self.accepted.push(stream);
        let shared = cx.call().shared();
        cx.open(self.exit, BytesBegin::default(), token)
            .expect("below the limit");
        cx.open_for(shared, self.exit, BytesBegin::default(), token)
            .expect("below the limit");
        cx.timer(Duration::from_millis(10), token, 0, "a stream later on");
    }

    fn on_frame(&mut self, _: &mut Context<'_>, _: At, _: Frame) {}

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, _: u32) {
        assert_eq!(cx.call(), &CallContext::default(), "a timer has no caller");
        let Some(stream) = self.accepted.get(token.index()) else {
            return;
        };
        cx.work_for(*stream);
        cx.open(self.exit, BytesBegin::default(), token)
            .expect("below the limit");
    }

    fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}
}

/// Call contexts of the streams opened towards an edge since the last call.
fn carried(rig: &mut Rig, edge: BindingId) -> Vec<CallContext> {
    let begun = rig.outputs(edge);
    rig.turn(edge, |cx| {
        let call = |at: At| cx.call_of(at.stream).cloned().expect("it is open");
        begun.iter().map(|output| call(output.at)).collect()
    })
}

fn alice() -> Arc<Identity> {
    Arc::new(Identity {
        subject: "alice".into(),
        ..Identity::default()
    })
}

#[test]
fn identity_deadline_and_trace_are_passed_to_opened_streams() {
    let mut rig = Rig::new();
    let (caller, exit) = (rig.edge(0), rig.edge(0));
    let under_test = rig.attach(Opener {
        exit,
        accepted: vec![],
    });
    let call = CallContext {
        trace: 7,
        identity: Some(alice()),
        deadline: Some(Time::from_micros(1_000)),
    };
    let opened = rig.turn(caller, |cx| {
        cx.open_for(
            call.clone(),
            under_test,
            BytesBegin::default(),
            Token::default(),
        )
    });
    opened.expect("below the limit");
    let for_all = CallContext {
        trace: 7,
        ..CallContext::default()
    };
    assert_eq!(carried(&mut rig, exit), [call.clone(), for_all]);
    rig.advance(Duration::from_millis(10));
    assert_eq!(carried(&mut rig, exit), [call], "the timer works for it");
}

#[test]
fn each_call_has_its_own_trace_shared_by_the_streams_it_opens() {
    let mut rig = Rig::new();
    let (caller, exit) = (rig.edge(0), rig.edge(0));
    let under_test = rig.attach(Opener {
        exit,
        accepted: vec![],
    });
    rig.open(caller, under_test, BytesBegin::default());
    rig.open(caller, under_test, BytesBegin::default());
    let traces: Vec<u64> = carried(&mut rig, exit).iter().map(|it| it.trace).collect();
    let [first, first_other, second, second_other] = traces[..] else {
        panic!("two streams for each caller, not {traces:?}");
    };
    assert_eq!((first, second), (first_other, second_other));
    assert!(first != 0 && second != 0 && first != second);
}

#[test]
fn the_wall_clock_advances_with_turns_and_can_be_set() {
    let mut rig = Rig::new();
    let edge = rig.edge(0);
    let shown = |rig: &mut Rig| rig.turn(edge, |cx| cx.wall_clock().unix_millis());
    let at = |millis| WallTime::from_unix_millis(millis);
    rig.worker.set_wall_clock(Time::START, at(1_000_000));
    assert_eq!(shown(&mut rig), 1_000_000);
    rig.advance(Duration::from_secs(5));
    assert_eq!(shown(&mut rig), 1_005_000);
    let now = rig.now();
    rig.worker.set_wall_clock(now, at(400_000));
    assert_eq!(shown(&mut rig), 400_000, "it was set back");
    rig.advance(Duration::from_secs(1));
    assert_eq!(shown(&mut rig), 401_000);
}

fn mint(cx: &mut Context<'_>) -> ByteString {
    cx.mint_identity()
}

#[test]
fn identities_are_unique_valid_client_identifiers() {
    let mut rig = Rig::new();
    let edge = rig.edge(0);
    let identities: Vec<_> = (0..100).map(|_| rig.turn(edge, mint)).collect();
    for (index, identity) in identities.iter().enumerate() {
        assert_eq!(identity.len(), 22, "{identity}");
        assert!(
            identity.chars().all(|each| each.is_ascii_alphanumeric()),
            "{identity}"
        );
        assert!(!identities[..index].contains(identity), "{identity}");
    }
    // The same seed gives the same identities.
    let mut again = Rig::new();
    let edge = again.edge(0);
    assert_eq!(again.turn(edge, mint), identities[0]);
}

/// Reports the stop deadline when the engine stops.
struct Stopping;

impl Binding for Stopping {
    fn exchanges(&self) -> usize {
        0
    }

    fn on_begin(&mut self, _: &mut Context<'_>, _: StreamId, _: BeginEx) {}

    fn on_frame(&mut self, _: &mut Context<'_>, _: At, _: Frame) {}

    fn on_timer(&mut self, cx: &mut Context<'_>, _: Token, _: u32) {
        assert_eq!(cx.now(), Time::START + Duration::from_secs(95));
    }

    fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}

    fn on_shutdown(&mut self, cx: &mut Context<'_>) {
        assert!(cx.stopping());
        if let Some(deadline) = cx.stop_deadline() {
            let left = deadline.since(cx.now());
            cx.timer(left, Token::default(), 0, "the stop");
        }
    }
}

#[test]
fn the_stop_deadline_leaves_a_tenth_for_writing_answers() {
    for (within, timers) in [(Some(Duration::from_secs(100)), 1), (None, 0)] {
        let mut rig = Rig::new();
        rig.attach(Stopping);
        rig.advance(Duration::from_secs(5));
        match within {
            Some(within) => rig.worker.shutdown_within(rig.now(), within),
            None => rig.worker.shutdown(rig.now()),
        }
        assert_eq!(rig.worker.counters().timers, timers);
        rig.advance(Duration::from_secs(100));
        rig.assert_idle();
    }
}
