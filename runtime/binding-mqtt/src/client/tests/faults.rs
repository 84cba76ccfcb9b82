//! A panic in a handler: the connection whose state was being changed is closed, and others are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_engine::streams::{BeginEx, Frame, Role};
use tidegate_engine::{At, Binding, Context, StreamId, Token};

use super::super::MqttClient;
use super::harness::*;

/// The binding under test; its next frame from a broker, or its next timer, panics when armed.
struct Panicking {
    inner: MqttClient,
    frame: Arc<AtomicBool>,
    timer: Arc<AtomicBool>,
}

impl Binding for Panicking {
    fn window(&self) -> u32 {
        self.inner.window()
    }

    fn exchanges(&self) -> usize {
        self.inner.exchanges()
    }

    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.inner.on_start(cx);
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        self.inner.on_begin(cx, stream, begin);
    }

    fn on_frame(&mut self, cx: &mut Context<'_>, at: At, frame: Frame) {
        let armed = at.role == Role::Caller && self.frame.swap(false, Ordering::Relaxed);
        assert!(!armed, "a fault in a frame");
        self.inner.on_frame(cx, at, frame);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, token: Token, kind: u32) {
        assert!(
            !self.timer.swap(false, Ordering::Relaxed),
            "a fault in a timer"
        );
        self.inner.on_timer(cx, token, kind);
    }

    fn on_fault(&mut self, cx: &mut Context<'_>, token: Token) {
        self.inner.on_fault(cx, token);
    }
}

struct Fault {
    frame: Arc<AtomicBool>,
    timer: Arc<AtomicBool>,
}

fn harness() -> (Harness, Fault) {
    let fault = Fault {
        frame: Arc::default(),
        timer: Arc::default(),
    };
    let (frame, timer) = (fault.frame.clone(), fault.timer.clone());
    let harness = Harness::with_binding(r#"{"keepAlive":0}"#, |inner| Panicking {
        inner,
        frame,
        timer,
    });
    (harness, fault)
}

#[test]
fn a_fault_closes_the_connection_it_happened_on_and_no_other() {
    let (mut harness, fault) = harness();
    let broken = harness.subscribe_as("one", "a");
    let (first, _) = harness.connect();
    let subscribe = harness.subscribed(first);
    harness.suback(first, &subscribe, 0);
    harness.seen(broken).granted();
    let other = harness.subscribe_as("two", "b");
    let (second, _) = harness.connect();
    let subscribe = harness.subscribed(second);
    harness.suback(second, &subscribe, 0);
    harness.seen(other).granted();

    fault.frame.store(true, Ordering::Relaxed);
    harness.raw(first, vec![0xD0, 0]);
    assert!(harness.seen(broken).reset.is_some(), "its caller is told");
    assert!(harness.seen(other).is_nothing());

    // The same client gets a new connection, not what is left of the old one.
    let again = harness.subscribe_as("one", "a");
    let (third, connect) = harness.connect();
    assert_eq!(connect.client_id, "one");
    let subscribe = harness.subscribed(third);
    harness.suback(third, &subscribe, 0);
    harness.seen(again).granted();
}

#[test]
fn a_fault_in_the_timer_of_the_next_attempt_does_not_stop_the_attempts() {
    let (mut harness, fault) = harness();
    let stream = harness.subscribe(&[("a", 0)]);
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    harness.seen(stream).granted();
    harness.break_off(bytes, "gone");
    let bytes = harness.accept();
    harness.break_off(bytes, "gone");
    harness.no_connection();

    fault.timer.store(true, Ordering::Relaxed);
    harness.advance(60_000);
    assert!(!fault.timer.load(Ordering::Relaxed), "the timer was due");
    let (bytes, _) = harness.connect();
    let subscribe = harness.subscribed(bytes);
    harness.suback(bytes, &subscribe, 0);
    assert!(harness.seen(stream).reset.is_none());
}
