//! An operation of a caller: its params, its request to the server, and its result.

use std::collections::BTreeMap;

use bytestring::ByteString;
use tidegate_engine::{Context, PendingData, StreamId, TimerId};
use tidegate_json::{Document, Gather, Parts};
use tidegate_streams::mcp::{McpBeginEx, McpEnd, McpParams, McpReset, McpResetKind};
use tidegate_streams::{Data, DataEx, Frame, ResetEx};

use crate::jsonrpc::{Id, Method};

/// Maximum number of questions of the server that wait for the caller's answer.
const QUESTIONS_MAX: usize = 16;

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its params are being received.
    Collecting,
    /// It waits for the session with the server.
    Waiting,
    /// The server has its request.
    Running,
    /// Its result is being sent.
    Replying,
    /// Its reply has begun and stays open: a session, or a subscription.
    Open,
}

/// An operation of a caller.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about the operation"
)]
pub(super) struct Call {
    pub(super) accepted: StreamId,
    pub(super) begin: McpBeginEx,
    /// `None`: a session.
    pub(super) method: Option<Method>,
    pub(super) state: State,
    /// The connection that it uses.
    pub(super) link: usize,
    /// Its running request.
    pub(super) request: Option<u64>,
    /// It was sent again, because its session had expired.
    pub(super) repeated: bool,
    /// Number of pages of the list of tools that were asked for, because the server missed its headers.
    pub(super) pages: u32,
    /// What the server has said about its headers, while the list is asked for.
    pub(super) mismatch: Option<McpReset>,
    /// The caller can be asked for input by a result.
    pub(super) takes_questions: bool,
    /// The caller wants progress notifications.
    pub(super) progress: bool,
    /// Its deadline, or its wait for params.
    pub(super) timer: Option<TimerId>,
    received: Gather,
    read: Option<McpParams>,
    /// The params, once complete. They are kept to be sent again.
    pub(super) params: Option<Document>,
    /// The reply has begun.
    has_begun: bool,
    back: PendingData,
    end: Option<McpEnd>,
    /// Questions of the server that the caller has not answered, by the id they have here.
    questions: BTreeMap<u64, Id>,
    next_question: u64,
}

impl Call {
    pub(super) fn new(accepted: StreamId, begin: McpBeginEx, link: usize) -> Self {
        let method = begin.method();
        let state = match method {
            Some(_) => State::Collecting,
            None => State::Waiting,
        };
        Self {
            accepted,
            begin,
            method,
            state,
            link,
            request: None,
            repeated: false,
            pages: 0,
            mismatch: None,
            takes_questions: false,
            progress: false,
            timer: None,
            received: Gather::new(),
            read: None,
            params: None,
            has_begun: false,
            back: PendingData::new(),
            end: None,
            questions: BTreeMap::new(),
            next_question: 1,
        }
    }

    /// Whether it is a list that may come without params.
    pub(super) const fn is_list(&self) -> bool {
        match self.method {
            Some(method) => method.is_paged(),
            None => false,
        }
    }

    /// Whether any of its params were received.
    pub(super) fn has_params(&self) -> bool {
        !self.received.is_empty()
    }

    /// Adds a part of the params; returns whether they are complete.
    pub(super) fn collect(&mut self, data: Data, max: usize) -> Result<bool, McpReset> {
        if self.received.len() + data.payload.len() > max {
            let message = format!("params exceed {max} bytes (maxMessageSize).");
            return Err(McpReset::new(McpResetKind::TooLarge, message));
        }
        if let Some(DataEx::Mcp(read)) = data.extension.map(tidegate_streams::Pooled::into_inner) {
            self.read = Some(read);
        }
        self.received.push(data.payload);
        Ok(data.flags.is_fin())
    }

    /// The params received so far, and their document if it came with them.
    pub(super) fn take_params(&mut self) -> (Parts, Option<Document>) {
        let params = self.received.take();
        let read = self.read.take().and_then(|read| read.of_parts(&params));
        (params, read)
    }

    /// Whether it waits for a result, and can be told something before that. The reply of a subscription
    /// begins with its confirmation only.
    pub(super) fn awaits_result(&self) -> bool {
        self.state == State::Running && self.method != Some(Method::ResourcesSubscribe)
    }

    /// The name or URI it is about.
    pub(super) fn subject(&mut self) -> Option<ByteString> {
        self.begin.subject_mut().cloned()
    }

    /// Begins the reply of a session or subscription, which stays open.
    pub(super) fn open(&mut self, cx: &mut Context<'_>, session_id: Option<ByteString>) {
        self.cancel_timer(cx);
        self.state = State::Open;
        self.params = None;
        self.begin_with(cx, session_id);
    }

    /// Begins the reply, unless it has begun: something is told before the result.
    pub(super) fn begin_reply(&mut self, cx: &mut Context<'_>) {
        self.begin_with(cx, None);
    }

    fn begin_with(&mut self, cx: &mut Context<'_>, session_id: Option<ByteString>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let mut begin = self.begin.clone();
            begin.set_session_id(session_id);
            cx.send(self.accepted, Frame::begin(begin));
        }
    }

    /// Sends the result.
    pub(super) fn reply(&mut self, cx: &mut Context<'_>, result: Parts, end: McpEnd) {
        self.cancel_timer(cx);
        self.state = State::Replying;
        self.params = None;
        self.begin_reply(cx);
        for data in Data::of_message(result) {
            self.back.push(data);
        }
        self.end = Some(end);
        self.flush(cx);
    }

    /// Sends what the credit allows of the result.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if self.back.flush(cx, self.accepted)
            && let Some(end) = self.end.take()
        {
            cx.end(self.accepted, Frame::end_with(end));
        }
    }

    /// Refuses the operation, or ends what was open.
    pub(super) fn refuse(&mut self, cx: &mut Context<'_>, mut reset: McpReset) {
        self.cancel_timer(cx);
        reset.not_sent |= matches!(self.state, State::Collecting | State::Waiting);
        cx.terminate(self.accepted, Some(ResetEx::Mcp(reset)), None);
    }

    /// A question of the server was passed on; returns the id that it has here, or `None` if too many
    /// wait for an answer.
    pub(super) fn ask(&mut self, id: Id) -> Option<u64> {
        if self.questions.len() >= QUESTIONS_MAX {
            return None;
        }
        let question = self.next_question;
        self.next_question += 1;
        self.questions.insert(question, id);
        Some(question)
    }

    /// Whether a question of the server waits for the caller's answer.
    pub(super) fn is_asked(&self) -> bool {
        !self.questions.is_empty()
    }

    /// The server's id of a question that is answered.
    pub(super) fn answered(&mut self, question: u64) -> Option<Id> {
        self.questions.remove(&question)
    }

    pub(super) fn cancel_timer(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
    }
}
