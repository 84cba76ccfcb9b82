//! One request: it waits, its tools run, and its answer is published.

use serde_json::{Map, Value as Json};
use tidegate_engine::{BindingId, CallContext, Context, StreamId, TimerId, Token};

use crate::action::RESULT;
use crate::call::{Call, Ended, ToolResult, params};
use crate::failure::{Executed, Failure, Reason};
use crate::request::{Envelope, Key, invalid};
use crate::route::{Route, Step};
use crate::template::Variables;

/// Most bytes of a tool's name.
const TOOL_MAX: usize = 256;

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for others.
    Waiting,
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
    /// The variables of the request, and of the results so far.
    variables: Variables,
    steps: Vec<State>,
    pub(crate) timer: Option<TimerId>,
    pub(crate) context: CallContext,
    /// What was executed so far.
    executed: Executed,
}

/// Where a step is.
#[derive(Debug)]
enum State {
    /// It waits for others.
    Pending,
    Running(Box<Call>),
    Done(ToolResult),
}

/// A step that has ended, for its event.
#[derive(Debug)]
pub(crate) struct EndedStep {
    pub(crate) name: Box<str>,
    pub(crate) call: Box<Call>,
    pub(crate) ended: Ended,
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
        Self {
            envelope,
            key,
            phase: Phase::Waiting,
            variables,
            steps: (0..steps).map(|_| State::Pending).collect(),
            timer: None,
            context,
            executed: Executed::No,
        }
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
        for (index, step) in caller.route.steps.iter().enumerate() {
            if !matches!(self.steps.get(index), Some(State::Pending)) {
                continue;
            }
            let call = self.call(cx, caller, step);
            let call = call.map_err(|failure| failure.after(self.executed))?;
            if let Some(state) = self.steps.get_mut(index) {
                *state = State::Running(Box::new(call));
            }
        }
        Ok(self.steps.iter().all(|it| matches!(it, State::Done(_))))
    }

    fn call(
        &mut self,
        cx: &mut Context<'_>,
        caller: Caller<'_>,
        step: &Step,
    ) -> Result<Call, Failure> {
        let tool = step.tool.render(&self.variables);
        let tool = tool.map_err(|why| invalid("tool", &why))?;
        if tool.is_empty() || tool.len() > TOOL_MAX {
            return Err(invalid("tool", "its name must have 1 to 256 bytes"));
        }
        if !caller.route.allows(&tool) {
            let message = format!(
                "The tool '{}' is not allowed here.",
                tidegate_streams::Visible(tidegate_streams::shown(&tool))
            );
            return Err(Failure::rejected(Reason::NotAllowed, message));
        }
        let arguments = step.arguments.as_ref();
        let arguments = arguments.map(|it| it.render(&self.variables)).transpose();
        let arguments = arguments.map_err(|why| invalid("arguments", &why))?;
        let is_object = |it: &Vec<u8>| it.trim_ascii_start().starts_with(b"{");
        if !arguments.as_ref().is_none_or(is_object) {
            return Err(invalid("arguments", "they must be an object"));
        }
        let params = params(&tool, arguments.as_deref(), &self.envelope.trace);
        let context = CallContext {
            deadline: Some(self.envelope.deadline),
            ..self.context.clone()
        };
        let opened = Call::open(
            cx,
            caller.exit,
            caller.token,
            tool.into(),
            params,
            context,
            caller.max_result,
        );
        opened.map_err(|error| {
            let message = format!("The tool was not called: {error}; retry later.");
            Failure::rejected(Reason::Busy, message)
        })
    }

    /// A frame of one of its calls. Returns the step that ended by it.
    pub(crate) fn on_frame(
        &mut self,
        cx: &mut Context<'_>,
        route: &Route,
        stream: StreamId,
        frame: tidegate_streams::Frame,
    ) -> Option<EndedStep> {
        let is_its = |state: &State| matches!(state, State::Running(call) if call.is_of(stream));
        let index = self.steps.iter().position(is_its)?;
        let state = self.steps.get_mut(index)?;
        let State::Running(call) = state else {
            return None;
        };
        let ended = call.on_frame(cx, frame)?;
        let State::Running(call) = std::mem::replace(state, State::Pending) else {
            return None;
        };
        let name = route.steps.get(index).map(|step| step.name.clone());
        let name = name.unwrap_or_default();
        match &ended {
            Ok(result) => {
                self.executed = Executed::Yes;
                self.variables.insert(name.to_string(), result.variable());
                *state = State::Done(result.clone());
            }
            Err((failure, _)) => {
                if (failure.executed as u8) > (self.executed as u8) {
                    self.executed = failure.executed;
                }
            }
        }
        Some(EndedStep { name, call, ended })
    }

    /// Whether a tool was executed.
    pub(crate) fn executed(&self) -> Executed {
        let runs = |it: &State| matches!(it, State::Running(_));
        match self.executed {
            Executed::No if self.steps.iter().any(runs) => Executed::Possibly,
            executed => executed,
        }
    }

    /// The results of all steps, for an answer without a template: that of the only tool, or those of a
    /// plan by name.
    pub(crate) fn results(&self, route: &Route) -> Json {
        let mut results = route
            .steps
            .iter()
            .zip(&self.steps)
            .filter_map(|(step, state)| {
                let State::Done(result) = state else {
                    return None;
                };
                Some((step.name.to_string(), result.json.clone()))
            });
        if let [only] = &route.steps[..]
            && &*only.name == RESULT
        {
            return results.next().map(|(_, json)| json).unwrap_or_default();
        }
        Json::Object(results.collect::<Map<String, Json>>())
    }

    /// Gives up what still runs.
    pub(crate) fn cancel_calls(&mut self, cx: &mut Context<'_>) -> Vec<(Box<Call>, usize)> {
        let mut cancelled = Vec::new();
        for (index, state) in self.steps.iter_mut().enumerate() {
            match std::mem::replace(state, State::Pending) {
                State::Running(mut call) => {
                    call.cancel(cx);
                    cancelled.push((call, index));
                }
                other => *state = other,
            }
        }
        cancelled
    }
}
