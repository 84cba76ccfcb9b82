//! One operation: the caller's stream, the stream to the exit, and what is between them.

use tidegate_engine::{At, Context, PendingData, StreamId};
use tidegate_json::Gather;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::{Data, Frame, ResetEx, Role};

use crate::list;
use crate::names::Names;
use crate::options::Options;

/// One way through the exchange: DATA that waits for credit, and the END behind it.
#[derive(Debug)]
struct Direction {
    from: StreamId,
    to: StreamId,
    waiting: PendingData,
    end: Option<Frame>,
}

impl Direction {
    const fn new(from: StreamId, to: StreamId) -> Self {
        Self {
            from,
            to,
            waiting: PendingData::new(),
            end: None,
        }
    }

    fn push(&mut self, cx: &mut Context<'_>, data: Data) {
        self.waiting.push(data);
        self.flush(cx);
    }

    /// Sends what the credit allows. The sender gets its credit back as its bytes leave, and so keeps
    /// to the receiver's pace.
    fn flush(&mut self, cx: &mut Context<'_>) {
        let before = self.waiting.len();
        let empty = self.waiting.flush(cx, self.to);
        cx.acknowledge(self.from, before - self.waiting.len());
        if empty && let Some(end) = self.end.take() {
            cx.end(self.to, end);
        }
    }

    fn end(&mut self, cx: &mut Context<'_>, end: Frame) {
        self.end = Some(end);
        self.flush(cx);
    }

    /// Nothing goes this way any more.
    fn close(&mut self) {
        self.waiting.clear();
        self.end = None;
    }
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Exchange {
    accepted: StreamId,
    opened: StreamId,
    forward: Direction,
    back: Direction,
    /// The list of tools as far as it has come; absent where the operation asks for none.
    list: Option<Gather>,
}

impl Exchange {
    pub(super) fn new(accepted: StreamId, opened: StreamId, lists_tools: bool) -> Self {
        Self {
            accepted,
            opened,
            forward: Direction::new(accepted, opened),
            back: Direction::new(opened, accepted),
            list: lists_tools.then(Gather::new),
        }
    }

    /// Takes a frame of either stream; whether the operation is over.
    pub(super) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        options: &Options,
        at: At,
        frame: Frame,
    ) -> bool {
        let (onward, against) = match at.role {
            Role::Callee => (&mut self.forward, &mut self.back),
            Role::Caller => (&mut self.back, &mut self.forward),
        };
        match frame {
            Frame::Data(data) if at.role == Role::Caller && self.list.is_some() => {
                self.gather(cx, options, data);
            }
            Frame::Data(data) => onward.push(cx, data),
            Frame::End(end) => {
                if at.role == Role::Callee || self.send_list(cx, &options.tools) {
                    self.end(cx, at.role, Frame::End(end));
                }
            }
            // Whoever has received something grants credit for what goes to it.
            Frame::Window(_) => against.flush(cx),
            Frame::Abort(abort) => {
                onward.close();
                cx.abort(onward.to, abort.map(|abort| *abort));
            }
            Frame::Reset(reset) => {
                against.close();
                cx.reset(against.from, reset.map(|reset| *reset));
            }
            frame @ (Frame::Begin(_) | Frame::Flush(_) | Frame::Challenge(_)) => {
                cx.send(onward.to, frame);
            }
        }
        cx.is_over(self.accepted) && cx.is_over(self.opened)
    }

    fn end(&mut self, cx: &mut Context<'_>, role: Role, end: Frame) {
        match role {
            Role::Callee => self.forward.end(cx, end),
            Role::Caller => self.back.end(cx, end),
        }
    }

    fn gather(&mut self, cx: &mut Context<'_>, options: &Options, data: Data) {
        let Some(list) = &mut self.list else {
            return;
        };
        let (length, max) = (data.payload.len(), options.max_list_size);
        if list.len() + length > max {
            let why = format!("The list of tools is larger than {max} bytes.");
            return self.refuse(cx, McpResetKind::TooLarge, &why);
        }
        list.push(data.payload);
        cx.acknowledge(self.opened, length);
    }

    /// Sends the list with its new names, if there is one; whether the reply may end.
    fn send_list(&mut self, cx: &mut Context<'_>, names: &Names) -> bool {
        let Some(mut list) = self.list.take() else {
            return true;
        };
        match list::rename(list.take(), names) {
            Ok(result) => {
                for data in Data::of_message(result) {
                    self.back.waiting.push(data);
                }
                true
            }
            Err(why) => {
                self.refuse(cx, McpResetKind::Internal, why);
                false
            }
        }
    }

    /// Tells the caller why there is no result, and ends both streams.
    fn refuse(&mut self, cx: &mut Context<'_>, kind: McpResetKind, why: &str) {
        let reset: ResetEx = McpReset::new(kind, why).into();
        cx.terminate(self.accepted, Some(reset), None);
        self.end_streams(cx);
    }

    /// Ends both streams, whatever their state.
    pub(super) fn end_streams(&mut self, cx: &mut Context<'_>) {
        self.forward.close();
        self.back.close();
        cx.terminate(self.accepted, None, None);
        cx.terminate(self.opened, None, None);
    }
}
