//! Options of `mcp · server`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_options::{Bounded, positive};

/// Options of `mcp · server`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Timeout for a request, in milliseconds. It is then cancelled and answered with a timeout
    /// error.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub timeout: u64,
    /// How long a client may take to answer what a server asks of it (elicitation, sampling, roots), in
    /// milliseconds. The server is then told that there is no answer.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub input_timeout: u64,
    /// Time without a request or an open event stream after which a legacy session expires, in
    /// milliseconds.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub session_timeout: u64,
    /// Maximum number of legacy sessions of each worker. A further one is refused.
    pub max_sessions: usize,
    /// Maximum total length of the URIs that a legacy session, or one `subscriptions/listen`, is
    /// subscribed to, in bytes. A further subscription is refused.
    pub max_session_bytes: usize,
    /// Maximum total length of the URIs that all clients of a worker are subscribed to, in bytes. A
    /// further subscription is refused.
    pub max_subscription_bytes: usize,
    /// Time after which a legacy client that waits for a response over HTTP is told to come back for it, in
    /// milliseconds: the response ends with an event id, and the client resumes it with a GET. For
    /// intermediaries that end long responses. Absent: never.
    pub poll_after: Option<Bounded<1, 3_600_000>>,
    /// Interval of the comments that keep an idle event stream open, in milliseconds.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub keep_alive: u64,
    /// Maximum size of a client's message, in bytes. A larger one is refused.
    #[serde(deserialize_with = "positive")]
    #[schemars(range(min = 1))]
    pub max_message_size: usize,
    /// Maximum rate of requests of a caller: its identity, or its address if it is anonymous. A request
    /// beyond it is refused with 429. Each worker counts for itself. Absent: no limit.
    pub rate: Option<Rate>,
    /// Maximum number of requests of a caller that run at the same time on a worker. A further one is
    /// refused with 429. Event streams and subscriptions do not count. Absent: no limit.
    pub concurrency: Option<Bounded<1, 1_000_000>>,
    /// Instructions for language models on how to use this server; sent to each client.
    #[schemars(example = &"Lamps listen on commands/NAME/set.")]
    pub instructions: Option<String>,
}

/// A rate of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rate {
    /// Requests per second.
    pub per_second: Bounded<1, 1_000_000>,
    /// Requests that may come at once after a pause. Absent: `perSecond`.
    #[serde(default)]
    pub burst: Option<Bounded<1, 1_000_000>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: 60_000,
            input_timeout: 300_000,
            session_timeout: 300_000,
            max_sessions: 10_000,
            max_session_bytes: 256 * 1024,
            max_subscription_bytes: 16 * 1024 * 1024,
            poll_after: None,
            keep_alive: 15_000,
            max_message_size: 4 * 1024 * 1024,
            rate: None,
            concurrency: None,
            instructions: None,
        }
    }
}

impl tidegate_options::Options for Options {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Options;

    #[test]
    fn a_number_that_would_let_nothing_work_is_refused() {
        for key in [
            "timeout",
            "inputTimeout",
            "sessionTimeout",
            "keepAlive",
            "maxMessageSize",
        ] {
            let read = |number: u64| serde_json::from_value::<Options>(json!({ key: number }));
            let error = read(0).expect_err(key).to_string();
            assert_eq!(error, "must be at least 1", "{key}");
            assert!(read(1).is_ok(), "{key}");
        }
        let without_sessions = json!({ "maxSessions": 0 });
        assert!(serde_json::from_value::<Options>(without_sessions).is_ok());
    }
}
