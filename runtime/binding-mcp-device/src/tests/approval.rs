//! Approval, as operators see it, and what a scenario cannot set: an audit log that cannot be written.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tidegate_engine::testing::Rig;
use tidegate_engine::{BindingId, CallContext, StreamId, Token};
use tidegate_streams::mcp::{McpCapabilities, McpResponse, McpToolsCall};
use tidegate_streams::{Frame, Identity};

use crate::{McpDevice, Options};

struct Setup {
    rig: Rig,
    caller: BindingId,
    device: BindingId,
    broker: BindingId,
}

/// A siren, whose command a person has to approve.
fn siren() -> Setup {
    let options = json!({
        "address": "{device}/{action}",
        "types": { "siren": { "commands": { "sound": { "approval": "required" } } } },
        "devices": { "s-1": { "type": "siren" } },
    });
    let options: Options = serde_json::from_value(options).expect("valid options");
    let mut rig = Rig::new();
    let broker = rig.edge(1 << 20);
    let device = rig.attach(McpDevice::new(&options, broker));
    let caller = rig.edge(1 << 20);
    rig.worker.start();
    rig.worker.listen_to_audited();
    Setup {
        rig,
        caller,
        device,
        broker,
    }
}

impl Setup {
    /// Asks a person for approval, in the session of alice.
    fn ask(&mut self) -> StreamId {
        let begin = McpToolsCall {
            name: "control_device".into(),
            capabilities: McpCapabilities::CLIENT_ELICITATION_FORM,
            ..McpToolsCall::default()
        };
        let alice = Identity {
            subject: "alice".into(),
            guard: "staff".into(),
            ..Identity::default()
        };
        let call = CallContext {
            trace: 7,
            identity: Some(Arc::new(alice)),
            deadline: None,
        };
        let device = self.device;
        let stream = self.rig.turn(self.caller, |cx| {
            cx.open_for(call, device, begin, Token::default())
        });
        let stream = stream.expect("a stream");
        let params = json!({ "arguments": { "device": "s-1", "command": "sound" } });
        let params = Bytes::from(params.to_string());
        self.rig.send(self.caller, stream, Frame::data(params));
        let frames = self.rig.frames(self.caller, stream);
        let asked = frames.iter().any(|it| matches!(it, Frame::Challenge(_)));
        assert!(asked, "{frames:?}");
        self.rig.outputs(self.broker).clear();
        stream
    }

    fn respond(&mut self, stream: StreamId, action: &str) {
        let response = McpResponse {
            id: 1,
            content: json!({ "action": action }).to_string().into(),
            ..McpResponse::default()
        };
        self.rig.send(self.caller, stream, Frame::flush(response));
    }

    fn message(&mut self, stream: StreamId) -> String {
        let frames = self.rig.frames(self.caller, stream).into_iter();
        let parts = frames.filter_map(|frame| match frame {
            Frame::Data(data) => Some(data.payload),
            _ => None,
        });
        let parts: Vec<Bytes> = parts.collect();
        let result: Value = serde_json::from_slice(&parts.concat()).expect("a result");
        let message = &result["structuredContent"]["message"];
        message.as_str().unwrap_or_default().to_owned()
    }

    /// Subject, fields and trace of the events about approval.
    fn decisions(&mut self) -> Vec<String> {
        let worker = &mut self.rig.worker;
        let events = std::iter::from_fn(|| worker.poll_event());
        let decided = events.filter(|it| it.id == "binding.mcp_device.approval.decided");
        decided
            .map(|it| {
                let subject = it.identity.map(|it| it.subject.to_string());
                let fields = it.fields.iter().map(|(name, it)| format!("{name}={it}"));
                let fields: Vec<String> = fields.collect();
                let subject = subject.unwrap_or_default();
                format!("{subject} {}: {}", it.trace, fields.join(" "))
            })
            .collect()
    }
}

#[test]
fn a_decision_is_an_event_with_the_caller_in_whose_session_it_was_made() {
    for (action, word) in [("accept", "approved"), ("decline", "declined")] {
        let mut setup = siren();
        let stream = setup.ask();
        assert_eq!(setup.decisions(), [""; 0], "nobody has decided yet");
        setup.respond(stream, action);
        let expected = format!(
            "alice 7: identity=\"alice\" guard=\"staff\" device=\"s-1\" command=\"sound\" topic=\"s-1/sound\" \
             approval=\"{word}\""
        );
        assert_eq!(setup.decisions(), [expected]);
        let sent = !setup.rig.outputs(setup.broker).is_empty();
        assert_eq!(sent, action == "accept");
    }
}

#[test]
fn an_approved_command_is_not_sent_while_calls_cannot_be_recorded() {
    let mut setup = siren();
    let stream = setup.ask();
    let why = "Calls cannot be recorded; retry later.";
    setup.rig.worker.refuse_calls(Some(why));
    setup.respond(stream, "accept");
    let message = setup.message(stream);
    assert_eq!(message, format!("'sound' was not sent to 's-1': {why}"));
    assert!(setup.rig.outputs(setup.broker).is_empty());
    // The person is asked anew when calls are recorded again.
    setup.rig.worker.refuse_calls(None);
    let again = setup.ask();
    setup.respond(again, "accept");
    assert!(!setup.rig.outputs(setup.broker).is_empty());
}
