//! Approval by a person: a message to a topic with `approval: required` is published after the user of the
//! client has accepted it (MCP elicitation).
//!
//! The user sees topic, payload and, if the caller may read it, the topic's present value, which is its
//! retained message. Nothing is sent to the broker before the answer. Anything but acceptance is a tool
//! error that says so, and the answer is an event for the audit log, with the caller in whose session it
//! was given.

use std::fmt::Write as _;

use bytestring::ByteString;
use tidegate_engine::{Context, Duration, Time};
use tidegate_streams::mcp::{
    APPROVAL_BYTES_MAX, APPROVAL_TEXT_MAX, McpApproval, McpResponse, approval_payload,
};
use tidegate_streams::mqtt::{MqttSubscribe, MqttSubscribeFlags};
use tidegate_streams::{Data, Identity, Visible, event, shown};

use crate::message::{Assembled, Assembly};
use crate::publish::Publish;
use crate::result::Answer;
use crate::settings::Settings;
use crate::state::{State, Step};
use crate::subscribe;
use crate::tools::Opening;

/// How long the present value is waited for.
pub(crate) const PRESENT: Duration = Duration::from_millis(500);
/// Maximum size of a present value that is read, in bytes.
const VALUE_MAX: usize = 16 * 1024;

event! {
    /// A person was asked to approve a message, and has answered or not.
    pub struct ApprovalDecided "binding.mcp_mqtt.approval.decided" Info audit(part)
        "approval of a message to '{topic}': {approval}"
    {
        /// Authenticated caller in whose session the answer was given; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// The topic.
        topic "topic": ByteString = ByteString::new(),
        /// `approved`, `declined`, `cancelled`, `failed`, `unsupported` or `expired`.
        approval "approval": ByteString = ByteString::new(),
    }
}

/// A message that waits for approval.
#[derive(Debug)]
pub(crate) struct Approval {
    /// What is done once it is approved.
    opening: Option<Opening>,
    pub(crate) topic: ByteString,
    pub(crate) qos: u8,
    /// The question, without the present value.
    question: String,
    /// The question shows all of the message.
    is_whole: bool,
    /// Reads the present value.
    assembly: Assembly,
    /// The question was asked.
    asked: bool,
}

/// What follows from an answer.
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(crate) enum Decision {
    /// The message is published.
    Approved(Opening),
    /// Nothing is published.
    Refused(Answer),
    /// It is no answer to the question.
    Nothing,
}

impl Approval {
    /// The approval that an operation needs, or else the operation.
    #[allow(
        clippy::result_large_err,
        reason = "the usual case, which a box would cost more"
    )]
    pub(crate) fn needed(
        settings: &Settings,
        caller: Option<&Identity>,
        opening: Opening,
    ) -> Result<Box<Self>, Opening> {
        let publish = match &opening.state {
            State::Publish(publish) => publish,
            State::Query(query) => &query.request,
            _ => return Err(opening),
        };
        let rules = settings.rules_of(caller, &publish.topic);
        if !rules.need_approval() {
            return Err(opening);
        }
        let (topic, qos) = (publish.topic.clone(), publish.qos);
        let (question, is_whole) = question(publish);
        Ok(Box::new(Self {
            opening: Some(opening),
            topic,
            qos,
            question,
            is_whole,
            assembly: Assembly::new(VALUE_MAX),
            asked: false,
        }))
    }

    /// The refusal of a message that a person would not see whole.
    pub(crate) fn cannot_show(&self) -> Option<Answer> {
        (!self.is_whole).then(|| {
            Answer::tool_error(&format!(
                "A message to '{}' requires the approval of a person, who must see all of it: its payload \
                 can have at most {APPROVAL_TEXT_MAX} characters of text or {APPROVAL_BYTES_MAX} bytes of \
                 binary data. Nothing was published.",
                shown(&self.topic),
            ))
        })
    }

    /// The refusal for a client that cannot ask a person.
    pub(crate) fn cannot_ask(&self) -> Answer {
        Answer::tool_error(&format!(
            "A message to '{}' requires the approval of a person, and this client cannot ask one: it has \
             not declared elicitation. Nothing was published.",
            shown(&self.topic)
        ))
    }

    /// The subscription that reads the present value.
    pub(crate) fn present(&self, client_id: Option<ByteString>) -> MqttSubscribe {
        subscribe::begin(client_id, self.topic.clone(), 0, MqttSubscribeFlags::NONE)
    }

    /// A message or a part of one, on the topic.
    pub(crate) fn data(&mut self, data: Data) -> Step {
        if self.asked {
            return Step::Wait;
        }
        match self.assembly.add(data) {
            Assembled::Incomplete => Step::Wait,
            Assembled::TooLarge(_) => self.ask(Some("(too large to be shown)")),
            Assembled::Complete(message) => {
                let (value, _) = approval_payload(message.payload.iter());
                self.ask(Some(&value))
            }
        }
    }

    /// There is no present value.
    pub(crate) fn without_value(&mut self) -> Step {
        if self.asked {
            return Step::Wait;
        }
        self.ask(None)
    }

    fn ask(&mut self, value: Option<&str>) -> Step {
        self.asked = true;
        let mut text = std::mem::take(&mut self.question);
        if let Some(value) = value {
            let _ = write!(text, "\nPresent value: {value}");
        }
        Step::Ask(McpApproval::ask(&text))
    }

    /// The answer of the person.
    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, response: McpResponse) -> Decision {
        if !self.asked {
            return Decision::Nothing;
        }
        let Some(approval) = McpApproval::of(response) else {
            return Decision::Nothing;
        };
        let Some(opening) = self.opening.take() else {
            return Decision::Nothing;
        };
        report(cx, &self.topic, approval.word());
        if approval.is_approved() {
            return Decision::Approved(opening);
        }
        Decision::Refused(Answer::tool_error(&format!(
            "The message to '{}' was not approved: {}. Nothing was published.",
            shown(&self.topic),
            approval.why()
        )))
    }

    /// The gateway is stopping, or the caller wants no more.
    pub(crate) fn stop(&self) -> Step {
        Step::Answer(Answer::tool_error(&format!(
            "The message to '{}' was not approved: the call ended before. Nothing was published.",
            shown(&self.topic)
        )))
    }
}

/// The deadline of an operation after an answer.
pub(crate) fn deadline(cx: &Context<'_>, response: &McpResponse) -> Option<Time> {
    (response.timeout > 0).then(|| cx.now() + Duration::from_millis(response.timeout))
}

fn report(cx: &mut Context<'_>, topic: &str, answer: &'static str) {
    cx.event_with(|cx| {
        let caller = cx.identity();
        ApprovalDecided {
            identity: caller.map_or_else(ByteString::new, |caller| caller.subject.clone()),
            guard: caller.map_or_else(ByteString::new, |caller| caller.guard.clone()),
            topic: ByteString::from(&*shown(topic)),
            approval: ByteString::from_static(answer),
        }
    });
}

/// The question about a message, without the present value, and whether it shows all of the message.
fn question(publish: &Publish) -> (String, bool) {
    let retained = if publish.is_retained() {
        ", retained"
    } else {
        ""
    };
    let (payload, is_whole) = approval_payload(publish.payload());
    let mut question = format!(
        "Publish this message to the MQTT topic '{}' (QoS {}{retained})?\nPayload: {payload}",
        Visible(&publish.topic),
        publish.qos,
    );
    if let Some(topic) = publish.response_topic() {
        // Writing to a string does not fail.
        let _ = write!(question, "\nResponse topic: {}", Visible(topic));
    }
    (question, is_whole)
}
