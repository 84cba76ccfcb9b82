//! The options in the form that the binding uses at runtime.

use bytes::Bytes;
use tidegate_engine::Duration;
use tidegate_streams::mcp::{McpReset, McpResetKind};
use tidegate_streams::{Identity, shown};

use crate::arguments::Limits;
use crate::catalog::Catalog;
use crate::lists::Lists;
use crate::mcpmqtt::{self, Documents};
use crate::options::{Options, Permissions, ReplyTopic};
use crate::policy::Policy;
use crate::rules::{Applicable, Rules};
use crate::tools::{self, Definition, Described, Tools};

/// Constant while the binding runs.
pub(crate) struct Settings {
    pub(crate) subscribe: Policy,
    pub(crate) publish: Policy,
    pub(crate) catalog: Catalog,
    rules: Option<Rules>,
    tools: Tools,
    /// The lists, if they are the same for every caller.
    lists: Option<Lists>,
    options: Options,
    pub(crate) limits: Limits,
    pub(crate) read_timeout: Duration,
    pub(crate) result_bound: usize,
    pub(crate) params_bound: usize,
    pub(crate) sessions_max: usize,
    pub(crate) expiry: Option<u32>,
    pub(crate) reply_topic: Option<ReplyTopic>,
    /// Whether the topics of received messages are remembered.
    pub(crate) observe: bool,
    /// Whether a person has to approve some messages.
    pub(crate) approves: bool,
    /// Whether there are resource templates with names to complete.
    pub(crate) completes: bool,
}

impl Settings {
    pub(crate) fn new(options: &Options) -> Self {
        let size = |bound: u64| usize::try_from(bound).unwrap_or(usize::MAX);
        let catalog = Catalog::new(options);
        let policy = |option, permissions, list: bool| {
            let open = !list && options.topics.is_none();
            Policy::new(option, &catalog, permissions, open)
        };
        let listed = options.subscribe.is_some();
        let subscribe = policy("subscribe", Permissions::SUBSCRIBE, listed);
        let publish = policy("publish", Permissions::PUBLISH, options.publish.is_some());
        let guarded = subscribe.depends_on_caller() || publish.depends_on_caller();
        let rules = Rules::new(&catalog);
        let mut settings = Self {
            subscribe,
            publish,
            catalog,
            rules,
            tools: Tools::new(options),
            lists: None,
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
            reply_topic: options
                .reply_topic
                .clone()
                .filter(|_| options.compatibility.is_none()),
            observe: options.observe,
            approves: false,
            completes: false,
        };
        settings.approves = settings.needs_approvals();
        settings.completes = options.compatibility.is_none() && settings.has_named_levels();
        if !guarded {
            settings.lists = Some(settings.lists_of(None));
        }
        settings
    }

    fn needs_approvals(&self) -> bool {
        let mut entries = self.catalog.with(Permissions::PUBLISH);
        entries.any(|entry| entry.topic.approval.is_some())
    }

    fn has_named_levels(&self) -> bool {
        let mut entries = self.catalog.with(Permissions::SUBSCRIBE);
        entries.any(|entry| entry.topic.pattern.names().next().is_some())
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
        match &self.lists {
            Some(lists) => select(lists).clone(),
            None => select(&self.lists_of(caller)).clone(),
        }
    }

    fn lists_of(&self, caller: Option<&Identity>) -> Lists {
        let own: Vec<&'static Definition> = self.tools_of(caller).collect();
        let described = Described {
            options: &self.options,
            catalog: &self.catalog,
            caller,
            lists_topics: own.iter().any(|it| it.tool == tools::Tool::ListTopics),
        };
        let visible = self.catalog.of(caller);
        let mut lists = Lists::new(Tools::list(&own, &described), &visible);
        if self.options.compatibility.is_some() {
            lists.offer(Documents::new(&visible));
        }
        lists
    }

    /// The content of a resource that `compatibility` offers.
    pub(crate) fn document(&self, caller: Option<&Identity>, uri: &str) -> Option<Bytes> {
        self.options.compatibility?;
        match uri {
            mcpmqtt::ALLOWED => Some(self.list(caller, |lists| &lists.allowed)),
            mcpmqtt::EXAMPLES => Some(self.list(caller, |lists| &lists.examples)),
            _ => None,
        }
    }

    /// The tools that a caller may use.
    pub(crate) fn tools_of<'a>(
        &'a self,
        caller: Option<&'a Identity>,
    ) -> impl Iterator<Item = &'static Definition> {
        let (publish, subscribe) = (self.publish.of(caller), self.subscribe.of(caller));
        self.tools
            .of(publish, subscribe, self.reply_topic.is_some())
    }

    /// The tool with a name, whoever may use it.
    pub(crate) fn tool_named(&self, name: &str) -> Option<&'static Definition> {
        self.tools.named(name)
    }

    /// The name of the tool of an operation.
    pub(crate) fn name_of(&self, operation: &str) -> Option<&'static str> {
        Some(self.tools.of_operation(operation)?.name)
    }

    /// The tool with a name, if a caller may use it or could with further scopes.
    pub(crate) fn tool(
        &self,
        caller: Option<&Identity>,
        name: &str,
    ) -> Option<&'static Definition> {
        let definition = self.tools.named(name)?;
        let (publish, subscribe) = (self.publish.of(caller), self.subscribe.of(caller));
        let replies = self.reply_topic.is_some();
        tools::exists(definition.tool, publish, subscribe, replies).then_some(definition)
    }

    /// The rules for a message that a caller publishes.
    pub(crate) fn rules_of(&self, caller: Option<&Identity>, topic: &str) -> Applicable<'_> {
        let rules = self.rules.as_ref();
        rules.map_or_else(Applicable::default, |rules| rules.of(caller, topic))
    }

    /// The refusal of a tool that does not exist for the caller.
    pub(crate) fn unknown_tool(&self, name: &str, caller: Option<&Identity>) -> McpReset {
        let own = self.tools_of(caller);
        let own: Vec<String> = own.map(|it| format!("'{}'", it.name)).collect();
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
