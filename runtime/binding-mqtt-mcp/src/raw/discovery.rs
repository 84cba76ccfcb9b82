//! The retained message that says what MCP clients find here: the result of `server/discover`.
//!
//! The exit is asked for what it offers at the start and each minute, and the message is published when it has
//! changed. The binding subscribes to the message itself: when another instance, or the will, has cleared it, and when
//! the connection was lost, it is published again. A shutdown clears it.

use bytes::Bytes;
use bytestring::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_engine::{BindingId, CallContext, Context, Duration, StreamId, TimerId};
use tidegate_streams::mcp::{McpBeginEx, McpCapabilities, McpLifecycle};
use tidegate_streams::mqtt::topic::{check_name, is_reserved};
use tidegate_streams::mqtt::{
    MqttFlushEx, MqttMessages, MqttSubscribe, MqttSubscribeFlags, MqttTopicFilter,
};
use tidegate_streams::{BeginEx, FlushEx, Frame};

use super::response::{FRESH, announcement};
use super::rules::Rules;
use crate::answer::Answer;
use crate::proxy::{MqttMcp, discovery_token};
use crate::publication::Notice;

/// The kind of the timer of the next question to the exit.
pub(crate) const ASK: u32 = 6;
/// The kind of the timer of the next publication.
pub(crate) const TELL: u32 = 7;
/// Time until the exit is asked again, or a failed publication or subscription is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Time until the message is published again after another instance has cleared it.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// Time for the exit to answer.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// Time for the broker to acknowledge the message.
const TELL_WITHIN: Duration = Duration::from_secs(30);

/// The retained message that says what the server is.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DiscoverOptions {
    /// Topic of the message. The `will` of the `mqtt · client` should be an empty retained message on it.
    #[serde(deserialize_with = "topic")]
    #[schemars(length(min = 1))]
    topic: String,
    /// What models are told about the use of the tools.
    #[serde(default)]
    #[schemars(length(max = 4_096))]
    instructions: Option<String>,
}

impl DiscoverOptions {
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }
}

fn topic<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let topic = String::deserialize(deserializer)?;
    let invalid = |why: &str| de::Error::custom(format!("invalid topic '{topic}': {why}"));
    check_name(&topic).map_err(|error| invalid(&error.to_string()))?;
    if is_reserved(&topic) {
        return Err(invalid(
            "topics that begin with '$' are reserved for the broker; use another",
        ));
    }
    Ok(topic)
}

/// What is known of the message, and its streams.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about the message"
)]
pub(crate) struct Discovery {
    topic: ByteString,
    instructions: Option<String>,
    /// The rules of the raw routes: what none of them allows is not announced.
    rules: Vec<Rules>,
    /// The message; absent until the exit has answered.
    message: Option<Bytes>,
    /// The session at the exit, while it is asked.
    session: Option<StreamId>,
    /// The subscription to the message.
    subscription: Option<StreamId>,
    /// The broker has confirmed it.
    heard: bool,
    received: MqttMessages,
    /// A message is on its way.
    telling: bool,
    /// The message has changed meanwhile.
    again: bool,
    /// The message was cleared in a shutdown.
    withdrawn: bool,
    ask: Option<TimerId>,
    tell: Option<TimerId>,
}

impl Discovery {
    pub(crate) fn new<'a>(
        options: &DiscoverOptions,
        rules: impl Iterator<Item = &'a Rules>,
    ) -> Self {
        Self {
            topic: options.topic.as_str().into(),
            instructions: options.instructions.clone(),
            rules: rules.cloned().collect(),
            message: None,
            session: None,
            subscription: None,
            heard: false,
            received: MqttMessages::of_at_most(1),
            telling: false,
            again: false,
            withdrawn: false,
            ask: None,
            tell: None,
        }
    }

    /// What models are told about the use of the tools.
    pub(crate) fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }

    fn ask_after(&mut self, cx: &mut Context<'_>, after: Duration) {
        set(cx, &mut self.ask, after, ASK, "mqtt_mcp.discover.ask");
    }

    fn tell_after(&mut self, cx: &mut Context<'_>, after: Duration) {
        set(cx, &mut self.tell, after, TELL, "mqtt_mcp.discover.tell");
    }

    fn subscribe(&mut self, cx: &mut Context<'_>, exit: BindingId) {
        if self.subscription.is_some() || cx.stopping() {
            return;
        }
        let begin = MqttSubscribe {
            filters: vec![MqttTopicFilter {
                subscription_id: 1,
                qos: 1,
                flags: MqttSubscribeFlags::NO_RETAINED,
                pattern: self.topic.clone(),
                ..MqttTopicFilter::default()
            }],
            ..MqttSubscribe::default()
        };
        let opened = cx.open_for(CallContext::default(), exit, begin, discovery_token());
        self.subscription = opened.ok();
    }

    /// The exit has answered. Returns whether the message has changed.
    fn learnt(&mut self, exit: McpCapabilities) -> bool {
        let offered = self.rules.iter().map(|rules| rules.capabilities(exit));
        let offered = offered.fold(McpCapabilities::NONE, McpCapabilities::with);
        let message = Some(announcement(offered, self.instructions.as_deref()));
        let has_changed = message != self.message;
        self.message = message;
        has_changed
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        for timer in [self.ask.take(), self.tell.take()].into_iter().flatten() {
            cx.cancel(timer);
        }
        if let Some(session) = self.session.take() {
            cx.end(session, Frame::end());
            cx.terminate(session, None, None);
        }
        if let Some(subscription) = self.subscription.take() {
            cx.end(subscription, Frame::end());
            cx.terminate(subscription, None, None);
        }
    }
}

fn set(
    cx: &mut Context<'_>,
    timer: &mut Option<TimerId>,
    after: Duration,
    kind: u32,
    reason: &'static str,
) {
    if let Some(timer) = timer.take() {
        cx.cancel(timer);
    }
    *timer = Some(cx.timer(after, discovery_token(), kind, reason));
}

impl MqttMcp {
    /// Asks the exit what it offers, and subscribes to the message.
    pub(crate) fn begin_announcing(&mut self, cx: &mut Context<'_>) {
        let mqtt = self.mqtt;
        if let Some(discovery) = &mut self.discovery {
            discovery.subscribe(cx, mqtt);
            self.ask_capabilities(cx);
        }
    }

    /// Asks the exit what it offers.
    pub(crate) fn ask_capabilities(&mut self, cx: &mut Context<'_>) {
        let (mcp, mqtt) = (self.mcp, self.mqtt);
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        discovery.ask = None;
        if cx.stopping() {
            return;
        }
        discovery.subscribe(cx, mqtt);
        if let Some(session) = discovery.session.take() {
            // It has not answered in time.
            cx.terminate(session, None, None);
        }
        let context = CallContext {
            deadline: Some(cx.now() + ASK_WITHIN),
            ..CallContext::default()
        };
        let begin = McpLifecycle::default();
        let opened = cx.open_for(context, mcp, begin, discovery_token());
        discovery.session = opened.ok();
        let after = if discovery.session.is_some() {
            ASK_WITHIN + RETRY_AFTER
        } else {
            RETRY_AFTER
        };
        discovery.ask_after(cx, after);
    }

    /// A frame of the session at the exit, or of the subscription to the message.
    pub(crate) fn on_announcing_frame(
        &mut self,
        cx: &mut Context<'_>,
        stream: StreamId,
        frame: Frame,
    ) {
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        if discovery.session == Some(stream) {
            self.on_asked_frame(cx, stream, frame);
        } else if discovery.subscription == Some(stream) {
            self.on_heard_frame(cx, stream, frame);
        }
    }

    fn on_asked_frame(&mut self, cx: &mut Context<'_>, stream: StreamId, frame: Frame) {
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        match frame {
            Frame::Begin(begin) => {
                let BeginEx::Mcp(McpBeginEx::Lifecycle(begin)) = begin.into_inner() else {
                    return;
                };
                discovery.session = None;
                cx.end(stream, Frame::end());
                cx.terminate(stream, None, None);
                discovery.ask_after(cx, Duration::from_millis(FRESH));
                if discovery.learnt(begin.capabilities) {
                    self.announce(cx);
                }
            }
            Frame::Reset(_) | Frame::Abort(_) | Frame::End(_) => {
                discovery.session = None;
                cx.terminate(stream, None, None);
                if !cx.stopping() {
                    discovery.ask_after(cx, RETRY_AFTER);
                }
            }
            _ => {}
        }
    }

    fn on_heard_frame(&mut self, cx: &mut Context<'_>, stream: StreamId, frame: Frame) {
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        match frame {
            Frame::Begin(_) => discovery.heard = true,
            Frame::Data(data) => {
                cx.acknowledge(stream, data.payload.len());
                let message = discovery.received.add(data);
                let is_cleared = message.is_some_and(|it| it.payload.is_empty());
                if is_cleared && discovery.message.is_some() && !cx.stopping() {
                    discovery.tell_after(cx, TELL_AFTER);
                }
            }
            // The connection was lost, and the will may have been published.
            Frame::Flush(flush) => {
                if matches!(*flush, FlushEx::Mqtt(MqttFlushEx::Gap(_))) {
                    self.announce(cx);
                }
            }
            Frame::Reset(_) | Frame::Abort(_) | Frame::End(_) => {
                discovery.subscription = None;
                discovery.received.clear();
                cx.end(stream, Frame::end());
                cx.terminate(stream, None, None);
                // It is opened again with the next question to the exit. One that the broker refuses has told
                // nothing, and will not now.
                let was_heard = std::mem::take(&mut discovery.heard);
                if was_heard && !cx.stopping() {
                    discovery.tell_after(cx, RETRY_AFTER);
                    if discovery.session.is_none() {
                        discovery.ask_after(cx, RETRY_AFTER);
                    }
                }
            }
            _ => {}
        }
    }

    /// Publishes the message.
    pub(crate) fn announce(&mut self, cx: &mut Context<'_>) {
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        if let Some(timer) = discovery.tell.take() {
            cx.cancel(timer);
        }
        let Some(message) = discovery.message.clone().filter(|_| !cx.stopping()) else {
            return;
        };
        if discovery.telling {
            discovery.again = true;
            return;
        }
        discovery.telling = true;
        let until = cx.now() + TELL_WITHIN;
        let answer = Answer::retained(discovery.topic.clone(), 1, message, until);
        self.publish_notice(cx, answer, Notice::Discovery, Vec::new());
    }

    /// The message was published, or is given up.
    pub(crate) fn announced(&mut self, cx: &mut Context<'_>, is_lost: bool) {
        let Some(discovery) = &mut self.discovery else {
            return;
        };
        discovery.telling = false;
        let again = std::mem::take(&mut discovery.again);
        if is_lost && !cx.stopping() {
            discovery.tell_after(cx, RETRY_AFTER);
        } else if again {
            self.announce(cx);
        }
    }

    /// Clears the message in a shutdown, when all else is done. Returns whether that is on its way.
    pub(crate) fn withdraw_announcement(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(discovery) = &mut self.discovery else {
            return false;
        };
        discovery.close(cx);
        if discovery.message.is_none() || std::mem::replace(&mut discovery.withdrawn, true) {
            return false;
        }
        discovery.telling = true;
        let until = cx.now() + TELL_WITHIN;
        let answer = Answer::retained(discovery.topic.clone(), 1, Bytes::new(), until);
        self.publish_notice(cx, answer, Notice::Discovery, Vec::new());
        !self.publications.is_empty()
    }

    /// A handler panicked while it worked for the message; the engine has ended the streams.
    pub(crate) fn announcing_faulted(&mut self, cx: &mut Context<'_>) {
        if let Some(discovery) = &mut self.discovery {
            discovery.session = None;
            discovery.subscription = None;
            discovery.ask_after(cx, RETRY_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_is_one_that_can_be_published_to() {
        let read =
            |json| serde_json::from_str::<DiscoverOptions>(json).map_err(|it| it.to_string());
        let options = read(r#"{"topic":"mcp/kitchen/discover"}"#).expect("valid");
        assert_eq!(options.topic, "mcp/kitchen/discover");
        for (json, expected) in [
            (
                r#"{"topic":"mcp/+/discover"}"#,
                "invalid topic 'mcp/+/discover'",
            ),
            (r#"{"topic":"$mcp/discover"}"#, "reserved for the broker"),
            (r#"{"topic":"a","qos":1}"#, "unknown field"),
            ("{}", "missing field `topic`"),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(expected), "{error}");
        }
    }
}
