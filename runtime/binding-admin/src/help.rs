//! What each metric means.

/// The meanings, sorted by name.
const HELP: &[(&str, &str)] = &[
    ("admin.server.requests", "Requests for state and metrics."),
    (
        "audit.failing",
        "Whether the audit log cannot be written now.",
    ),
    ("audit.lines", "Lines written to the audit log."),
    ("audit.lost", "Audit records that were lost."),
    (
        "audit.queue.bytes",
        "Memory of audit records that wait to be written.",
    ),
    (
        "engine.events",
        "Events of bindings by id, also those that are not recorded.",
    ),
    (
        "engine.events.dropped",
        "Events dropped because one turn had too many.",
    ),
    ("engine.exchanges", "Running exchanges of all bindings."),
    (
        "engine.faults",
        "Panics in handlers; each ended the streams of its exchange.",
    ),
    ("engine.frames", "Frames delivered."),
    (
        "engine.frames.dropped",
        "Frames dropped because their stream had ended.",
    ),
    ("engine.streams", "Open streams."),
    ("engine.streams.opened", "Streams opened."),
    (
        "engine.streams.refused",
        "Streams refused at the limit of the engine.",
    ),
    ("engine.timers", "Pending timers."),
    (
        "engine.violations",
        "Frames that were illegal in the state of their stream.",
    ),
    (
        "http.client.connections",
        "Connections to servers by outcome: opened, or failed.",
    ),
    (
        "http.client.connections.idle",
        "Connections to servers that are kept for further requests.",
    ),
    ("http.client.requests", "Requests to servers in progress."),
    ("http.server.active_requests", "Requests in progress."),
    (
        "http.server.authorizations.failed",
        "Requests refused because of their credentials.",
    ),
    ("http.server.connections", "Open connections."),
    (
        "http.server.connections.abused",
        "Connections closed because the client cancelled too many requests.",
    ),
    ("http.server.connections.accepted", "Connections accepted."),
    (
        "http.server.connections.refused",
        "Connections refused because their address had too many.",
    ),
    (
        "http.server.connections.timed_out",
        "Connections closed by a timeout.",
    ),
    ("http.server.handshakes", "TLS handshakes by outcome."),
    (
        "http.server.requests",
        "Requests by outcome: opened as a stream, or refused by the edge.",
    ),
    (
        "http.server.responses.stalled",
        "Responses of HTTP/2 connections aborted because the client did not read them.",
    ),
    (
        "mcp.client.messages.invalid",
        "What servers sent that is not a message, or not allowed.",
    ),
    ("mcp.client.notifications", "Notifications of servers."),
    (
        "mcp.client.operations",
        "Operations at servers, sessions and subscriptions included.",
    ),
    (
        "mcp.client.requests.answered",
        "Requests that servers have answered.",
    ),
    (
        "mcp.client.requests.failed",
        "Requests to servers that have failed or were refused.",
    ),
    ("mcp.client.sessions", "Open sessions with servers."),
    ("mcp.client.sessions.begun", "Sessions begun with servers."),
    (
        "mcp.client.sessions.reopened",
        "Sessions begun again because the server did not know them any more.",
    ),
    (
        "mcp.proxy.cache.bytes",
        "Size of the cached lists of toolkits.",
    ),
    ("mcp.proxy.lists", "Lists merged from all toolkits."),
    (
        "mcp.proxy.lists.incomplete",
        "Lists with a toolkit missing or truncated.",
    ),
    (
        "mcp.proxy.operations",
        "Operations passed on to one toolkit.",
    ),
    ("mcp.proxy.sessions", "Open sessions."),
    (
        "mcp.proxy.toolkit.lists.cached",
        "Lists of toolkits taken from the cache.",
    ),
    (
        "mcp.proxy.toolkit.lists.requested",
        "Lists requested from toolkits.",
    ),
    ("mcp.proxy.toolkit.operations", "Operations by toolkit."),
    (
        "mcp.proxy.toolkit.unavailable",
        "Whether a toolkit is unavailable: 1 if so, on each worker.",
    ),
    ("mcp.server.batches", "Running batches."),
    ("mcp.server.calls", "Calls by outcome."),
    (
        "mcp.server.inputs",
        "Requests to legacy clients that wait for a response.",
    ),
    ("mcp.server.lines", "Open line streams."),
    ("mcp.server.listens", "Open subscriptions/listen streams."),
    (
        "mcp.server.operation.duration",
        "Duration of calls by method and outcome.",
    ),
    (
        "mcp.server.refusals",
        "Messages refused before they were processed, by reason.",
    ),
    ("mcp.server.requests", "Running requests."),
    (
        "mcp.server.requests.limited",
        "Requests refused because their caller had too many.",
    ),
    (
        "mcp.server.requests.parked",
        "Operations that wait until a modern client repeats its request with input.",
    ),
    (
        "mcp.server.requests.refused",
        "Messages refused before they were processed.",
    ),
    (
        "mcp.server.results.held.bytes",
        "Memory of results that are buffered until they are complete.",
    ),
    ("mcp.server.sessions", "Open sessions."),
    ("mcp.server.sessions.begun", "Sessions begun."),
    ("mcp.server.sessions.expired", "Sessions expired."),
    (
        "mcp.server.sessions.replayable.bytes",
        "Memory of events that are kept for clients that resume a stream.",
    ),
    ("mcp.server.subscriptions", "Open subscriptions."),
    (
        "mcp.server.subscriptions.bytes",
        "Memory of the URIs of subscriptions.",
    ),
    (
        "mcp_device.announcements",
        "Announcements of devices: taken, and refused with what was left out of others.",
    ),
    (
        "mcp_device.approvals.pending",
        "Commands that wait for the approval of a person.",
    ),
    (
        "mcp_device.cache.bytes",
        "Bytes of the cached values of devices.",
    ),
    ("mcp_device.devices", "Known devices."),
    (
        "mcp_device.devices.refused",
        "Devices that could not be added because of a limit.",
    ),
    (
        "mcp_device.devices.removed",
        "Seen devices removed at a limit, the most silent first.",
    ),
    (
        "mcp_device.messages",
        "Messages of devices by result: recorded, ignored or dropped.",
    ),
    (
        "mcp_device.operation.duration",
        "Duration of operations on devices.",
    ),
    ("mcp_device.operations", "Operations on devices by outcome."),
    (
        "mcp_device.requests.refused",
        "Requests refused before they began.",
    ),
    ("mcp_device.sessions", "Open sessions."),
    (
        "mcp_mqtt.operation.duration",
        "Duration of operations by outcome.",
    ),
    ("mcp_mqtt.operations", "Operations by outcome."),
    (
        "mcp_mqtt.requests.refused",
        "Requests refused before they were processed.",
    ),
    ("mcp_mqtt.sessions", "Open sessions."),
    (
        "messaging.client.consumed.messages",
        "Messages received from the broker.",
    ),
    (
        "messaging.client.sent.messages",
        "Messages written to the broker.",
    ),
    (
        "mqtt.client.connections",
        "Connections to the broker by state.",
    ),
    (
        "mqtt.client.connections.lost",
        "Connections lost after the broker had accepted them.",
    ),
    ("mqtt.client.connects", "Attempts to connect by outcome."),
    (
        "mqtt.client.down",
        "Workers whose last connection to the broker failed.",
    ),
    (
        "mqtt.client.gaps",
        "Subscriptions that may have missed messages while a connection was lost.",
    ),
    ("mqtt.client.outages", "Outages of the broker."),
    ("mqtt.client.publications", "Publications by outcome."),
    (
        "mqtt.client.required",
        "Whether the gateway is ready only with this broker.",
    ),
    (
        "mqtt.client.sessions",
        "Sessions after the loss of a connection by outcome.",
    ),
    (
        "mqtt.client.slow_consumers",
        "Subscriptions ended because their messages were not read.",
    ),
    ("mqtt.client.streams", "Open streams."),
    (
        "mqtt.client.streams.refused",
        "Streams refused without an attempt to connect.",
    ),
    ("mqtt_mcp.answers", "Answers to machines by result."),
    (
        "mqtt_mcp.answers.waiting",
        "Answers that wait for the broker.",
    ),
    (
        "mqtt_mcp.listens",
        "Subscriptions of devices (subscriptions/listen) that last.",
    ),
    (
        "mqtt_mcp.messages.ignored",
        "Messages that are no requests: retained, or 'if' is false for them.",
    ),
    (
        "mqtt_mcp.progress",
        "Messages about the progress of tools by result.",
    ),
    ("mqtt_mcp.queue.bytes", "Size of the records in the queue."),
    (
        "mqtt_mcp.queue.requests",
        "Requests in the queue, remembered ones included.",
    ),
    (
        "mqtt_mcp.remembered.evicted",
        "Answers and requests that were forgotten at a limit, before their time.",
    ),
    (
        "mqtt_mcp.request.duration",
        "Time from the receipt of requests to their outcome.",
    ),
    ("mqtt_mcp.requests", "Requests of machines by outcome."),
    (
        "mqtt_mcp.requests.remembered",
        "Requests that are remembered with their answers.",
    ),
    (
        "mqtt_mcp.requests.repeated",
        "Requests that came again, and were answered as before.",
    ),
    ("mqtt_mcp.requests.running", "Requests that run."),
    ("mqtt_mcp.requests.waiting", "Requests that wait."),
    (
        "mqtt_mcp.step.duration",
        "Time from the call of a tool for a request to its result.",
    ),
    ("mqtt_mcp.steps", "Calls of tools for requests by outcome."),
    (
        "stdio.client.processes",
        "Processes that run, or are being started or ended.",
    ),
    (
        "stdio.client.starts",
        "Processes by outcome: started, and failed to start or ended by themselves.",
    ),
    ("stdio.server.lines", "Lines of standard input by outcome."),
    (
        "store.file.commits",
        "Transactions that made writes durable.",
    ),
    ("store.file.failures", "Failures of the file."),
    ("store.file.writes", "Writes to the file."),
    ("tcp.client.bytes", "Bytes by direction."),
    ("tcp.client.connections", "Open connections."),
    ("tcp.client.connects", "Attempts to connect by outcome."),
    ("tls.client.handshakes", "TLS handshakes by outcome."),
    ("ws.client.handshakes", "WebSocket handshakes by outcome."),
];

/// What a metric means, if it is known.
pub fn help(name: &str) -> Option<&'static str> {
    let found = HELP.binary_search_by_key(&name, |(name, _)| name);
    found
        .ok()
        .and_then(|index| HELP.get(index))
        .map(|(_, help)| *help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_meaning_is_found_and_is_one_line() {
        for (name, text) in HELP {
            assert_eq!(help(name), Some(*text), "{name}: sorted by name");
            assert!(
                text.ends_with('.') && !text.contains(['\n', '\\']),
                "{text}"
            );
        }
        assert_eq!(help("no.such"), None);
    }
}
