//! Events about decisions: who may access which topic, and by which rule.

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_options::TopicRequest;
use tidegate_streams::event;
use tidegate_streams::mcp::McpBeginEx;

use crate::policy::CallerPolicy;
use crate::settings::Settings;

event! {
    /// A caller may access a topic, by an entry that depends on the caller.
    pub struct AccessPermitted "binding.mcp_mqtt.access.permitted" Debug audit(part)
        "{operation} of '{topic}' permitted by {rule}"
    {
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// `publish`, `receive`, `read`, `query`, `list_topics` or `subscribe`.
        operation "operation": ByteString = ByteString::new(),
        /// Topic or topic filter.
        topic "topic": ByteString = ByteString::new(),
        /// The entry of the options that permits it, such as `publish.0` or `topics.3`.
        rule "rule": ByteString = ByteString::new(),
    }
}

event! {
    /// A caller may not access a topic.
    pub struct AccessRefused "binding.mcp_mqtt.access.refused" Info audit(part)
        "{operation} of '{topic}' refused: {reason}"
    {
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// `publish`, `receive`, `read`, `query`, `list_topics` or `subscribe`.
        operation "operation": ByteString = ByteString::new(),
        /// Topic, topic filter or URI, shortened; empty if the call did not get as far as its topic.
        topic "topic": ByteString = ByteString::new(),
        /// The option that refuses it: `publish` or `subscribe` with its patterns, `topics` with its rules.
        rule "rule": ByteString = ByteString::new(),
        /// `not allowed` or `insufficient scope`; of the rules, `schema`, `qos` or `retain`.
        reason "reason": ByteString = ByteString::new(),
    }
}

/// The word of an operation in events about decisions, and its URI; a call has its topic in params.
/// `None`: nothing is decided.
pub(crate) fn subject(
    begin: &McpBeginEx,
    settings: &Settings,
) -> Option<(&'static str, ByteString)> {
    match begin {
        McpBeginEx::ToolsCall(call) if settings.depends_on_caller() => {
            Some((settings.tool_named(&call.name)?.name, ByteString::new()))
        }
        McpBeginEx::ResourcesRead(read) => Some(("read", read.uri.clone())),
        McpBeginEx::ResourcesSubscribe(subscribe) => Some(("subscribe", subscribe.uri.clone())),
        _ => None,
    }
}

fn caller(cx: &Context<'_>) -> (ByteString, ByteString) {
    let caller = cx.identity();
    caller.map_or_else(Default::default, |caller| {
        (caller.subject.clone(), caller.guard.clone())
    })
}

/// Reports that something is permitted, if the decision depends on the caller.
pub(crate) fn permitted(
    cx: &mut Context<'_>,
    operation: &'static str,
    policy: CallerPolicy<'_>,
    request: TopicRequest<'_>,
) {
    if !policy.depends_on_caller() {
        return;
    }
    cx.event_with(|cx| {
        let (rule, _) = policy.rule(request).unwrap_or_default();
        let (identity, guard) = caller(cx);
        AccessPermitted {
            identity,
            guard,
            operation: ByteString::from_static(operation),
            topic: request.text().into(),
            rule: rule.into(),
        }
    });
}

/// Reports that something is refused.
pub(crate) fn refused(
    cx: &mut Context<'_>,
    operation: &'static str,
    topic: &str,
    option: &'static str,
    reason: &'static str,
) {
    cx.event_with(|cx| {
        let (identity, guard) = caller(cx);
        AccessRefused {
            identity,
            guard,
            operation: ByteString::from_static(operation),
            topic: ByteString::from(&*tidegate_streams::shown(topic)),
            rule: ByteString::from_static(option),
            reason: ByteString::from_static(reason),
        }
    });
}
