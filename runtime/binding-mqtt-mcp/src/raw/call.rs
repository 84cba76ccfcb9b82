//! The operation of a raw request at the exit: an mcp stream, from its params to its result.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use tidegate_engine::{
    BindingId, CallContext, Context, OpenError, PendingData, StreamId, Time, Token,
};
use tidegate_jsonrpc::{Era, Error, Method, code, code_of};
use tidegate_streams::mcp::{
    McpBeginEx, McpCapabilities, McpChallenge, McpEnd, McpFlushEx, McpLifecycle, McpOutcome,
    McpReset, capability_to_ask,
};
use tidegate_streams::{
    AbortEx, BeginEx, ChallengeEx, Data, DataFlags, EndEx, FlushEx, Frame, Pooled, ResetEx,
    Visible, shown,
};

use super::request::Operation;
use crate::failure::{Executed, Failure, Reason, Status};

/// Most notifications of a request that the broker has not acknowledged. Further progress and log messages are left
/// out.
pub(crate) const NOTICES_MAX: usize = 16;

/// An operation that waits for its result.
#[derive(Debug)]
pub(crate) struct RawCall {
    pub(crate) method: Method,
    /// Name or URI of what it is about; empty if it is about none.
    pub(crate) subject: ByteString,
    pub(crate) begun: Time,
    pub(crate) context: CallContext,
    stream: StreamId,
    pending: PendingData,
    result: BytesMut,
    max: usize,
    /// Number of its notifications that are on their way.
    pub(crate) notices: usize,
}

/// What a frame of the stream means.
#[derive(Debug)]
pub(crate) enum Told {
    /// The operation has ended.
    Ended(Result<Outcome, Ill>),
    /// It tells something before its result.
    Notice(McpFlushEx),
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Result(Bytes, McpEnd),
    /// What the exit offers, for `server/discover`.
    Capabilities(McpCapabilities),
}

/// A failure, and the error of the response, if it has one of its own.
pub(crate) type Ill = (Failure, Option<Error>);

impl RawCall {
    /// Opens the stream of an operation, and sends its params. A result of more than `max` bytes is a failure.
    pub(crate) fn open(
        cx: &mut Context<'_>,
        exit: BindingId,
        token: Token,
        operation: &Operation,
        context: CallContext,
        max: usize,
    ) -> Result<Self, OpenError> {
        let mut begin = operation.begin.clone();
        let subject = begin.subject_mut().cloned().unwrap_or_default();
        let stream = cx.open_for(context.clone(), exit, BeginEx::Mcp(begin), token)?;
        let mut pending = PendingData::new();
        let params = operation.params.clone();
        pending.send(cx, stream, Data::part(DataFlags::WHOLE, params));
        Ok(Self {
            method: operation.method,
            subject,
            begun: cx.now(),
            context,
            stream,
            pending,
            result: BytesMut::new(),
            max,
            notices: 0,
        })
    }

    /// Asks the exit what it offers.
    pub(crate) fn discover(
        cx: &mut Context<'_>,
        exit: BindingId,
        token: Token,
        context: CallContext,
    ) -> Result<Self, OpenError> {
        let stream = cx.open_for(context.clone(), exit, McpLifecycle::default(), token)?;
        Ok(Self {
            method: Method::Discover,
            subject: ByteString::new(),
            begun: cx.now(),
            context,
            stream,
            pending: PendingData::new(),
            result: BytesMut::new(),
            max: 0,
            notices: 0,
        })
    }

    pub(crate) fn is_of(&self, stream: StreamId) -> bool {
        self.stream == stream
    }

    /// What is executed if it is not known how far it came: only tools execute something.
    pub(crate) fn executed(&self) -> Executed {
        match self.method {
            Method::ToolsCall => Executed::Possibly,
            _ => Executed::No,
        }
    }

    /// A frame of the stream. It is done with when the operation has ended.
    pub(crate) fn on_frame(&mut self, cx: &mut Context<'_>, frame: Frame) -> Option<Told> {
        match frame {
            Frame::Begin(begin) if self.method == Method::Discover => {
                let BeginEx::Mcp(McpBeginEx::Lifecycle(lifecycle)) = begin.into_inner() else {
                    return None;
                };
                cx.end(self.stream, Frame::end());
                self.cancel(cx);
                let capabilities = lifecycle.capabilities;
                Some(Told::Ended(Ok(Outcome::Capabilities(capabilities))))
            }
            Frame::Data(data) => {
                cx.acknowledge(self.stream, data.payload.len());
                self.result.extend_from_slice(&data.payload);
                (self.result.len() > self.max).then(|| {
                    self.cancel(cx);
                    Told::Ended(Err(self.too_large()))
                })
            }
            Frame::End(end) => Some(Told::Ended(self.ended(cx, end))),
            Frame::Reset(reset) => {
                cx.terminate(self.stream, None, None);
                let reset = reset.and_then(|reset| match *reset {
                    ResetEx::Mcp(reset) => Some(reset),
                    _ => None,
                });
                Some(Told::Ended(Err(self.refused(reset))))
            }
            Frame::Abort(abort) => {
                cx.terminate(self.stream, None, None);
                let reason = abort.and_then(|abort| match *abort {
                    AbortEx::Mcp(abort) => abort.reason,
                    _ => None,
                });
                let reason = reason.map_or_else(String::new, |it| format!(": {it}"));
                let what = format!("The result was cut off{reason}.");
                Some(Told::Ended(Err((self.failure(Failure::lost(what)), None))))
            }
            Frame::Window(_) => {
                self.pending.flush(cx, self.stream);
                None
            }
            Frame::Flush(flush) => match *flush {
                FlushEx::Mcp(flush) => Some(Told::Notice(flush)),
                _ => None,
            },
            Frame::Challenge(challenge) => {
                let ChallengeEx::Mcp(challenge) = *challenge;
                if challenge.cancelled {
                    return None;
                }
                self.cancel(cx);
                Some(Told::Ended(Err(self.asks(&challenge))))
            }
            Frame::Begin(_) => None,
        }
    }

    /// Gives the operation up.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) {
        cx.terminate(self.stream, None, None);
        self.pending.clear();
    }

    fn ended(&mut self, cx: &mut Context<'_>, end: Option<Pooled<EndEx>>) -> Result<Outcome, Ill> {
        if self.pending.is_empty() {
            cx.end(self.stream, Frame::end());
        } else {
            self.cancel(cx);
        }
        if self.method == Method::Discover {
            return Err(self.refused(None));
        }
        let end = match end.map(Pooled::into_inner) {
            Some(EndEx::Mcp(end)) => end,
            _ => McpEnd::default(),
        };
        let result = std::mem::take(&mut self.result).freeze();
        Ok(Outcome::Result(result, end))
    }

    /// A failure of the operation, which executes something only if it is that of a tool.
    pub(crate) fn failure(&self, failure: Failure) -> Failure {
        let executed = match self.executed() {
            Executed::No => Executed::No,
            _ => failure.executed,
        };
        Failure {
            executed,
            ..failure
        }
    }

    fn refused(&self, reset: Option<McpReset>) -> Ill {
        let Some(reset) = reset else {
            let what = "The operation was ended without a reason.";
            return (self.failure(Failure::lost(what)), None);
        };
        let mut failure = self.failure(Failure::of_reset(&reset));
        if failure.reason == Reason::UnknownTool && self.method != Method::ToolsCall {
            failure.reason = Reason::InvalidArguments;
        }
        let message = Visible(shown(&reset.message)).to_string();
        let code = code_of(&reset, self.method, Era::Modern);
        let error = Error::new(code, message).with_data(reset.data);
        (failure, Some(error))
    }

    fn asks(&self, challenge: &McpChallenge) -> Ill {
        let what = "The operation asks for input while it runs, which is not possible here.";
        let failure = self.failure(Failure {
            status: Status::Failed,
            reason: Reason::InputRequired,
            message: what.to_owned(),
            executed: Executed::Possibly,
        });
        let capability = capability_to_ask(&challenge.method, false);
        let error = capability.map(|capability| {
            let reset = McpReset::missing_capability(capability);
            Error::new(code::MISSING_CLIENT_CAPABILITY, what).with_data(reset.data)
        });
        (failure, error)
    }

    fn too_large(&self) -> Ill {
        let failure = self.failure(Failure {
            status: Status::Failed,
            reason: Reason::TooLarge,
            message: format!("The result exceeds {} bytes (maxResult).", self.max),
            executed: Executed::Yes,
        });
        let error = Error::new(code::INTERNAL_ERROR, failure.message.as_str());
        (failure, Some(error))
    }
}

/// The failure of a tool that reported an error, which its result says.
pub(crate) fn tool_failed(end: &McpEnd) -> Option<Failure> {
    (end.outcome == McpOutcome::Error).then(|| Failure::of_tool("The tool reported an error."))
}
