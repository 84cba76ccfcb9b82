//! Carries single streams to the worker that owns the state they refer to.
//!
//! On the worker where the stream began, the relay takes the place of the target binding; on the
//! owner, that of the caller. Every frame except BEGIN is passed on unchanged, including WINDOW:
//! the relay grants no credit of its own. So the data in flight between two workers, and their
//! mailboxes, are bounded by the credit that both ends have granted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use tidegate_engine::{At, BindingId, CallContext, Context, Duration, StreamId, Token};
use tidegate_streams::{BeginEx, Frame, FrameKind, Identity, Pooled, Role, Window};
use tokio::sync::mpsc::UnboundedSender;

use crate::handle::{Edge, Handle};
use crate::thread::Command;

/// Identifies a carried stream on both workers: the worker where it began, and its id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Carried {
    origin: u16,
    stream: StreamId,
}

/// A message from one worker to another.
#[derive(Debug)]
pub(crate) enum Passed {
    /// Opens the stream on its owner.
    Begin {
        carried: Carried,
        target: usize,
        begin: Pooled<BeginEx>,
        reply_credit: u32,
        call: PassedCall,
    },
    /// A frame from the origin to the owner.
    Forward { carried: Carried, frame: Frame },
    /// A frame from the owner to the origin.
    Back { carried: Carried, frame: Frame },
}

/// The call context of a stream. Each worker has its own clock, so the deadline is passed as the
/// remaining time.
#[derive(Debug)]
pub(crate) struct PassedCall {
    trace: u64,
    identity: Option<Arc<Identity>>,
    left: Option<Duration>,
}

impl PassedCall {
    fn of(cx: &Context<'_>, stream: StreamId) -> Self {
        let call = cx.call_of(stream).cloned().unwrap_or_default();
        Self {
            trace: call.trace,
            identity: call.identity,
            left: call.deadline.map(|deadline| deadline.since(cx.now())),
        }
    }

    fn here(self, cx: &Context<'_>) -> CallContext {
        CallContext {
            trace: self.trace,
            identity: self.identity,
            deadline: self.left.map(|left| cx.now() + left),
        }
    }
}

#[derive(Default)]
struct Table {
    /// On the owner: the local id of the stream.
    owned: BTreeMap<Carried, StreamId>,
    /// On the owner: the carried stream of a local id.
    carried: BTreeMap<StreamId, Carried>,
    /// On the origin: the number of the owner.
    owners: BTreeMap<StreamId, u16>,
    /// Frames to pass on.
    out: Vec<(At, Frame)>,
}

pub(crate) struct Relay {
    id: BindingId,
    worker: u16,
    mailboxes: Vec<UnboundedSender<Command>>,
    table: RefCell<Table>,
}

impl Relay {
    pub(crate) fn new(
        id: BindingId,
        worker: u16,
        mailboxes: Vec<UnboundedSender<Command>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            worker,
            mailboxes,
            table: RefCell::default(),
        })
    }

    /// Handles a message from another worker.
    pub(crate) fn take(&self, handle: &Handle, passed: Passed) {
        match passed {
            Passed::Begin {
                carried,
                target,
                begin,
                reply_credit,
                call,
            } => {
                let begin = begin.into_inner();
                self.begin(handle, carried, target, begin, reply_credit, call);
            }
            Passed::Forward { carried, frame } => {
                let stream = self.table.borrow().owned.get(&carried).copied();
                if let Some(stream) = stream {
                    self.send(handle, stream, frame);
                }
            }
            Passed::Back { carried, frame } => self.send(handle, carried.stream, frame),
        }
    }

    fn begin(
        &self,
        handle: &Handle,
        carried: Carried,
        target: usize,
        begin: BeginEx,
        reply_credit: u32,
        call: PassedCall,
    ) {
        let target = handle.with_worker(|worker| worker.binding_at(target));
        let opened = target.and_then(|target| {
            handle.turn(self.id, |cx| {
                let call = call.here(cx);
                let stream = cx.open_for(call, target, begin, Token::default());
                let stream = stream.ok()?;
                cx.grant(stream, reply_credit, 0);
                let mut table = self.table.borrow_mut();
                table.owned.insert(carried, stream);
                table.carried.insert(stream, carried);
                let window = Frame::Window(Window {
                    acknowledge: 0,
                    maximum: u32::try_from(cx.credit(stream)).unwrap_or(u32::MAX),
                    padding: 0,
                });
                // Before the credit that the target grants when it accepts the stream, later in
                // this turn.
                self.back(carried, window);
                Some(stream)
            })
        });
        if opened.is_none() {
            self.refuse(carried);
        }
    }

    /// Rejects a message from another worker: this worker has stopped.
    pub(crate) fn reject(&self, passed: &Passed) {
        if let Passed::Begin { carried, .. } = passed {
            self.refuse(*carried);
        }
    }

    fn refuse(&self, carried: Carried) {
        self.back(carried, Frame::reset());
        self.back(carried, Frame::abort());
    }

    fn back(&self, carried: Carried, frame: Frame) -> bool {
        self.pass(carried.origin, Passed::Back { carried, frame })
    }

    fn send(&self, handle: &Handle, stream: StreamId, frame: Frame) {
        let over = handle.turn(self.id, |cx| {
            cx.send(stream, frame);
            cx.is_over(stream)
        });
        if over {
            self.remove(stream);
        }
    }

    /// Removes a stream that has no further frames.
    fn remove(&self, stream: StreamId) {
        let mut table = self.table.borrow_mut();
        table.owners.remove(&stream);
        if let Some(carried) = table.carried.remove(&stream) {
            table.owned.remove(&carried);
        }
    }

    /// Passes a message to another worker; returns whether that worker still receives messages.
    fn pass(&self, worker: u16, passed: Passed) -> bool {
        let mailbox = self.mailboxes.get(usize::from(worker));
        mailbox.is_some_and(|mailbox| mailbox.send(Command::Passed(passed)).is_ok())
    }

    fn pass_output(&self, handle: &Handle, at: At, frame: Frame) -> bool {
        let carried = Carried {
            origin: self.worker,
            stream: at.stream,
        };
        if at.role == Role::Caller {
            let carried = self.table.borrow().carried.get(&at.stream).copied();
            return carried.is_none_or(|carried| self.back(carried, frame));
        }
        if let Frame::Begin(begin) = frame {
            let (owner, target) = (at.token.0 & 0xFFFF, (at.token.0 >> 16) as usize);
            let owner = u16::try_from(owner).unwrap_or(u16::MAX);
            self.table.borrow_mut().owners.insert(at.stream, owner);
            let (credit, call) = handle.turn(self.id, |cx| {
                (cx.credit(at.stream), PassedCall::of(cx, at.stream))
            });
            let reply_credit = u32::try_from(credit).unwrap_or(u32::MAX);
            return self.pass(
                owner,
                Passed::Begin {
                    carried,
                    target,
                    begin,
                    reply_credit,
                    call,
                },
            );
        }
        let owner = self.table.borrow().owners.get(&at.stream).copied();
        owner.is_none_or(|owner| self.pass(owner, Passed::Forward { carried, frame }))
    }
}

impl Edge for Relay {
    fn on_output(&self, at: At, frame: Frame) {
        self.table.borrow_mut().out.push((at, frame));
    }

    fn flush(&self, handle: &Handle) {
        let out = std::mem::take(&mut self.table.borrow_mut().out);
        let mut ended = BTreeSet::new();
        for (at, frame) in out {
            let last = matches!(
                frame.kind(),
                FrameKind::End | FrameKind::Abort | FrameKind::Reset
            );
            let passed = self.pass_output(handle, at, frame);
            if !passed {
                handle.turn(self.id, |cx| cx.terminate(at.stream, None, None));
            }
            if last || !passed {
                ended.insert(at.stream);
            }
        }
        // The last frames of a stream may come in one turn; all of them have been passed on by now.
        for stream in ended {
            if handle.turn(self.id, |cx| cx.is_over(stream)) {
                self.remove(stream);
            }
        }
    }
}

#[cfg(test)]
mod tests;
