//! The options of `mqtt_mcp · proxy`, and the conditions of its routes. What routes do: see `action`.

use bytestring::ByteString;
use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_options::{ActionFault, ActionRoute, Bounded, OptionWarning, RouteFault, RouteRule};
use tidegate_streams::mqtt::MqttSubscribe;
use tidegate_streams::mqtt::text::check_characters;

use crate::action::{With, unanswerable};
use crate::levels::{ReplyPattern, RequestTopic};
use crate::raw::discovery::DiscoverOptions;
use crate::route::Routes;
use crate::subscription::Terms;

/// The options of `mqtt_mcp · proxy`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Options {
    /// Client identifier of the connection that receives requests; answers use the shared one of the `mqtt ·
    /// client`. The broker keeps requests for it, so it must stay the same when the gateway starts again,
    /// and each replica needs its own. Absent: the `clientId` of the `mqtt · client` with
    /// `_subscription`; without that one too, it is random, and requests are missed while the gateway is
    /// not running.
    #[schemars(extend("examples" = ["planner-1", "planner-${{env.HOSTNAME}}"]))]
    pub client_id: Option<ClientId>,
    /// Time that the broker keeps requests while the gateway is not connected, in seconds. 0: its session
    /// ends with the connection. Absent: 3600, and 0 with `group`.
    #[schemars(extend("examples" = [300]))]
    pub session_expiry: Option<Bounded<0, 4_294_967_295>>,
    /// Name of a shared subscription. The broker gives each request to one of the gateways with the same
    /// name.
    #[schemars(extend("examples" = ["planners"]))]
    pub group: Option<Group>,
    /// Maximum number of requests that are executed at once. Further ones wait.
    pub concurrency: Bounded<1, 10_000>,
    /// Maximum number of requests of one device that are executed at once. With 1, a device gets its
    /// answers in the order of its requests.
    pub per_device: Bounded<1, 10_000>,
    /// Maximum number of requests that begin in a second; further ones wait. A tenth of them may begin at
    /// once. It limits how fast what has gathered in an outage is executed. Absent: no limit but
    /// `concurrency`.
    #[schemars(extend("examples" = [200]))]
    pub rate: Option<Bounded<1, 1_000_000>>,
    /// Maximum number of requests that wait. A further one is answered as `busy`. Devices take turns.
    pub max_waiting: Bounded<0, 1_000_000>,
    /// Maximum number of requests of one device that wait. A further one is answered as `busy`.
    pub max_waiting_per_device: Bounded<0, 1_000_000>,
    /// Maximum size of all requests that wait, in bytes; each counts 1 KiB more than its parsed payload and
    /// the user properties that templates use. A further one is answered as `busy`. Of this size, a device
    /// has the same part as `maxWaitingPerDevice` is of `maxWaiting`, and at least one request.
    pub max_waiting_bytes: Bounded<1_024, 4_294_967_296>,
    /// Time from the receipt of a request to its answer, in milliseconds. A message that expires sooner
    /// has less. After it, the request is answered as `timedOut`.
    pub timeout: Bounded<1, 3_600_000>,
    /// Topics that requests may name for their answers: as Response Topic, or as `replyTopic` in the
    /// payload. A level `{name}` must be equal to the level of that name of the request's topic. A
    /// request that names another topic is refused. Empty: none may be named.
    #[schemars(extend("examples" = [["devices/{device}/answers/#"]]))]
    pub(crate) reply_topics: Vec<ReplyPattern>,
    /// Largest payload of a request, in bytes. A larger one is refused.
    pub max_payload: Bounded<2, 16_777_216>,
    /// Largest result of a tool, in bytes. A larger one fails the request.
    pub max_result: Bounded<1_024, 16_777_216>,
    /// Time for which a request that was executed is remembered with its answer, in milliseconds: the same
    /// request gets it again within this time. A request whose Message Expiry Interval is longer is remembered
    /// until then, at most a day. While the broker cannot be reached, an answer waits as long, unless it
    /// expires sooner.
    pub remember: Bounded<1, 86_400_000>,
    /// Maximum number of requests that are remembered with their answers. For a further one, the device with
    /// the most loses the one that expires next: it would be executed again.
    pub max_remembered: Bounded<1, 1_000_000>,
    /// The retained message that says what MCP clients of routes with `raw` find here. Absent: there is none.
    #[schemars(extend("examples" = [{ "topic": "mcp/kitchen/discover" }]))]
    pub(crate) discover: Option<DiscoverOptions>,
    /// Maximum number of `subscriptions/listen` of routes with `raw`. A further one is answered as `busy`.
    pub max_listens: Bounded<0, 100_000>,
    /// Maximum number of `subscriptions/listen` of one device. A further one is answered as `busy`.
    pub max_listens_per_device: Bounded<0, 100_000>,
    /// Maximum size of the remembered requests and answers, in bytes. The device with the most loses the
    /// answer that expires next; its request is still known, and is answered as `answerForgotten`. Without
    /// any answer left, requests are forgotten.
    pub max_remembered_bytes: Bounded<1_024, 4_294_967_296>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            client_id: None,
            session_expiry: None,
            group: None,
            concurrency: Bounded::of(16),
            per_device: Bounded::of(2),
            rate: None,
            max_waiting: Bounded::of(1_000),
            max_waiting_per_device: Bounded::of(100),
            max_waiting_bytes: Bounded::of(8 << 20),
            timeout: Bounded::of(10_000),
            reply_topics: Vec::new(),
            max_payload: Bounded::of(64 << 10),
            max_result: Bounded::of(256 << 10),
            remember: Bounded::of(60_000),
            max_remembered: Bounded::of(10_000),
            discover: None,
            max_listens: Bounded::of(1_000),
            max_listens_per_device: Bounded::of(10),
            max_remembered_bytes: Bounded::of(16 << 20),
        }
    }
}

impl tidegate_options::Options for Options {
    fn warnings(&self) -> Vec<OptionWarning> {
        let mut warnings = Vec::new();
        if self.per_device.get() > self.concurrency.get() {
            warnings.push(OptionWarning {
                key: "perDevice",
                message: "one device can use all of 'concurrency'".to_owned(),
                help: "use a 'perDevice' below 'concurrency', so that others are still served"
                    .to_owned(),
            });
        }
        if self.group.is_some() && self.session_expiry.is_none() {
            warnings.push(OptionWarning {
                key: "group",
                message: "the session ends with a lost connection: what is not acknowledged then goes to another \
                          gateway of the group, or is lost, as the broker does it (mosquitto loses it)"
                    .to_owned(),
                help: "set 'sessionExpiry' to the seconds for which it waits for this gateway, or to 0 if another \
                       gateway is to get it"
                    .to_owned(),
            });
        }
        warnings
    }
}

/// Time that the broker keeps requests, in seconds, by default.
const SESSION_EXPIRY: u32 = 3_600;

impl Options {
    /// How the binding subscribes. Each request that runs or waits may be unacknowledged, and no more: the
    /// broker keeps the others.
    /// Those that a queue has stored are acknowledged while at most half of `maxWaiting` wait: with the others,
    /// which the broker keeps, there is always room for them.
    pub(crate) fn terms(&self, has_queue: bool) -> Terms {
        let waiting = self.max_waiting.get();
        let requests = if has_queue && waiting > 0 {
            waiting.div_ceil(2)
        } else {
            self.concurrency.get() + waiting
        };
        let expiry = match (&self.session_expiry, &self.group) {
            (Some(expiry), _) => u32::try_from(expiry.get()).unwrap_or(u32::MAX),
            (None, Some(_)) => 0,
            (None, None) => SESSION_EXPIRY,
        };
        let client_id = self.client_id.as_ref();
        Terms {
            client_id: client_id.map(|it| it.text().into()),
            group: self.group.as_ref().map(|it| it.0.as_str().into()),
            receive_maximum: u16::try_from(requests).unwrap_or(u16::MAX),
            session_expiry: expiry,
        }
    }
}

impl Options {
    /// The subscription that a binding with these options and routes makes.
    pub fn subscription(
        &self,
        routes: Vec<ActionRoute<Condition, With>>,
        has_queue: bool,
    ) -> MqttSubscribe {
        let filters = Routes::new(routes, self).filters;
        self.terms(has_queue).subscribe(&filters)
    }

    /// The routes that can execute nothing with these options.
    pub fn unanswerable(&self, routes: &[ActionRoute<Condition, With>]) -> Vec<ActionFault> {
        unanswerable(self, routes)
    }

    /// What the binding calls itself in messages.
    pub(crate) fn source(&self) -> ByteString {
        let client_id = self.client_id.as_ref().map(ClientId::text);
        client_id.unwrap_or("tidegate").into()
    }
}

/// The name of a shared subscription (MQTT 5.0, 4.8.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
pub struct Group(#[schemars(length(min = 1, max = 256))] String);

impl TryFrom<String> for Group {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > LENGTH_MAX || text.contains(['/', '+', '#']) {
            return Err(format!(
                "invalid group; use 1 to {LENGTH_MAX} bytes without '/', '+' and '#'"
            ));
        }
        match check_characters(&text) {
            Ok(()) => Ok(Self(text)),
            Err(error) => Err(format!("invalid group: it contains {error}")),
        }
    }
}

/// Most bytes of a client identifier, and of the name of a group.
const LENGTH_MAX: usize = 256;

/// A client identifier.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
pub struct ClientId(#[schemars(length(min = 1, max = 256))] String);

impl ClientId {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > LENGTH_MAX {
            return Err(format!(
                "invalid client identifier; use 1 to {LENGTH_MAX} bytes"
            ));
        }
        match check_characters(&text) {
            Ok(()) => Ok(Self(text)),
            Err(error) => Err(format!("invalid client identifier: it contains {error}")),
        }
    }
}

/// Which messages are requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Condition {
    /// Topic filter. A level `{name}` is a wildcard with a name: templates see it as `topic.name`.
    #[schemars(extend("examples" = ["devices/{device}/call"]))]
    pub(crate) topic: RequestTopic,
    /// Maximum `QoS` of the subscription.
    #[serde(default = "Condition::default_qos")]
    pub(crate) qos: Bounded<0, 2>,
}

impl Condition {
    const fn default_qos() -> Bounded<0, 2> {
        Bounded::of(1)
    }
}

impl tidegate_options::Condition for Condition {
    fn check(routes: &[RouteRule<Self>]) -> Vec<RouteFault> {
        let routes = routes.iter().enumerate();
        let empty = routes.filter(|(_, route)| route.when.is_empty());
        empty
            .map(|(route, _)| RouteFault {
                route,
                message: "a route without 'when' has no requests".to_owned(),
                help: "add 'when' with the topics of its requests".to_owned(),
            })
            .collect()
    }
}
