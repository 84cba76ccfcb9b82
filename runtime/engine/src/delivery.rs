//! Delivery: the frames in the queue of a worker reach the ends of the streams that they are for, one by
//! one and in order.

use tidegate_streams::{Frame, FrameKind, Role};

use crate::binding::{At, BindingId, StreamId};
use crate::call::CallContext;
use crate::context::{Context, Core, Envelope};
use crate::worker::{Blame, Node, Output, Worker};

impl Worker {
    /// Drains the queue to idle, or as far as the limit of a turn allows.
    pub(crate) fn drain(&mut self) {
        for _ in 0..self.limits.frames_per_turn {
            if self.order.is_some() {
                self.draw();
            }
            if self.core.queue.is_empty() {
                return;
            }
            self.deliver();
        }
    }

    /// Moves a randomly chosen deliverable frame to the front.
    #[cold]
    fn draw(&mut self) {
        let (queue, Some(order)) = (&mut self.core.queue, &mut self.order) else {
            return;
        };
        let mut heads: Vec<usize> = Vec::new();
        for (index, envelope) in queue.iter().enumerate() {
            let end = |other: &usize| {
                queue
                    .get(*other)
                    .is_some_and(|other| other.stream == envelope.stream && other.to == envelope.to)
            };
            if !heads.iter().any(end) {
                heads.push(index);
            }
        }
        let drawn = order.next() % (heads.len().max(1) as u64);
        let index = usize::try_from(drawn)
            .ok()
            .and_then(|drawn| heads.get(drawn).copied());
        if let Some(envelope) = index.and_then(|index| queue.remove(index)) {
            queue.push_front(envelope);
        }
    }

    /// Delivers the first frame. The frame stays in the queue until its receiver is called, because
    /// moving frames would be the main cost here.
    fn deliver(&mut self) {
        let Core { queue, slots, .. } = &mut self.core;
        let Some(Envelope { stream, to, frame }) = queue.front() else {
            return;
        };
        let (stream, to, kind) = (*stream, *to, frame.kind());
        let slot = slots.get_mut(stream);
        let Some(slot) = slot.and_then(|slot| slot.receive(to, frame).then_some(slot)) else {
            queue.pop_front();
            self.core.counters.dropped += 1;
            return;
        };
        let (end, call) = (slot.end(to), slot.call.clone());
        let (binding, token, last) = (end.binding, end.token, end.is_done());
        self.core.counters.frames += 1;
        let at = At {
            stream,
            role: to,
            token: token.unwrap_or_default(),
        };
        match self.nodes.get(binding.index()) {
            Some(Node::Binding(_)) if kind == FrameKind::Begin && to == Role::Callee => {
                self.dispatch(binding, call, Blame::Opening(stream), |binding, cx| {
                    if let Some(Envelope { frame, .. }) = cx.core.queue.pop_front()
                        && let Frame::Begin(begin) = frame
                    {
                        binding.on_begin(cx, stream, begin.into_inner());
                    }
                });
                self.refuse_unless_accepted(binding, stream);
            }
            Some(Node::Binding(_)) => {
                self.dispatch(binding, call, Blame::Exchange(at.token), |binding, cx| {
                    if let Some(Envelope { frame, .. }) = cx.core.queue.pop_front() {
                        binding.on_frame(cx, at, frame);
                    }
                });
            }
            _ => {
                if let Some(Envelope { frame, .. }) = self.core.queue.pop_front() {
                    let edge = binding;
                    self.outputs.push_back(Output { edge, at, frame });
                }
            }
        }
        if last {
            self.core.settle(stream);
        }
    }

    fn refuse_unless_accepted(&mut self, binding: BindingId, stream: StreamId) {
        let refused = self.core.slots.get(stream).is_some_and(|slot| {
            slot.callee.binding == binding && slot.callee.token.is_none() && !slot.callee.is_done()
        });
        if refused {
            Context {
                core: &mut self.core,
                binding,
                call: CallContext::default(),
            }
            .terminate(stream, None, None);
        }
    }
}
