//! Explains what the options allow a caller, with the code that decides it.

use tidegate_options::TopicRequest;
use tidegate_streams::Identity;
use tidegate_streams::mqtt::topic::{TopicFilter, check_name};

use crate::options::Options;
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
}

impl Explainer {
    /// Explains these options.
    pub fn new(options: &Options) -> Self {
        Self {
            settings: Settings::new(options),
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

    /// What is decided about a topic or topic filter. The error says why it is invalid.
    pub fn topic(
        &self,
        caller: Option<&Identity>,
        tool: &str,
        topic: &str,
    ) -> Result<Explanation, String> {
        let tool = self.settings.tool_named(tool).ok_or("unknown tool")?.tool;
        let filter = TopicFilter::parse(topic).map_err(|error| error.to_string())?;
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
