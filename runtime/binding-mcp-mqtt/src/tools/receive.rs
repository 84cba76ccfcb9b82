//! `receive`: the messages of a topic filter, up to a limit.

use serde_json::{Value, json};
use tidegate_engine::{Context, Duration};
use tidegate_options::TopicRequest;
use tidegate_streams::mqtt::MqttSubscribeFlags;
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::shown;

use super::description::{described, filter, message, subscriber, timeout};
use super::{Described, Invocation, Opening, Started};
use crate::arguments::{Arguments, document};
use crate::call::Params;
use crate::decision;
use crate::operation::CallCompleted;
use crate::options::{Options, Permissions};
use crate::policy::SHARED;
use crate::receive::{Receive, Wanted};
use crate::refusal::{Refusal, not_allowed};
use crate::state::State;
use crate::subscribe;
use crate::taken::Taken;

const NAMES: [&str; 3] = ["topic", "limit", "timeout"];
const TOPIC: usize = 0;
const LIMIT: usize = 1;
const TIMEOUT: usize = 2;

/// Default of the argument `limit`, unless `receiveLimit` is lower.
const DEFAULT_LIMIT: u64 = 10;

/// The default of the argument `limit`: never above `receiveLimit`.
pub(crate) fn default_limit(options: &Options) -> u64 {
    DEFAULT_LIMIT.min(options.receive_limit.get())
}

/// The checked arguments of `receive` and `read`.
#[derive(Debug)]
pub(crate) struct ReceiveArguments {
    pub(crate) filter: TopicFilter,
    pub(crate) wanted: Wanted,
    pub(crate) timeout: Duration,
}

pub(super) fn describe(about: &Described<'_>) -> Value {
    let options = about.options;
    let most = options.receive_limit.get();
    let what = format!(
        "Subscribe to an MQTT topic filter and return up to `limit` messages (max {most}), retained \
         messages included, or fewer when `timeout` expires."
    );
    json!({
        "title": "Receive MQTT messages",
        "description": described(&what, about, Permissions::SUBSCRIBE),
        "inputSchema": {
            "type": "object",
            "properties": {
                "topic": filter(options),
                "limit": {
                    "type": "integer",
                    "description": "Maximum number of messages to receive",
                    "minimum": 1,
                    "maximum": most,
                    "default": default_limit(options),
                },
                "timeout": timeout(options, "messages"),
            },
            "required": ["topic"],
            "additionalProperties": false,
        },
        "outputSchema": {
            "type": "object",
            "properties": { "messages": { "type": "array", "items": message() } },
            "required": ["messages"],
        },
        "annotations": subscriber(options),
    })
}

pub(super) fn start(
    cx: &mut Context<'_>,
    params: Params,
    call: &mut Invocation<'_>,
) -> Result<Started, Refusal> {
    let limits = &call.settings.limits;
    let document = document(params)?;
    let arguments = Arguments::of(call.tool, &NAMES, document.as_ref())?;
    let filter = arguments.filter(
        TOPIC,
        call.header,
        call.settings.subscribe.of(call.caller),
        limits,
    )?;
    let limit = arguments.number(LIMIT, limits.messages_default, limits.messages_max)?;
    let timeout = arguments.timeout(TIMEOUT, limits)?;
    let wanted = Wanted::UpTo(u32::try_from(limit).unwrap_or(u32::MAX));
    open(
        cx,
        call,
        ReceiveArguments {
            filter,
            wanted,
            timeout,
        },
    )
}

/// Checks whether the caller may subscribe to the filter, and opens the subscribe stream.
pub(super) fn open(
    cx: &mut Context<'_>,
    call: &mut Invocation<'_>,
    arguments: ReceiveArguments,
) -> Result<Started, Refusal> {
    let settings = call.settings;
    let policy = settings.subscribe.of(call.caller);
    let filter = &arguments.filter;
    let request = TopicRequest::Filter(filter);
    let shown_filter = || shown(filter.as_str());
    if !policy.allows_filter(filter) {
        return Err(not_allowed(policy, request, || {
            format!("Receiving from '{}' is not allowed.", shown_filter())
        }));
    }
    if filter.is_shared() && !settings.limits.shared {
        return Err(format!(
            "Receiving from '{}' is not allowed: {SHARED}. Receive from '{}' to get a copy of each \
             message.",
            shown_filter(),
            shown(filter.inner())
        )
        .into());
    }
    decision::permitted(cx, call.tool, policy, request);
    // A shared subscription takes no more messages than the result can hold.
    let limit = if filter.is_shared() {
        arguments.wanted.limit()
    } else {
        0
    };
    let flags = if arguments.wanted.is_fresh() {
        MqttSubscribeFlags::NO_RETAINED
    } else {
        MqttSubscribeFlags::NONE
    };
    let begin = subscribe::begin(call.client_id.clone(), filter.text(), limit, flags);
    let timeout = arguments.timeout;
    let mut receive = Receive::new(arguments, settings.result_bound);
    receive.audited = Taken::new(cx.audits::<CallCompleted>());
    Ok(Started::Stream(Opening {
        state: State::Receive(Box::new(receive)),
        begin: begin.into(),
        client_id: call.client_id.take(),
        wait: Some((timeout, "the messages to receive")),
    }))
}
