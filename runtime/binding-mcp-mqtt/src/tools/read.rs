//! `read`: the first message of a topic or topic filter.

use serde_json::{Value, json};
use tidegate_engine::Context;

use super::description::{described, filter, message, subscriber, timeout};
use super::receive::{self, ReceiveArguments};
use super::{Described, Invocation, Started};
use crate::arguments::{Arguments, document};
use crate::call::Params;
use crate::options::Permissions;
use crate::receive::Wanted;
use crate::refusal::Refusal;

const NAMES: [&str; 3] = ["topic", "timeout", "fresh"];
const TOPIC: usize = 0;
const TIMEOUT: usize = 1;
const FRESH: usize = 2;

pub(super) fn describe(about: &Described<'_>) -> Value {
    let what = "Return one message of an MQTT topic or topic filter: the retained message, which is the \
                latest value, or else the next message within `timeout`.";
    json!({
        "title": "Read one MQTT message",
        "description": described(what, about, Permissions::SUBSCRIBE),
        "inputSchema": {
            "type": "object",
            "properties": {
                "topic": filter(about.options),
                "timeout": timeout(about.options, "a message"),
                "fresh": {
                    "type": "boolean",
                    "default": false,
                    "description": "Skip the retained message and wait for the next one",
                },
            },
            "required": ["topic"],
            "additionalProperties": false,
        },
        "outputSchema": message(),
        "annotations": subscriber(about.options),
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
    let timeout = arguments.timeout(TIMEOUT, limits)?;
    let fresh = arguments.is_set(FRESH)?;
    let wanted = Wanted::One { fresh };
    receive::open(
        cx,
        call,
        ReceiveArguments {
            filter,
            wanted,
            timeout,
        },
    )
}
