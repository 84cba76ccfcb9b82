//! The options in the form that the binding uses at runtime.

use bytes::Bytes;
use tidegate_engine::Duration;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::{Identity, shown};

use crate::arguments::Limits;
use crate::call::Tool;
use crate::lists::Lists;
use crate::options::Options;
use crate::policy::{CallerPolicy, Policy};
use crate::tools;

/// Constant while the binding runs.
pub(crate) struct Settings {
    pub(crate) subscribe: Policy,
    pub(crate) publish: Policy,
    /// The lists, if they are the same for every caller.
    lists: Option<Lists>,
    options: Options,
    pub(crate) limits: Limits,
    pub(crate) read_timeout: Duration,
    pub(crate) result_bound: usize,
    pub(crate) params_bound: usize,
    pub(crate) sessions_max: usize,
    pub(crate) expiry: Option<u32>,
}

impl Settings {
    pub(crate) fn new(options: &Options) -> Self {
        let size = |bound: u64| usize::try_from(bound).unwrap_or(usize::MAX);
        let subscribe = Policy::new(options.subscribe.as_deref());
        let publish = Policy::new(options.publish.as_deref());
        let guarded = subscribe.depends_on_caller() || publish.depends_on_caller();
        let lists = (!guarded).then(|| Lists::new(options, publish.of(None), subscribe.of(None)));
        Self {
            subscribe,
            publish,
            lists,
            options: options.clone(),
            limits: Limits {
                messages_default: tools::default_limit(options),
                messages_max: options.receive_limit.get(),
                timeout_default: options.receive_timeout.get(),
                qos_minimum: options.publish_qos.lowest(),
                qos_default: options.publish_qos.usual(),
                topic_header: options.topic_header,
                topics: options.topic_limits(),
                shared: options.shared_subscriptions,
            },
            read_timeout: Duration::from_millis(options.read_timeout.get()),
            result_bound: size(options.receive_bytes.get()),
            params_bound: size(options.max_params.get()),
            sessions_max: size(options.max_sessions.get()),
            expiry: options
                .publish_expiry
                .and_then(|seconds| u32::try_from(seconds.get()).ok()),
        }
    }

    /// Whether what a caller may access depends on who it is.
    pub(crate) const fn depends_on_caller(&self) -> bool {
        self.lists.is_none()
    }

    /// One of the lists, for a caller.
    pub(crate) fn list(
        &self,
        caller: Option<&Identity>,
        select: impl FnOnce(&Lists) -> &Bytes,
    ) -> Bytes {
        if let Some(lists) = &self.lists {
            return select(lists).clone();
        }
        let (publish, subscribe) = (self.publish.of(caller), self.subscribe.of(caller));
        select(&Lists::new(&self.options, publish, subscribe)).clone()
    }

    /// What a caller may access with a tool.
    pub(crate) const fn policy<'a>(
        &'a self,
        tool: Tool,
        caller: Option<&'a Identity>,
    ) -> CallerPolicy<'a> {
        match tool {
            Tool::Publish => self.publish.of(caller),
            Tool::Receive => self.subscribe.of(caller),
        }
    }

    /// The refusal of a tool that does not exist for the caller.
    pub(crate) fn unknown_tool(&self, name: &str, caller: Option<&Identity>) -> McpReset {
        let tools = [
            (tools::PUBLISH, Tool::Publish),
            (tools::RECEIVE, Tool::Receive),
        ];
        let own = tools
            .iter()
            .filter(|(_, tool)| self.policy(*tool, caller).allows_any());
        let own: Vec<String> = own.map(|(name, _)| format!("'{name}'")).collect();
        let name = shown(name);
        let message = if own.is_empty() {
            format!("Unknown tool '{name}'; no tools are available.")
        } else {
            format!(
                "Unknown tool '{name}'; available tools: {}.",
                own.join(", ")
            )
        };
        McpReset::new(McpResetKind::NotFound, message)
    }
}
