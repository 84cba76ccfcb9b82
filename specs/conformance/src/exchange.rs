//! One operation: its `params`, its plan, and the reply.

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::{Context, Duration, PendingData, StreamId, TimerId, Token};
use tidegate_json::Gather;
use tidegate_streams::mcp::{
    McpBeginEx, McpCacheScope, McpCapabilities, McpChallenge, McpEnd, McpFlushEx, McpLog,
    McpOutcome, McpProgress, McpReset, McpResetKind,
};
use tidegate_streams::{Data, DataFlags, FlushEx, Frame};

use crate::plan::{Answer, Call, List, Plan, Reply, Step};
use crate::{lists, prompts, resources, tools};

/// How long a list or a resource stays fresh.
const FRESH_MS: u64 = 300_000;

/// What became of an operation.
pub(crate) enum Progress {
    /// It waits for something.
    Waits,
    /// It has changed a list.
    Changed(List),
    /// It has ended.
    Over,
}

/// An operation.
pub(crate) struct Exchange {
    stream: StreamId,
    begin: McpBeginEx,
    params: Gather,
    call: Option<Call>,
    plan: Plan,
    begun: bool,
    timer: Option<TimerId>,
    /// What was asked and is not answered, and the id of the last.
    open: Vec<u64>,
    asked: u64,
    out: PendingData,
    end: Option<McpEnd>,
}

impl Exchange {
    pub(crate) fn new(stream: StreamId, begin: McpBeginEx) -> Self {
        Self {
            stream,
            begin,
            params: Gather::new(),
            call: None,
            plan: Plan::new(),
            begun: false,
            timer: None,
            open: Vec::new(),
            asked: 0,
            out: PendingData::new(),
            end: None,
        }
    }

    /// Takes a frame of the caller; whether the operation can go on.
    pub(crate) fn on_frame(&mut self, cx: &mut Context<'_>, frame: Frame) -> bool {
        match frame {
            Frame::Data(data) => {
                let last = data.flags.is_fin();
                cx.acknowledge(self.stream, data.payload.len());
                self.params.push(data.payload);
                if last && self.call.is_none() {
                    self.start();
                    return true;
                }
            }
            Frame::Flush(flush) => {
                if let FlushEx::Mcp(McpFlushEx::Response(response)) = *flush
                    && let Some(at) = self.open.iter().position(|id| *id == response.id)
                {
                    self.open.remove(at);
                    if let Some(call) = &mut self.call {
                        call.answers.push(Answer {
                            how: response.answer,
                            content: serde_json::from_slice(&response.content)
                                .unwrap_or(Value::Null),
                        });
                    }
                    return self.open.is_empty();
                }
            }
            Frame::Window(_) => self.flush(cx),
            Frame::End(_) if self.end.is_some() || !self.begun => {}
            Frame::Abort(_) | Frame::Reset(_) => self.abort(cx),
            _ => {}
        }
        false
    }

    pub(crate) fn on_timer(&mut self, _: &mut Context<'_>) {
        self.timer = None;
    }

    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        cx.is_over(self.stream)
    }

    pub(crate) fn abort(&mut self, cx: &mut Context<'_>) {
        self.plan.clear();
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
        cx.terminate(self.stream, None, None);
    }

    /// The `params` are complete.
    fn start(&mut self) {
        let params = self.params.take().contiguous();
        let mut call = Call {
            params: serde_json::from_slice(&params).unwrap_or_else(|_| json!({})),
            capabilities: McpCapabilities::NONE,
            headers: Vec::new(),
            headers_required: false,
            answers: Vec::new(),
        };
        self.plan = match &self.begin {
            McpBeginEx::ToolsCall(tool) => {
                call.capabilities = tool.capabilities;
                call.headers.clone_from(&tool.headers);
                call.headers_required = tool.headers_required;
                tools::plan(&tool.name, &call)
            }
            McpBeginEx::PromptsGet(prompt) => {
                call.capabilities = prompt.capabilities;
                prompts::plan(&prompt.name)
            }
            McpBeginEx::ResourcesRead(resource) => resources::plan(&resource.uri),
            McpBeginEx::CompletionComplete(_) => crate::plan::reply(prompts::complete),
            other => lists::plan(other),
        };
        self.call = Some(call);
    }

    /// Plays the plan until it waits.
    pub(crate) fn play(&mut self, cx: &mut Context<'_>, token: Token) -> Progress {
        if self.timer.is_some() || !self.open.is_empty() {
            return Progress::Waits;
        }
        while let Some(step) = self.plan.pop_front() {
            match step {
                Step::Log(text) => {
                    let params = json!({ "level": "info", "data": text });
                    let log = McpLog {
                        params: Bytes::from(params.to_string()),
                    };
                    self.tell(cx, Frame::flush(log));
                }
                Step::Progress(progress) => {
                    let progress = McpProgress {
                        progress: progress.to_string().into(),
                        total: Some("100".into()),
                        message: Some(format!("Completed step {progress} of 100").into()),
                    };
                    self.tell(cx, Frame::flush(progress));
                }
                Step::Pause => {
                    let pause = Duration::from_millis(50);
                    self.timer = Some(cx.timer(pause, token, 0, "conformance.pause"));
                    return Progress::Waits;
                }
                Step::Ask(requests) => {
                    self.ask(cx, requests);
                    return Progress::Waits;
                }
                Step::Changed(list) => return Progress::Changed(list),
                Step::Reply(reply) => self.reply(cx, reply),
            }
        }
        if self.is_over(cx) {
            return Progress::Over;
        }
        Progress::Waits
    }

    fn ask(&mut self, cx: &mut Context<'_>, requests: Vec<(&'static str, Value)>) {
        for (method, params) in requests {
            self.asked += 1;
            self.open.push(self.asked);
            let challenge = McpChallenge {
                id: self.asked,
                method: method.into(),
                params: Bytes::from(params.to_string()),
                cancelled: false,
            };
            cx.send(self.stream, Frame::challenge(challenge));
        }
    }

    fn tell(&mut self, cx: &mut Context<'_>, frame: Frame) {
        self.begin_reply(cx);
        cx.send(self.stream, frame);
    }

    fn begin_reply(&mut self, cx: &mut Context<'_>) {
        if !self.begun {
            self.begun = true;
            cx.send(self.stream, Frame::begin(self.begin.clone()));
        }
    }

    fn reply(&mut self, cx: &mut Context<'_>, reply: fn(&Call) -> Reply) {
        let reply = match &self.call {
            Some(call) => reply(call),
            None => Reply::Refused(McpReset::new(McpResetKind::Internal, "no call")),
        };
        let (result, outcome) = match reply {
            Reply::Result(result) => (result, McpOutcome::Ok),
            Reply::Error(result) => (result, McpOutcome::Error),
            Reply::InputRequired(result) => (result, McpOutcome::InputRequired),
            Reply::Refused(reset) => {
                return cx.terminate(self.stream, Some(reset.into()), None);
            }
        };
        self.begin_reply(cx);
        let result = Bytes::from(result.to_string());
        self.out.push(Data::part(DataFlags::WHOLE, result));
        self.end = Some(McpEnd {
            outcome,
            ttl_ms: Some(FRESH_MS),
            cache_scope: Some(McpCacheScope::Public),
            ..McpEnd::default()
        });
        self.flush(cx);
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.out.flush(cx, self.stream)
            && let Some(end) = self.end.clone()
        {
            cx.end(self.stream, Frame::end_with(end));
        }
    }
}
