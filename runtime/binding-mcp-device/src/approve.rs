//! Approval by a person: a command with `approval: required` is sent after the user of the client has accepted it
//! (MCP elicitation).
//!
//! A command is checked before the user is asked, and again before it is sent: values, the device and its being
//! online may have changed while the user thought. What is sent is the message that the user saw. Nothing is sent before the
//! answer. Anything but acceptance is an answer with the outcome `notSent` that says why, and what the user said is an event
//! for the audit log, with the caller in whose session it was said. The number of commands that wait is bounded.

use bytestring::ByteString;
use tidegate_engine::{Context, Duration};
use tidegate_streams::mcp::{APPROVAL_TEXT_MAX, McpApproval, McpResponse};
use tidegate_streams::{event, shown};

use crate::commands::CommandCall;
use crate::exchange::Exchange;
use crate::proxy::McpDevice;
use crate::publication::Message;
use crate::question::question;
use crate::result::Answer;
use crate::state::State;
use crate::view::Now;

/// The rule of a command that was not approved, in events.
const RULE: &str = "approval";

event! {
    /// A person was asked to approve a command, and has answered or not.
    pub struct ApprovalDecided "binding.mcp_device.approval.decided" Info audit(part)
        "approval of '{command}' for the device '{device}': {approval}"
    {
        /// Authenticated caller in whose session the answer was given; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// The device.
        device "device": ByteString = ByteString::new(),
        /// The command.
        command "command": ByteString = ByteString::new(),
        /// The topic of its message.
        topic "topic": ByteString = ByteString::new(),
        /// `approved`, `declined`, `cancelled`, `failed`, `unsupported` or `expired`.
        approval "approval": ByteString = ByteString::new(),
    }
}

/// A command that waits for approval.
#[derive(Debug)]
pub(crate) struct Approval {
    pub(crate) call: CommandCall,
    /// The message that the user saw.
    pub(crate) message: Message,
}

impl McpDevice {
    /// Asks a person to approve a command. Returns the answer if nobody can be asked.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        approval: Approval,
        can_ask: bool,
    ) -> Option<Answer> {
        let question = match self.question(cx, index, &approval, can_ask) {
            Ok(question) => question,
            Err(why) => {
                if let Some(exchange) = self.exchanges.get_mut(index) {
                    exchange.about.rule = RULE;
                }
                return Some(approval.call.not_sent(&why));
            }
        };
        let device = approval.call.target.device;
        let exchange = self.exchanges.get_mut(index)?;
        exchange.state = State::Approval(Box::new(approval));
        exchange.ask(cx, McpApproval::ask(&question));
        self.asked.insert(index);
        // A device that somebody waits for is not removed to make room for others.
        self.watch(index, device);
        None
    }

    /// The question, or why nobody is asked.
    fn question(
        &self,
        cx: &Context<'_>,
        index: usize,
        approval: &Approval,
        can_ask: bool,
    ) -> Result<String, String> {
        let cannot_ask = if !can_ask {
            Some("this client cannot ask one: it has not declared elicitation")
        } else if !self
            .exchanges
            .get(index)
            .is_some_and(Exchange::is_caller_open)
        {
            Some("this client cannot be asked: it has ended the call")
        } else {
            None
        };
        if let Some(why) = cannot_ask {
            return Err(format!("it requires the approval of a person, and {why}."));
        }
        if self.asked.len() >= self.settings.approvals_max {
            return Err(format!(
                "{} commands wait for the approval of a person (maxApprovals); retry later.",
                self.settings.approvals_max
            ));
        }
        question(&self.registry, approval, Now::of(cx)).ok_or_else(|| {
            format!(
                "it requires the approval of a person, who must see all of it: arguments, topic and payload can \
                 have at most {APPROVAL_TEXT_MAX} characters each."
            )
        })
    }

    /// The client has answered.
    pub(crate) fn approval_answered(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        response: McpResponse,
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if !matches!(exchange.state, State::Approval(_)) {
            return;
        }
        let timeout = response.timeout;
        let Some(answer) = McpApproval::of(response) else {
            return;
        };
        // The time of the call begins anew: a person may have taken minutes.
        exchange.deadline = (timeout > 0).then(|| cx.now() + Duration::from_millis(timeout));
        let State::Approval(approval) = std::mem::replace(&mut exchange.state, State::Answered)
        else {
            return;
        };
        report(cx, &approval, answer.word());
        let key = approval.call.request.clone();
        let answer = if answer.is_approved() {
            self.approved(cx, index, *approval)
        } else {
            exchange.about.rule = RULE;
            let why = format!("it was not approved: {}.", answer.why());
            Some(approval.call.not_sent(&why))
        };
        if let Some(answer) = answer {
            if let Some(exchange) = self.exchanges.get_mut(index) {
                exchange.answer(cx, answer.clone());
            }
            if let Some(key) = key {
                self.forget(cx, &key, &answer);
            }
        }
    }

    /// Sends an approved command, unless what holds now forbids it. Returns the answer if it is not sent.
    fn approved(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        approval: Approval,
    ) -> Option<Answer> {
        let Approval { call, message } = approval;
        let caller = cx.identity().cloned();
        if !call.target.is_current(&self.registry, caller.as_deref()) {
            if let Some(exchange) = self.exchanges.get_mut(index) {
                exchange.about.rule = RULE;
            }
            return Some(call.not_sent(
                "the device was removed, or has changed, while a person was asked; call again.",
            ));
        }
        if let Some(why) = cx.calls_refused() {
            return Some(call.not_sent(why));
        }
        if let Some(report) = self.check(cx, index, &call) {
            return Some(report.refusal());
        }
        self.send(cx, index, call, message)
    }

    /// Nobody waits for the answer of a person any more.
    pub(crate) fn approval_ended(&mut self, cx: &mut Context<'_>, index: usize, why: &str) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let State::Approval(approval) = &exchange.state else {
            return;
        };
        let answer = approval
            .call
            .not_sent(&format!("it was not approved: {why}."));
        let key = approval.call.request.clone();
        exchange.about.rule = RULE;
        exchange.answer(cx, answer.clone());
        if let Some(key) = key {
            self.forget(cx, &key, &answer);
        }
    }
}

fn report(cx: &mut Context<'_>, approval: &Approval, answer: &'static str) {
    let Approval { call, message } = approval;
    cx.event_with(|cx| {
        let caller = cx.identity();
        let command = call.target.parts().map_or("", |(command, _)| &command.name);
        ApprovalDecided {
            identity: caller.map_or_else(ByteString::new, |caller| caller.subject.clone()),
            guard: caller.map_or_else(ByteString::new, |caller| caller.guard.clone()),
            device: call.target.id.clone(),
            command: ByteString::from(&*shown(command)),
            topic: ByteString::from(&*shown(&message.topic)),
            approval: ByteString::from_static(answer),
        }
    });
}
