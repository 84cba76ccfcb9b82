//! Two workers on one thread, so that the relay's tables can be inspected.

use tidegate_engine::{Limits, Worker};
use tidegate_streams::line::LineBegin;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::descriptors::Descriptors;
use crate::watch::{FirstEnded, Watch};

/// Hands every stream over to the second worker, accepts it there, and leaves the rest to the test.
struct Owned {
    streams: Rc<RefCell<Vec<StreamId>>>,
}

impl tidegate_engine::Binding for Owned {
    fn exchanges(&self) -> usize {
        0
    }

    fn on_begin(&mut self, cx: &mut Context<'_>, stream: StreamId, begin: BeginEx) {
        if cx.worker() == 0 {
            cx.hand_over(stream, begin, 1);
        } else {
            cx.accept(stream, Token::default());
            cx.send(stream, Frame::begin(begin));
            self.streams.borrow_mut().push(stream);
        }
    }

    fn on_frame(&mut self, _: &mut Context<'_>, _: At, _: Frame) {}

    fn on_fault(&mut self, _: &mut Context<'_>, _: Token) {}
}

/// Discards every frame.
struct Silent;

impl Edge for Silent {
    fn on_output(&self, _: At, _: Frame) {}
}

struct Side {
    handle: Handle,
    relay: Rc<Relay>,
    mailbox: Option<UnboundedReceiver<Command>>,
    owned: BindingId,
    caller: BindingId,
    streams: Rc<RefCell<Vec<StreamId>>>,
}

impl Side {
    fn new(worker: u16, mailboxes: Vec<UnboundedSender<Command>>) -> Self {
        let handle = Handle::new(
            Worker::new(worker, [1; 32], Limits::default()),
            Watch::new(worker, FirstEnded::default()),
            Descriptors::default(),
        );
        let id = handle.with_worker(|it| it.attach_relay(2));
        let relay = Relay::new(id, worker, mailboxes);
        handle.place_edge(id, relay.clone());
        let streams = Rc::new(RefCell::new(Vec::new()));
        let owned = Box::new(Owned {
            streams: Rc::clone(&streams),
        });
        let owned = handle.with_worker(|it| it.attach("owned", owned));
        let caller = handle.with_worker(|it| it.attach_edge("caller", 1_000));
        handle.place_edge(caller, Rc::new(Silent));
        Self {
            handle,
            relay,
            mailbox: None,
            owned,
            caller,
            streams,
        }
    }

    fn is_empty(&self) -> bool {
        let table = self.relay.table.borrow();
        table.owned.is_empty()
            && table.carried.is_empty()
            && table.owners.is_empty()
            && table.out.is_empty()
            && self.handle.counters().streams == 0
    }
}

struct Two {
    origin: Side,
    owner: Side,
}

impl Two {
    fn new() -> Self {
        let (first, second) = (unbounded_channel(), unbounded_channel());
        let mailboxes = vec![first.0, second.0];
        let mut two = Self {
            origin: Side::new(0, mailboxes.clone()),
            owner: Side::new(1, mailboxes),
        };
        two.origin.mailbox = Some(first.1);
        two.owner.mailbox = Some(second.1);
        two
    }

    fn open(&self) -> StreamId {
        self.open_for(|_| CallContext::default())
    }

    fn open_for(&self, call: impl FnOnce(&Context<'_>) -> CallContext) -> StreamId {
        let origin = &self.origin;
        let opened = origin.handle.turn(origin.caller, |cx| {
            let call = call(cx);
            cx.open_for(call, origin.owned, LineBegin {}, Token::default())
        });
        opened.expect("there is room for a stream")
    }

    /// Delivers the messages in both mailboxes until both are empty.
    fn pass(&mut self) {
        loop {
            let mut passed = false;
            for side in [&mut self.origin, &mut self.owner] {
                let Some(mailbox) = &mut side.mailbox else {
                    continue;
                };
                while let Ok(Command::Passed(what)) = mailbox.try_recv() {
                    side.relay.take(&side.handle, what);
                    passed = true;
                }
            }
            if !passed {
                return;
            }
        }
    }

    fn at_caller(&self, stream: StreamId, frames: impl IntoIterator<Item = Frame>) {
        self.origin.handle.turn(self.origin.caller, |cx| {
            for frame in frames {
                cx.send(stream, frame);
            }
        });
    }

    fn at_owner(&self, frames: impl IntoIterator<Item = Frame>) {
        let stream = *self.owner.streams.borrow().last().expect("a stream came");
        self.owner.handle.turn(self.owner.owned, |cx| {
            for frame in frames {
                cx.send(stream, frame);
            }
        });
    }
}

fn both() -> [Frame; 2] {
    [Frame::reset(), Frame::abort()]
}

#[test]
fn a_stream_is_removed_however_it_ends() {
    type End = fn(&mut Two, StreamId);
    let ends: [(&str, End); 7] = [
        ("both end", |two, stream| {
            two.at_caller(stream, [Frame::end()]);
            two.pass();
            two.at_owner([Frame::end()]);
        }),
        ("both end, the owner first", |two, stream| {
            two.at_owner([Frame::end()]);
            two.pass();
            two.at_caller(stream, [Frame::end()]);
        }),
        ("the caller aborts", |two, stream| {
            two.at_caller(stream, both());
        }),
        ("the owner refuses", |two, _| two.at_owner(both())),
        ("both abort at once", |two, stream| {
            two.at_caller(stream, both());
            two.at_owner(both());
        }),
        ("an end crosses a reset", |two, stream| {
            two.at_caller(stream, [Frame::end()]);
            two.at_owner(both());
        }),
        ("an end crosses an abort", |two, stream| {
            two.at_owner([Frame::end()]);
            two.at_caller(stream, both());
        }),
    ];
    let mut two = Two::new();
    for (name, end) in ends {
        let stream = two.open();
        two.pass();
        assert!(!two.origin.is_empty() && !two.owner.is_empty());
        end(&mut two, stream);
        two.pass();
        assert!(two.origin.is_empty(), "{name}: where it began");
        assert!(two.owner.is_empty(), "{name}: at the owner");
        for side in [&two.origin, &two.owner] {
            assert_eq!(side.handle.counters().violations, 0, "{name}");
        }
    }
}

#[test]
fn a_stream_aborted_before_it_reaches_the_owner_is_removed() {
    let mut two = Two::new();
    let stream = two.open();
    two.at_caller(stream, both());
    two.pass();
    assert!(two.origin.is_empty() && two.owner.is_empty());
}

#[test]
fn a_stream_to_a_stopped_owner_is_reset() {
    let mut two = Two::new();
    two.owner.mailbox = None;
    two.open();
    assert!(two.origin.is_empty(), "refused at once");
}

#[test]
fn streams_of_a_stopped_owner_are_reset_at_their_next_frame() {
    let mut two = Two::new();
    let stream = two.open();
    two.pass();
    two.owner.mailbox = None;
    two.at_caller(stream, [Frame::data(b"hello"[..].into())]);
    assert!(two.origin.is_empty());
}

#[test]
fn a_stopped_worker_rejects_messages_in_its_mailbox() {
    let mut two = Two::new();
    two.open();
    let mut mailbox = two.owner.mailbox.take().expect("it is there");
    mailbox.close();
    while let Ok(Command::Passed(passed)) = mailbox.try_recv() {
        two.owner.relay.reject(&passed);
    }
    two.pass();
    assert!(two.origin.is_empty());
}

#[test]
fn frames_of_unknown_streams_are_dropped() {
    let mut two = Two::new();
    let stream = two.open();
    let carried = Carried { origin: 0, stream };
    two.pass();
    two.at_caller(stream, both());
    two.pass();
    for frame in [Frame::end(), Frame::data(b"late"[..].into())] {
        let late = Passed::Forward {
            carried,
            frame: frame.clone(),
        };
        two.owner.relay.take(&two.owner.handle, late);
        let late = Passed::Back { carried, frame };
        two.origin.relay.take(&two.origin.handle, late);
    }
    assert!(two.origin.is_empty() && two.owner.is_empty());
}

#[test]
fn identity_trace_and_remaining_deadline_are_carried() {
    let mut two = Two::new();
    let identity = Some(Arc::new(Identity {
        subject: "alice".into(),
        ..Identity::default()
    }));
    let stated = identity.clone();
    two.open_for(|cx| CallContext {
        trace: 7,
        identity: stated,
        deadline: Some(cx.now() + Duration::from_secs(3_600)),
    });
    two.pass();
    let owner = &two.owner;
    let stream = owner.streams.borrow().first().copied();
    let stream = stream.expect("it was handed over");
    let (call, now) = owner.handle.turn(owner.caller, |cx| {
        let call = cx.call_of(stream).cloned();
        (call.expect("it is open"), cx.now())
    });
    assert_eq!((call.trace, call.identity), (7, identity));
    let left = call.deadline.map(|deadline| deadline.since(now));
    assert!(left.is_some_and(|left| left > Duration::ZERO && left <= Duration::from_secs(3_600)));
}
