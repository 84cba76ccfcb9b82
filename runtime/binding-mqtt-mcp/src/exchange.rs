//! One request: it waits, its tools run, and its answer is published.

use std::collections::BTreeSet;

use bytes::Bytes;
use bytestring::ByteString;
use minijinja::Value;
use tidegate_engine::{BindingId, CallContext, Context, Duration, StreamId, TimerId, Token};
use tidegate_streams::{Frame, Visible, shown};

use crate::action::RESULT;
use crate::annotated::Listing;
use crate::call::{Call, Ended, ToolResult, params};
use crate::document::push_name;
use crate::events::StepCompleted;
use crate::failure::{Executed, Failure, Reason};
use crate::progress::Reports;
use crate::queue::{Id, Queue};
use crate::raw::call::RawCall;
use crate::request::{Content, Envelope, Key, invalid};
use crate::route::{Route, Step};
use crate::variables::Variables;

/// The kind of the timer of the first step; each step has one.
pub(crate) const STEP: u32 = 16;
/// The kind of the timer of the first step's progress; each step has one.
pub(crate) const PROGRESS: u32 = 1_024;
/// Most bytes of a tool's name.
const TOOL_MAX: usize = 256;
/// Time between two attempts of a step.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// Time after its deadline in which the exit says why a call failed.
pub(crate) const GRACE: Duration = Duration::from_millis(200);

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for others.
    Waiting,
    /// It was being executed when the gateway ended, and its server is asked whether it may be executed again.
    Asking,
    /// It has its place, and waits until the queue has stored that its execution begins.
    Storing,
    /// Its tools run.
    Running,
    /// Its answer is being published.
    Answering,
}

/// A request that is not done with.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) envelope: Envelope,
    pub(crate) key: Option<Key>,
    pub(crate) phase: Phase,
    /// Where it is in the queue.
    pub(crate) stored: Option<Id>,
    /// Its answer on the way, by its index.
    pub(crate) publication: Option<usize>,
    /// The hash of the request.
    pub(crate) content: Content,
    /// The variables of the request, and of the results so far.
    variables: Variables,
    steps: Vec<Progress>,
    /// The list that says which tools may be executed again.
    pub(crate) listing: Option<Box<Listing>>,
    pub(crate) timer: Option<TimerId>,
    pub(crate) context: CallContext,
    /// What was executed so far.
    executed: Executed,
    /// The operation of a raw request, while it runs.
    pub(crate) raw: Option<Box<RawCall>>,
}

/// A step of a request.
#[derive(Debug)]
struct Progress {
    state: State,
    /// Number of failed attempts.
    failures: u64,
    /// The end of the step's time, or of the pause before the next attempt.
    timer: Option<TimerId>,
    /// What was published of its progress.
    reports: Reports,
}

#[derive(Debug)]
enum State {
    /// It waits for others, or for its next attempt.
    Pending,
    Running(Box<Call>),
    Done(ToolResult),
    /// It has no result: it was not called, or it is optional and failed.
    Skipped,
}

/// What has become of a step.
#[derive(Debug)]
enum Started {
    Call(Call),
    Skipped,
}

/// A call that has ended, for its event.
#[derive(Debug)]
pub(crate) struct EndedCall {
    pub(crate) name: ByteString,
    pub(crate) call: Box<Call>,
    /// Why it failed.
    pub(crate) failure: Option<Failure>,
    /// Whether the request fails for that reason.
    pub(crate) is_fatal: bool,
    /// The result of a tool that reported an error.
    pub(crate) result: Option<ToolResult>,
}

/// What an exchange needs to call tools.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) route: &'a Route,
    pub(crate) exit: BindingId,
    pub(crate) token: Token,
    pub(crate) max_result: usize,
}

impl Exchange {
    pub(crate) fn new(
        mut envelope: Envelope,
        key: Option<Key>,
        context: CallContext,
        steps: usize,
    ) -> Self {
        let variables = std::mem::take(&mut envelope.variables);
        let steps = (0..steps).map(|_| Progress {
            state: State::Pending,
            failures: 0,
            timer: None,
            reports: Reports::default(),
        });
        Self {
            envelope,
            key,
            phase: Phase::Waiting,
            stored: None,
            publication: None,
            content: Content::default(),
            variables,
            steps: steps.collect(),
            listing: None,
            timer: None,
            context,
            executed: Executed::No,
            raw: None,
        }
    }

    /// Whether the queue has it on the disk.
    pub(crate) fn is_stored(&self, queue: Option<&Queue>) -> bool {
        let stored = queue.zip(self.stored);
        stored.is_some_and(|(queue, id)| queue.is_stored(id))
    }

    /// Whether all tools of its route are among these.
    pub(crate) fn calls_only(&self, route: &Route, tools: &BTreeSet<String>) -> bool {
        let tool = |step: &Step| step.tool.render(&self.variables);
        let mut steps = route.steps.iter();
        steps.all(|step| tool(step).is_ok_and(|tool| tools.contains(&*tool)))
    }

    /// The variables of the request, and of the results so far.
    pub(crate) const fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Calls the tools that need no result that is missing. Returns whether all steps are done.
    pub(crate) fn advance(
        &mut self,
        cx: &mut Context<'_>,
        caller: Caller<'_>,
    ) -> Result<bool, Failure> {
        self.phase = Phase::Running;
        while self.start_ready(cx, caller)? {}
        Ok(self.steps.iter().all(Progress::is_settled))
    }

    /// Starts each step that can be. Returns whether some were skipped, so that others can start.
    fn start_ready(&mut self, cx: &mut Context<'_>, caller: Caller<'_>) -> Result<bool, Failure> {
        let mut skipped = false;
        for (index, step) in caller.route.steps.iter().enumerate() {
            if !self.is_ready(index, step) {
                continue;
            }
            if cx.now() >= self.envelope.deadline {
                return Err(Failure {
                    executed: self.executed(),
                    ..Failure::timed_out("The time of the request was over before its next tool.")
                });
            }
            let state = match self.start(cx, caller, step) {
                Ok(Started::Call(call)) => State::Running(Box::new(call)),
                Ok(Started::Skipped) => State::Skipped,
                Err(failure) if step.optional => {
                    self.not_started(cx, step, &failure);
                    State::Skipped
                }
                Err(failure) => return Err(failure),
            };
            skipped |= matches!(state, State::Skipped);
            let after = step.timeout.map(|it| it + GRACE);
            if let Some(progress) = self.steps.get_mut(index) {
                progress.state = state;
                if let (State::Running(_), Some(after)) = (&progress.state, after) {
                    let reason = "the exit's reason after the time of a step";
                    progress.timer = Some(cx.timer(after, caller.token, kind(index), reason));
                }
            }
        }
        Ok(skipped)
    }

    /// Emits the event of an optional step whose tool is not called: the request does not fail, so nothing else
    /// says why it has no result.
    fn not_started(&self, cx: &mut Context<'_>, step: &Step, failure: &Failure) {
        cx.work_with(self.context.clone());
        cx.event_with(|_| {
            let tool = step.tool.render(&self.variables).unwrap_or_default();
            StepCompleted {
                tool: shown(&tool).as_ref().into(),
                topic: self.envelope.topic.clone(),
                device: self.envelope.device.clone(),
                step: step.name.clone(),
                request: format!("{:016x}", self.context.trace).into(),
                outcome: failure.reason.word().into(),
                ..StepCompleted::default()
            }
        });
    }

    fn is_ready(&self, index: usize, step: &Step) -> bool {
        let is_pending = |it: &Progress| matches!(it.state, State::Pending) && it.timer.is_none();
        let settled = |it: &usize| self.steps.get(*it).is_none_or(Progress::is_settled);
        self.steps.get(index).is_some_and(is_pending) && step.needs.iter().all(settled)
    }

    fn start(
        &self,
        cx: &mut Context<'_>,
        caller: Caller<'_>,
        step: &Step,
    ) -> Result<Started, Failure> {
        if let Some(when) = &step.when {
            let when = when.is_true(&self.variables);
            if !when.map_err(|why| self.invalid(step, "when", &why))? {
                return Ok(Started::Skipped);
            }
        }
        let tool = step.tool.render(&self.variables);
        let tool = tool.map_err(|why| self.invalid(step, "tool", &why))?;
        if tool.is_empty() || tool.len() > TOOL_MAX {
            return Err(self.invalid(step, "tool", "its name must have 1 to 256 bytes"));
        }
        if !caller.route.allows(&tool) {
            let tool = Visible(shown(&tool));
            let message = format!("The tool '{tool}' is not allowed here.");
            return Err(Failure::rejected(Reason::NotAllowed, message));
        }
        let arguments = step.arguments.as_ref();
        let arguments = arguments.map(|it| it.render(&self.variables)).transpose();
        let arguments = arguments.map_err(|why| self.invalid(step, "arguments", &why))?;
        let is_object = |it: &Vec<u8>| it.trim_ascii_start().starts_with(b"{");
        if !arguments.as_ref().is_none_or(is_object) {
            return Err(self.invalid(step, "arguments", "they must be an object"));
        }
        let params = params(
            &tool,
            arguments.as_deref(),
            &self.envelope.trace,
            step.progress.is_some(),
        );
        let context = self.context_of(cx, caller.route, step);
        let opened = Call::open(
            cx,
            caller.exit,
            caller.token,
            tool,
            params,
            context,
            caller.max_result,
        );
        opened.map(Started::Call).map_err(|error| {
            let message = format!("The tool was not called: {error}; retry later.");
            Failure::rejected(Reason::Busy, message)
        })
    }

    /// The context of a call. Each step of a plan is a call of its own in the audit log, so it has a trace of
    /// its own.
    fn context_of(&self, cx: &mut Context<'_>, route: &Route, step: &Step) -> CallContext {
        let end = step.timeout.map(|it| cx.now() + it);
        let deadline = end.map_or(self.envelope.deadline, |it| it.min(self.envelope.deadline));
        CallContext {
            trace: match route.steps.len() {
                1 => self.context.trace,
                _ => cx.mint_trace(),
            },
            identity: self.context.identity.clone(),
            deadline: Some(deadline),
        }
    }

    /// A template of a step cannot be rendered.
    fn invalid(&self, step: &Step, what: &str, why: &str) -> Failure {
        let failure = match &*step.name {
            RESULT => invalid(what, why),
            name => invalid(&format!("{what} of '{name}'"), why),
        };
        failure.after(self.executed())
    }

    /// The place of the step whose call has this stream.
    pub(crate) fn step_of(&self, stream: StreamId) -> Option<usize> {
        let is_its =
            |it: &Progress| matches!(&it.state, State::Running(call) if call.is_of(stream));
        self.steps.iter().position(is_its)
    }

    /// The progress of a step.
    pub(crate) fn reports(&mut self, step: usize) -> Option<&mut Reports> {
        self.steps.get_mut(step).map(|it| &mut it.reports)
    }

    /// A frame of one of its calls. Returns the call if it ended by it.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        caller: Caller<'_>,
        stream: StreamId,
        frame: Frame,
    ) -> Option<EndedCall> {
        let index = self.step_of(stream)?;
        let State::Running(call) = &mut self.steps.get_mut(index)?.state else {
            return None;
        };
        let ended = call.on_frame(cx, frame)?;
        self.call_ended(cx, caller, index, ended)
    }

    /// The timer of a step is due: its time is over, or it is time for the next attempt.
    pub(crate) fn on_step_timer(
        &mut self,
        cx: &mut Context<'_>,
        caller: Caller<'_>,
        kind: u32,
    ) -> Option<EndedCall> {
        let index = usize::try_from(kind.checked_sub(STEP)?).ok()?;
        let progress = self.steps.get_mut(index)?;
        progress.timer = None;
        let State::Running(call) = &mut progress.state else {
            return None;
        };
        call.cancel(cx);
        let message = format!("'{}' did not answer in the time of its step.", call.tool);
        let failure = Failure::timed_out(message);
        self.call_ended(cx, caller, index, Err((failure, None)))
    }

    fn call_ended(
        &mut self,
        cx: &mut Context<'_>,
        caller: Caller<'_>,
        index: usize,
        ended: Ended,
    ) -> Option<EndedCall> {
        let step = caller.route.steps.get(index)?;
        let progress = self.steps.get_mut(index)?;
        if let Some(timer) = progress.timer.take() {
            cx.cancel(timer);
        }
        progress.reports.clear(cx);
        let State::Running(call) = std::mem::replace(&mut progress.state, State::Pending) else {
            return None;
        };
        let name = step.name.clone();
        let ended = ended.and_then(|result| Ok((variable_of(step, &result, &call)?, result)));
        match ended {
            Ok((variable, result)) => {
                self.executed = Executed::Yes;
                if let Some(variable) = variable {
                    self.variables.insert(name.clone(), variable);
                }
                progress.state = State::Done(result);
                Some(EndedCall {
                    name,
                    call,
                    failure: None,
                    is_fatal: false,
                    result: None,
                })
            }
            Err((failure, result)) => {
                self.executed = self.executed.or_more(failure.executed);
                progress.failures += 1;
                let mut is_fatal = false;
                if failure.may_pass() && progress.failures <= step.retry {
                    let reason = "the next attempt of a step";
                    progress.timer = Some(cx.timer(RETRY_AFTER, caller.token, kind(index), reason));
                } else if step.optional {
                    progress.state = State::Skipped;
                } else {
                    is_fatal = true;
                }
                Some(EndedCall {
                    name,
                    call,
                    failure: Some(failure),
                    is_fatal,
                    result,
                })
            }
        }
    }

    /// Whether a tool was executed.
    pub(crate) fn executed(&self) -> Executed {
        let runs = |it: &Progress| matches!(it.state, State::Running(_));
        if let Some(raw) = &self.raw {
            return self.executed.or_more(raw.executed());
        }
        match self.executed {
            Executed::No if self.steps.iter().any(runs) => Executed::Possibly,
            executed => executed,
        }
    }

    /// The results of all steps as JSON, for an answer without a template: that of the only tool, or those of a
    /// plan by name.
    pub(crate) fn results(&self, route: &Route) -> Bytes {
        let steps = route.steps.iter().zip(&self.steps);
        let mut results = steps.filter_map(|(step, it)| match &it.state {
            State::Done(result) => Some((&*step.name, result.json())),
            _ => None,
        });
        if let [only] = &route.steps[..]
            && &*only.name == RESULT
        {
            let result = results.next().map(|(_, json)| json.clone());
            return result.unwrap_or(Bytes::from_static(b"null"));
        }
        let mut all = vec![b'{'];
        for (index, (name, json)) in results.enumerate() {
            if index > 0 {
                all.push(b',');
            }
            push_name(&mut all, name);
            all.extend_from_slice(json);
        }
        all.push(b'}');
        all.into()
    }

    /// Gives up what still runs or waits. Returns the calls that were running, and the places of their
    /// steps.
    pub(crate) fn cancel_calls(&mut self, cx: &mut Context<'_>) -> Vec<(usize, Box<Call>)> {
        if let Some(mut listing) = self.listing.take() {
            listing.cancel(cx);
        }
        let mut cancelled = Vec::new();
        for (index, progress) in self.steps.iter_mut().enumerate() {
            if let Some(timer) = progress.timer.take() {
                cx.cancel(timer);
            }
            progress.reports.clear(cx);
            match std::mem::replace(&mut progress.state, State::Pending) {
                State::Running(mut call) => {
                    call.cancel(cx);
                    cancelled.push((index, call));
                }
                other => progress.state = other,
            }
        }
        cancelled
    }
}

impl Progress {
    const fn is_settled(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Skipped)
    }
}

/// The kind of the timer of a step.
fn kind(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(0) + STEP
}

/// What templates see of a result, if they refer to it.
fn variable_of(
    step: &Step,
    result: &ToolResult,
    call: &Call,
) -> Result<Option<Value>, (Failure, Option<ToolResult>)> {
    if !step.is_used {
        return Ok(None);
    }
    let variable = result.variable();
    variable.map(Some).ok_or_else(|| {
        let message = format!(
            "The result of '{}' has values that cannot be read.",
            call.tool
        );
        (Failure::lost(message), None)
    })
}
