//! Explains what the options allow a caller, with the code that decides it.

use tidegate_options::TopicRequest;
use tidegate_streams::Identity;
use tidegate_streams::mqtt::topic::{TopicFilter, check_name};

use crate::options::Options;
use crate::policy::SHARED;
use crate::settings::Settings;
use crate::tools::Tool;

/// What the options decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// Allowed, by this entry; `None` if the option is absent.
    Allowed(Option<String>),
    /// The caller may ask for these scopes.
    StepUp(Vec<String>),
    /// Not allowed.
    Refused,
}

/// The options of an `mcp_mqtt · proxy`.
pub struct Explainer {
    settings: Settings,
    /// Whether the tools accept shared subscriptions.
    shared: bool,
}

impl Explainer {
    /// Explains these options.
    pub fn new(options: &Options) -> Self {
        Self {
            settings: Settings::new(options),
            shared: options.shared_subscriptions && options.compatibility.is_none(),
        }
    }

    /// What is decided about a tool; `None` if there is no such tool for anyone.
    pub fn tool(&self, caller: Option<&Identity>, name: &str) -> Option<Explanation> {
        let tool = self.settings.tool_named(name)?;
        let mut own = self.settings.tools_of(caller);
        Some(if own.any(|it| it.tool == tool.tool) {
            Explanation::Allowed(None)
        } else {
            Explanation::Refused
        })
    }

    /// The name of the tool of an operation, such as `publish`; `None` if there is none.
    pub fn name_of(&self, operation: &str) -> Option<&'static str> {
        self.settings.name_of(operation)
    }

    /// What is decided about a topic or topic filter. The error says why it is invalid.
    pub fn topic(
        &self,
        caller: Option<&Identity>,
        tool: &str,
        topic: &str,
    ) -> Result<Explanation, String> {
        let tool = self.settings.tool_named(tool).ok_or("unknown tool")?.tool;
        let limits = &self.settings.limits;
        let filter = TopicFilter::parse(topic)
            .and_then(|filter| limits.topics.check(topic).map(|()| filter))
            .map_err(|error| error.to_string())?;
        let (request, policy) = match tool {
            Tool::Publish | Tool::Query => {
                check_name(topic).map_err(|error| error.to_string())?;
                (TopicRequest::Topic(topic), self.settings.publish.of(caller))
            }
            Tool::Receive | Tool::Read | Tool::ListTopics => (
                TopicRequest::Filter(&filter),
                self.settings.subscribe.of(caller),
            ),
        };
        if matches!(request, TopicRequest::Filter(_)) && filter.is_shared() && !self.shared {
            return Err(SHARED.to_owned());
        }
        let allowed = match request {
            TopicRequest::Topic(topic) => policy.allows_topic(topic),
            TopicRequest::Filter(filter) => policy.allows_filter(filter),
        };
        if !allowed {
            let scopes = policy.step_up(request).map(<[String]>::to_vec);
            return Ok(scopes.map_or(Explanation::Refused, Explanation::StepUp));
        }
        let rule = policy.rule(request);
        let rule = rule.map(|(place, pattern)| format!("{place} ({pattern})"));
        Ok(Explanation::Allowed(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(options: &str, tool: &str, topic: &str) -> Result<Explanation, String> {
        let options = serde_json::from_str(options).expect("options");
        Explainer::new(&options).topic(None, tool, topic)
    }

    #[test]
    fn what_a_call_would_refuse_is_not_explained_as_allowed() {
        let own = r##"{"subscribe":["#"],"publish":["#"],"maxTopicLevels":2}"##;
        assert!(explained(own, "receive", "a/b").is_ok());
        for tool in ["receive", "publish"] {
            let long = explained(own, tool, "a/b/c").expect_err("three levels");
            assert!(long.contains("(maxTopicLevels)"), "{long}");
        }
        let shared = explained(own, "receive", "$share/g").map_err(|it| it.contains("$share/"));
        assert_eq!(shared, Err(true), "no share");
        let pattern = r##""subscribe":["#"],"publish":[]"##;
        for (options, tool, expected) in [
            ("", "receive", false),
            (r#""sharedSubscriptions":true,"#, "receive", true),
            (
                r#""sharedSubscriptions":true,"compatibility":"mcpmqtt","#,
                "mqtt_subscribe",
                false,
            ),
        ] {
            let options = format!("{{{options}{pattern}}}");
            let found = explained(&options, tool, "$share/g/a");
            assert_eq!(found.is_ok(), expected, "{options}: {found:?}");
        }
    }
}
