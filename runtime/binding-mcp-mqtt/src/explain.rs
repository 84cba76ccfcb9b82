//! Explains what the options allow a caller, with the code that decides it.

use tidegate_options::TopicRequest;
use tidegate_streams::Identity;
use tidegate_streams::mqtt::topic::{TopicFilter, check_name};

use crate::call::Tool;
use crate::options::Options;
use crate::settings::Settings;

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
    options: Options,
}

impl Explainer {
    /// Explains these options.
    pub fn new(options: Options) -> Self {
        Self {
            settings: Settings::new(&options),
            options,
        }
    }

    /// What is decided about a tool; `None` if there is no such tool for anyone.
    pub fn tool(&self, caller: Option<&Identity>, name: &str) -> Option<Explanation> {
        let policy = self.settings.policy(Tool::named(name)?, caller);
        Some(if policy.allows_any() {
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
        let tool = Tool::named(tool).ok_or("unknown tool")?;
        let policy = self.settings.policy(tool, caller);
        let filter = TopicFilter::parse(topic).map_err(|error| error.to_string())?;
        let (request, allowed, option) = match tool {
            Tool::Publish => {
                check_name(topic).map_err(|error| error.to_string())?;
                let request = TopicRequest::Topic(topic);
                (request, policy.allows_topic(topic), "publish")
            }
            Tool::Receive => {
                let request = TopicRequest::Filter(&filter);
                (request, policy.allows_filter(&filter), "subscribe")
            }
        };
        if !allowed {
            let scopes = policy.step_up(request).map(<[String]>::to_vec);
            return Ok(scopes.map_or(Explanation::Refused, Explanation::StepUp));
        }
        let rule = policy.rule(request).map(|index| {
            let entries = match tool {
                Tool::Publish => &self.options.publish,
                Tool::Receive => &self.options.subscribe,
            };
            let entry = entries.iter().flatten().nth(index);
            let pattern = entry.map_or("", |entry| entry.pattern.text());
            format!("{option}.{index} ({pattern})")
        });
        Ok(Explanation::Allowed(rule))
    }
}
