//! The routes of an `mqtt · client`: which callers may publish and subscribe to which topics.
//!
//! They are the last line of defence, whatever opens the streams: a stream that no route permits is
//! refused before it joins a connection, which callers share. They are an allow list: any route that
//! permits is enough. A session has no topics and needs no route.

use bytestring::ByteString;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use tidegate_engine::Context;
use tidegate_engine::streams::mqtt::topic::TopicFilter;
use tidegate_engine::streams::mqtt::{MqttPublish, MqttSubscribe};
use tidegate_options::{
    GuardReference, Guarded, RouteFault, RouteRule, TopicAccess, TopicEntry, TopicPattern,
    TopicRequest,
};
use tidegate_streams::{Identity, event, shown};

use super::failure::Failure;
use crate::codec::ReasonCode;

/// Condition of a route: topics that may be published or subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
#[schemars(inline)]
pub struct Condition {
    /// Topic filters that may be published to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [["commands/#"]]))]
    pub publish: Vec<TopicPattern>,
    /// Topic filters that may be subscribed to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [["sensors/#", "status/#"]]))]
    pub subscribe: Vec<TopicPattern>,
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let condition = Self::deserialize(deserializer)?;
        if condition.publish.is_empty() && condition.subscribe.is_empty() {
            return Err(de::Error::custom(
                "an empty condition; use publish or subscribe, or remove 'when'",
            ));
        }
        Ok(condition)
    }
}

impl tidegate_options::Condition for Condition {
    const MAX: usize = 10_000;
    const SAME_EXIT: bool = true;

    fn check(_: &[RouteRule<Self>]) -> Vec<RouteFault> {
        Vec::new()
    }

    fn guards(&self) -> Vec<GuardReference> {
        let lists = [("publish", &self.publish), ("subscribe", &self.subscribe)];
        let mut references = Vec::new();
        for (key, patterns) in lists {
            for (index, pattern) in patterns.iter().enumerate() {
                let entry = entry(pattern, None);
                references.extend(entry.references(&[key, &index.to_string()]));
            }
        }
        references
    }
}

fn entry(pattern: &TopicPattern, guarded: Option<&Guarded>) -> TopicEntry {
    TopicEntry {
        pattern: pattern.clone(),
        guarded: guarded.cloned(),
    }
}

/// The routes, compiled.
#[derive(Debug)]
pub(super) struct Permission {
    /// Who may use the routes without conditions, which lead to every topic.
    everything: Vec<Option<Guarded>>,
    publish: TopicAccess,
    subscribe: TopicAccess,
}

impl Permission {
    /// `None` if everybody may do everything.
    pub(super) fn new(routes: &[RouteRule<Condition>]) -> Option<Self> {
        let (mut publish, mut subscribe) = (Vec::new(), Vec::new());
        let mut everything = Vec::new();
        for RouteRule { when, guarded } in routes {
            let guarded = guarded.as_ref();
            if when.is_empty() {
                everything.push(guarded.cloned());
            }
            for condition in when {
                publish.extend(condition.publish.iter().map(|it| entry(it, guarded)));
                subscribe.extend(condition.subscribe.iter().map(|it| entry(it, guarded)));
            }
        }
        let is_open = routes.is_empty() || everything.iter().any(Option::is_none);
        (!is_open).then(|| Self {
            everything,
            publish: TopicAccess::new(publish),
            subscribe: TopicAccess::new(subscribe),
        })
    }

    fn permits_everything(&self, caller: Option<&Identity>) -> bool {
        let mut routes = self.everything.iter().flatten();
        routes.any(|guarded| guarded.permits(caller))
    }

    /// Whether a caller may publish to a topic.
    fn permits_publish(&self, caller: Option<&Identity>, topic: &str) -> bool {
        self.permits_everything(caller) || self.publish.allows(caller, TopicRequest::Topic(topic))
    }

    /// Whether a caller may subscribe to a filter. An invalid one is refused elsewhere, with its fault.
    fn permits_subscribe(&self, caller: Option<&Identity>, filter: &ByteString) -> bool {
        self.permits_everything(caller)
            || TopicFilter::parse(filter.clone()).map_or(true, |filter| {
                self.subscribe.allows(caller, TopicRequest::Filter(&filter))
            })
    }

    /// Checks a publication.
    pub(super) fn check_publish(
        &self,
        cx: &mut Context<'_>,
        publish: &MqttPublish,
    ) -> Result<(), Failure> {
        if self.permits_publish(cx.identity().map(|it| &**it), &publish.topic) {
            return Ok(());
        }
        Err(refused(cx, "publishing to", &publish.topic))
    }

    /// Checks a subscription: each of its filters must be covered by a pattern.
    pub(super) fn check_subscribe(
        &self,
        cx: &mut Context<'_>,
        subscribe: &MqttSubscribe,
    ) -> Result<(), Failure> {
        let caller = cx.identity().map(|it| &**it);
        let mut filters = subscribe.filters.iter().map(|filter| &filter.pattern);
        match filters.find(|filter| !self.permits_subscribe(caller, filter)) {
            None => Ok(()),
            Some(filter) => Err(refused(cx, "subscribing to", filter)),
        }
    }
}

/// The first route that permits a caller to publish to a topic, or to subscribe to a filter.
pub fn explain(
    routes: &[RouteRule<Condition>],
    caller: Option<&Identity>,
    publish: bool,
    topic: &str,
) -> Option<usize> {
    routes.iter().position(|route| {
        Permission::new(std::slice::from_ref(route)).is_none_or(|permission| {
            if publish {
                permission.permits_publish(caller, topic)
            } else {
                permission.permits_subscribe(caller, &topic.into())
            }
        })
    })
}

event! {
    /// No route permits a caller to publish or subscribe to a topic.
    pub struct AccessRefused "binding.mqtt.access.refused" Warn audit(part)
        "{operation} '{topic}' refused: no route permits it"
    {
        /// Authenticated caller; empty if anonymous.
        identity "identity": ByteString = ByteString::new(),
        /// The guard that authenticated it.
        guard "guard": ByteString = ByteString::new(),
        /// `publishing to` or `subscribing to`.
        operation "operation": ByteString = ByteString::new(),
        /// Topic or topic filter, shortened.
        topic "topic": ByteString = ByteString::new(),
        /// What refuses it: `routes`.
        rule "rule": ByteString = ByteString::new(),
    }
}

fn refused(cx: &mut Context<'_>, what: &'static str, topic: &str) -> Failure {
    cx.event_with(|cx| {
        let caller = cx.identity();
        let (identity, guard) = caller.map_or_else(Default::default, |caller| {
            (caller.subject.clone(), caller.guard.clone())
        });
        AccessRefused {
            identity,
            guard,
            operation: ByteString::from_static(what),
            topic: ByteString::from(&*shown(topic)),
            rule: ByteString::from_static("routes"),
        }
    });
    let reason = format!(
        "no route of {} permits this caller {what} '{}'.",
        cx.name(),
        shown(topic)
    );
    Failure::new(ReasonCode::NOT_AUTHORIZED, reason)
}

#[cfg(test)]
mod tests {
    use tidegate_options::Condition as _;

    use super::*;

    fn routes(json: &[(&str, Option<&str>)]) -> Vec<RouteRule<Condition>> {
        let rule = |(when, guarded): &(&str, Option<&str>)| RouteRule {
            when: serde_json::from_str(when).expect("conditions"),
            guarded: guarded.map(|json| serde_json::from_str(json).expect("guarded")),
        };
        json.iter().map(rule).collect()
    }

    #[test]
    fn without_a_guard_and_a_condition_nothing_is_checked() {
        assert!(Permission::new(&[]).is_none());
        assert!(Permission::new(&routes(&[("[]", None)])).is_none());
        let when = r#"[{"publish":["a/#"]}]"#;
        assert!(Permission::new(&routes(&[(when, None), ("[]", None)])).is_none());
        let guarded = routes(&[("[]", Some(r#"{"staff":[]}"#))]);
        let permission = Permission::new(&guarded).expect("guarded");
        assert!(!permission.permits_everything(None));
    }

    #[test]
    fn an_empty_condition_is_refused_and_guards_in_patterns_are_listed() {
        let error = serde_json::from_str::<Condition>("{}").expect_err("empty");
        assert!(error.to_string().contains("an empty condition"), "{error}");
        let json = r#"{"publish":["a/${guarded['staff'].identity}"]}"#;
        let condition: Condition = serde_json::from_str(json).expect("a condition");
        let references = condition.guards();
        assert_eq!(references[0].guard, "staff");
        assert_eq!(references[0].path.join("."), "publish.0");
    }

    #[test]
    fn the_first_route_that_permits_is_explained() {
        let routes = routes(&[
            (r#"[{"publish":["a/#"]}]"#, Some(r#"{"staff":[]}"#)),
            (r#"[{"publish":["b/+"]}]"#, None),
            (r#"[{"publish":["b/#"],"subscribe":["c/#"]}]"#, None),
        ]);
        let staff = Identity {
            guard: "staff".into(),
            ..Identity::default()
        };
        let publish = |caller, topic| explain(&routes, caller, true, topic);
        assert_eq!(publish(Some(&staff), "a/1"), Some(0));
        assert_eq!(publish(None, "a/1"), None);
        assert_eq!(publish(None, "b/1"), Some(1));
        assert_eq!(publish(None, "b/1/2"), Some(2));
        assert_eq!(publish(Some(&staff), "c/1"), None);
        assert_eq!(explain(&routes, None, false, "c/+"), Some(2));
        assert_eq!(explain(&routes, None, false, "b/+"), None);
    }
}
