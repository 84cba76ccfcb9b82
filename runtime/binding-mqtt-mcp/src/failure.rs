//! Why a request failed, and whether anything was executed.

use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::{Visible, shown, words};

words! {
    /// What became of a request.
    pub enum Status {
        /// All tools that it needs succeeded.
        Done "done",
        /// A tool reported an error, or its server did.
        Failed "failed",
        /// It was refused: nothing was executed.
        Rejected "rejected",
        /// There was no result in time.
        TimedOut "timedOut",
        /// A result was lost, so that it is not known what was executed.
        Unknown "unknown",
    }
}

words! {
    /// Whether a tool was executed.
    pub enum Executed {
        /// No tool was called.
        No "no",
        /// A tool was called, and it is not known how far it came.
        Possibly "possibly",
        /// A tool was called and answered.
        Yes "yes",
    }
}

words! {
    /// Why a request failed, for programs.
    pub enum Reason {
        /// The payload is not JSON.
        InvalidPayload "invalidPayload",
        /// The payload, the correlation, or the result of a tool exceeds a limit.
        TooLarge "tooLarge",
        /// The topic for the answer is not one that the request may name.
        ReplyTopicRefused "replyTopicRefused",
        /// A template could not be rendered: a value is missing, or has another type.
        InvalidRequest "invalidRequest",
        /// The tool is not one of those that the request may choose from.
        NotAllowed "notAllowed",
        /// The exit knows no such tool.
        UnknownTool "unknownTool",
        /// The exit refuses the arguments.
        InvalidArguments "invalidArguments",
        /// The exit refuses the caller.
        NotAuthorized "notAuthorized",
        /// Too many requests wait.
        Busy "busy",
        /// The same correlation was used for another request.
        CorrelationReused "correlationReused",
        /// The tool reported an error.
        ToolError "toolError",
        /// The tool asks for input, which a device cannot give.
        InputRequired "inputRequired",
        /// The server of the tool reported an error.
        ServerError "serverError",
        /// The server of the tool cannot be reached.
        Unavailable "unavailable",
        /// There was no result in time.
        TimedOut "timedOut",
        /// The device does not wait for it any more.
        Cancelled "cancelled",
        /// It was executed before, and its answer is not kept any more.
        AnswerForgotten "answerForgotten",
        /// The answer could not be rendered.
        InvalidAnswer "invalidAnswer",
        /// The gateway ended while the request was executed.
        Interrupted "interrupted",
        /// The gateway is stopping.
        Stopping "stopping",
        /// An internal error in tidegate.
        Internal "internal",
    }
}

impl Executed {
    /// The one of both with more executed.
    pub(crate) const fn or_more(self, other: Self) -> Self {
        if other as u8 > self as u8 {
            other
        } else {
            self
        }
    }
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) reason: Reason,
    /// A plain sentence.
    pub(crate) message: String,
    pub(crate) executed: Executed,
}

/// Codes of JSON-RPC.
const METHOD_NOT_FOUND: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;
/// Most characters of a message from outside.
const MESSAGE_MAX: usize = 1_000;

impl Failure {
    /// A request that is refused before anything is executed.
    pub(crate) fn rejected(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: Status::Rejected,
            reason,
            message: message.into(),
            executed: Executed::No,
        }
    }

    /// A request with the correlation of another one.
    pub(crate) fn correlation_reused() -> Self {
        let message = "The same correlation was used for another request; use a new one.";
        Self::rejected(Reason::CorrelationReused, message)
    }

    /// A tool that reported an error.
    pub(crate) fn of_tool(text: &str) -> Self {
        let message = text.chars().take(MESSAGE_MAX);
        Self {
            status: Status::Failed,
            reason: Reason::ToolError,
            message: Visible(message.collect::<String>()).to_string(),
            executed: Executed::Yes,
        }
    }

    /// A call that was refused or ended by the exit.
    pub(crate) fn of_reset(reset: &McpReset) -> Self {
        use McpResetKind as Kind;
        let message = Visible(shown(&reset.message)).to_string();
        let refused = |reason| Self::rejected(reason, message.clone());
        match reset.kind {
            Kind::NotFound => refused(Reason::UnknownTool),
            Kind::Invalid | Kind::HeaderMismatch => refused(Reason::InvalidArguments),
            Kind::NotAuthorized => refused(Reason::NotAuthorized),
            Kind::MissingCapability => refused(Reason::InputRequired),
            Kind::TimedOut if reset.not_sent => Self {
                executed: Executed::No,
                ..Self::timed_out(message)
            },
            Kind::TimedOut => Self::timed_out(message),
            Kind::TooLarge => Self {
                reason: Reason::TooLarge,
                ..Self::lost(message)
            },
            Kind::Unavailable if reset.not_sent => refused(Reason::Unavailable),
            Kind::Unavailable => Self::lost(message),
            // A limit of the gateway: the server was not asked.
            Kind::Busy => refused(Reason::Busy),
            // The server refuses the call before it runs the tool.
            Kind::Relayed if reset.code == Some(METHOD_NOT_FOUND) => refused(Reason::UnknownTool),
            // Servers say this also of a result that does not fit the tool's schema, after they have run it.
            Kind::Relayed if reset.code == Some(INVALID_PARAMS) => Self {
                status: Status::Failed,
                reason: Reason::InvalidArguments,
                ..Self::lost(message)
            },
            Kind::Relayed => Self {
                status: Status::Failed,
                reason: Reason::ServerError,
                ..Self::lost(message)
            },
            Kind::SlowConsumer | Kind::Internal => Self {
                reason: Reason::Internal,
                ..Self::lost(message)
            },
        }
    }

    /// A call without a result in time.
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self {
            status: Status::TimedOut,
            reason: Reason::TimedOut,
            message: message.into(),
            executed: Executed::Possibly,
        }
    }

    /// A call whose result was lost.
    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self {
            status: Status::Unknown,
            reason: Reason::Unavailable,
            message: message.into(),
            executed: Executed::Possibly,
        }
    }

    /// A request that was executed before, and comes again when its answer is not kept any more.
    pub(crate) fn answer_forgotten(executed: Executed) -> Self {
        Self {
            status: Status::Unknown,
            reason: Reason::AnswerForgotten,
            message: "The request was executed before; its answer is not kept any more \
                      (maxRememberedBytes)."
                .to_owned(),
            executed,
        }
    }

    /// Whether another attempt may succeed.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(
            self.reason,
            Reason::Unavailable
                | Reason::TimedOut
                | Reason::ServerError
                | Reason::Internal
                | Reason::Busy
        )
    }

    /// Whether nothing was executed, and another attempt may succeed.
    pub(crate) fn may_be_repeated(&self) -> bool {
        self.executed == Executed::No && self.may_pass()
    }

    /// The failure of a request whose other tools were executed up to `executed`.
    #[must_use]
    pub(crate) fn after(mut self, executed: Executed) -> Self {
        self.executed = self.executed.or_more(executed);
        if self.executed != Executed::No && self.status == Status::Rejected {
            self.status = Status::Failed;
        }
        self
    }
}
