//! The routes as the binding uses them.

use std::collections::BTreeMap;

use bytestring::ByteString;
use tidegate_engine::{Context, Duration};
use tidegate_options::{ActionRoute, Glob};
use tidegate_streams::mqtt::topic::TopicFilter;

use crate::action::{
    Edge, IdentityOptions, MessageOptions, Protocol, RESULT, StepOptions, Text, With, needs,
};
use crate::aio;
use crate::document::Document;
use crate::events::{ConditionNotShared, DiscoverIsRequest, RequestsUnanswerable};
use crate::levels::{ReplyPattern, RequestTopic, Values};
use crate::options::{Condition, Options};
use crate::progress;
use crate::properties::Properties;
use crate::raw::rules::Rules;
use crate::template::{Template, first};

/// A call of a tool that a route makes for a request.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The variable that has its result.
    pub(crate) name: ByteString,
    /// Whether a template refers to its result.
    pub(crate) is_used: bool,
    pub(crate) tool: Template,
    pub(crate) arguments: Option<Document>,
    /// Whether the tool is called.
    pub(crate) when: Option<Template>,
    /// Whether the others go on without it.
    pub(crate) optional: bool,
    pub(crate) timeout: Option<Duration>,
    /// Number of further attempts.
    pub(crate) retry: u64,
    /// Where and how its progress is published.
    pub(crate) progress: Option<progress::Rules>,
    /// The steps whose results it refers to.
    pub(crate) needs: Vec<usize>,
}

/// Which messages of a route are requests.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub(crate) condition: Template,
    pub(crate) edge: Edge,
    /// When a device is back to normal.
    pub(crate) until: Option<Template>,
    pub(crate) min_interval: Option<Duration>,
}

impl Trigger {
    /// Whether a message counts depends on those before it.
    pub(crate) fn has_state(&self) -> bool {
        self.edge == Edge::Rising || self.min_interval.is_some()
    }
}

impl Step {
    const fn named(name: ByteString, tool: Template, arguments: Option<Document>) -> Self {
        Self {
            name,
            is_used: true,
            tool,
            arguments,
            when: None,
            optional: false,
            timeout: None,
            retry: 0,
            progress: None,
            needs: Vec::new(),
        }
    }

    /// The only step of a route.
    fn only(
        tool: Template,
        arguments: Option<Document>,
        progress: Option<progress::Rules>,
    ) -> Self {
        Self {
            progress,
            ..Self::named(ByteString::from_static(RESULT), tool, arguments)
        }
    }

    fn of_plan(plan: &BTreeMap<String, StepOptions>) -> Vec<Self> {
        let place = |name: &str| plan.keys().position(|it| it == name);
        let steps = plan.iter().map(|(name, step)| Self {
            when: step.when.clone().map(|it| it.0),
            optional: step.optional,
            timeout: step.timeout.map(|it| Duration::from_millis(it.get())),
            retry: step.retry.get(),
            progress: step.progress.clone().map(Into::into),
            needs: needs(plan, step).into_iter().filter_map(place).collect(),
            ..Self::named(
                name.as_str().into(),
                step.tool.0.clone(),
                step.arguments.clone(),
            )
        });
        steps.collect()
    }
}

/// A route.
#[derive(Debug)]
pub(crate) struct Route {
    topics: Vec<RequestTopic>,
    pub(crate) steps: Vec<Step>,
    pub(crate) trigger: Option<Trigger>,
    /// Its messages are JSON-RPC, with these rules.
    pub(crate) raw: Option<Rules>,
    allow: Vec<Glob>,
    pub(crate) identity: Option<IdentityOptions>,
    pub(crate) correlation: Option<Text>,
    /// The user properties of requests that its templates use.
    pub(crate) properties: Properties,
    pub(crate) timeout: Duration,
    /// The executor of its commands, if they are of Azure `IoT` Operations.
    pub(crate) executor: Option<aio::Executor>,
    /// Whether all its tools may be executed twice.
    pub(crate) idempotent: bool,
    /// All its messages have `QoS` 0.
    is_telemetry: bool,
    pub(crate) answer: MessageOptions,
    /// With the keys of `answer` where it has none of its own.
    pub(crate) failure: MessageOptions,
}

impl Route {
    fn new(route: ActionRoute<Condition, With>, options: &Options) -> Self {
        let with = route.with;
        let variables = with.variables();
        let properties = Properties::used_by(variables.iter().cloned());
        let (answer, mut failure) = (with.answer, with.failure);
        failure.topic = failure.topic.or_else(|| answer.topic.clone());
        failure.qos = failure.qos.or(answer.qos);
        failure.expiry = failure.expiry.or(answer.expiry);
        let timeout = with.timeout.unwrap_or(options.timeout);
        let mut plan = with.plan.values();
        let idempotent = match &with.tool {
            Some(_) => with.idempotent,
            None => with.raw.is_none() && plan.all(|step| step.idempotent),
        };
        let mut steps = match with.tool {
            Some(tool) => {
                let progress = with.progress.map(Into::into);
                vec![Step::only(tool.0, with.arguments, progress)]
            }
            None => Step::of_plan(&with.plan),
        };
        // The answer to a command is made of what templates see.
        let is_command = with.protocol == Protocol::Aio;
        for step in &mut steps {
            let mut variables = variables.iter();
            step.is_used = is_command || variables.any(|it| *first(it) == *step.name);
        }
        let min_interval = with.min_interval;
        let trigger = with.r#if.map(|condition| Trigger {
            condition: condition.0,
            edge: with.edge,
            until: with.until.map(|it| it.0),
            min_interval: min_interval.map(|it| Duration::from_millis(it.get())),
        });
        let timeout = Duration::from_millis(timeout.get());
        let executor = is_command.then(|| aio::Executor {
            source: options.source(),
            timeout,
        });
        let is_telemetry = route.when.iter().all(|it| it.qos.get() == 0);
        Self {
            is_telemetry,
            topics: route.when.into_iter().map(|it| it.topic).collect(),
            steps,
            trigger,
            raw: with.raw.map(|_| Rules::new(with.allow.clone(), with.tools)),
            allow: with.allow,
            identity: with.identity,
            correlation: with.correlation,
            properties,
            timeout,
            executor,
            idempotent,
            answer,
            failure,
        }
    }

    /// Whether devices wait for answers without a topic of the config. Who publishes telemetry, on a route with `if` or
    /// with `QoS` 0, does not wait: tools are called for it, and that is all.
    fn expects_an_answer(&self) -> bool {
        let calls = !self.steps.is_empty() || self.raw.is_some();
        calls && self.answer.topic.is_none() && self.trigger.is_none() && !self.is_telemetry
    }

    /// Whether the route may call a tool.
    pub(crate) fn allows(&self, tool: &str) -> bool {
        self.allow.is_empty() || self.allow_matching(tool).is_some()
    }

    /// The first entry of `allow` that matches a tool.
    pub(crate) fn allow_matching(&self, tool: &str) -> Option<&Glob> {
        self.allow.iter().find(|glob| glob.matches(tool))
    }

    /// The topics of its requests, as in the config.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.topics.iter().map(RequestTopic::text).collect()
    }

    /// The named levels of a topic that it has requests on.
    fn values(&self, topic: &ByteString) -> Option<(&RequestTopic, Values)> {
        let topics = self.topics.iter();
        let mut found = topics.filter_map(|it| it.values(topic).map(|values| (it, values)));
        found.next()
    }
}

/// All routes of the binding.
#[derive(Debug)]
pub(crate) struct Routes {
    all: Vec<Route>,
    /// What to subscribe to, with the `QoS` of each.
    pub(crate) filters: Vec<(ByteString, u8)>,
    requests: Vec<TopicFilter>,
    reply_topics: Vec<ReplyPattern>,
    /// Several gateways share the subscription.
    is_shared: bool,
    /// The topic of the message that says what the server is.
    discover: Option<ByteString>,
}

/// A topic of requests, and what its levels say.
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) route: usize,
    pub(crate) values: Values,
    /// The first named level, or the topic.
    pub(crate) device: ByteString,
}

impl Routes {
    pub(crate) fn new(routes: Vec<ActionRoute<Condition, With>>, options: &Options) -> Self {
        let mut filters: Vec<(ByteString, u8)> = Vec::new();
        let mut requests = Vec::new();
        for condition in routes.iter().flat_map(|route| &route.when) {
            let filter = condition.topic.filter();
            let qos = u8::try_from(condition.qos.get()).unwrap_or(0);
            if let Some((_, known)) = filters.iter_mut().find(|(it, _)| *it == filter.text()) {
                *known = qos.max(*known);
            } else {
                filters.push((filter.text(), qos));
                requests.push(filter.clone());
            }
        }
        let routes = routes.into_iter().map(|it| Route::new(it, options));
        Self {
            all: routes.collect(),
            filters,
            requests,
            reply_topics: options.reply_topics.clone(),
            is_shared: options.group.is_some(),
            discover: options.discover.as_ref().map(|it| it.topic().into()),
        }
    }

    /// The first route with requests on a topic.
    pub(crate) fn find(&self, topic: &ByteString) -> Option<Match> {
        let mut routes = self.all.iter().enumerate();
        routes.find_map(|(route, it)| {
            let (pattern, values) = it.values(topic)?;
            let first = pattern.names().next().and_then(|name| values.get(name));
            let device = first.unwrap_or(topic).clone();
            Some(Match {
                route,
                values,
                device,
            })
        })
    }

    pub(crate) fn get(&self, route: usize) -> Option<&Route> {
        self.all.get(route)
    }

    /// All routes, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.all.iter()
    }

    /// Warns of what is likely a mistake.
    pub(crate) fn warn(&self, cx: &mut Context<'_>) {
        if let Some(topic) = self.discover.as_ref().filter(|it| self.is_request(it)) {
            let topic = topic.clone();
            cx.event(&DiscoverIsRequest { topic });
        }
        for route in &self.all {
            let topic = route.topics.first();
            let topic = topic.map_or_else(ByteString::new, |it| it.filter().text());
            if self.reply_topics.is_empty() && route.expects_an_answer() {
                let topic = topic.clone();
                cx.event(&RequestsUnanswerable { topic });
            }
            if self.is_shared && route.trigger.as_ref().is_some_and(Trigger::has_state) {
                cx.event(&ConditionNotShared { topic });
            }
        }
    }

    /// The rules of all raw routes.
    pub(crate) fn raw(&self) -> impl Iterator<Item = &Rules> {
        self.all.iter().filter_map(|route| route.raw.as_ref())
    }

    /// Whether messages on a topic, which must be valid, are requests.
    pub(crate) fn is_request(&self, topic: &str) -> bool {
        self.requests.iter().any(|filter| filter.matches(topic))
    }

    /// Whether a topic is that of the message that says what the server is: clients believe what they find there
    /// (specs/mcp-over-mqtt5.md, 11).
    pub(crate) fn is_discover(&self, topic: &str) -> bool {
        self.discover.as_ref().is_some_and(|it| it == topic)
    }

    /// Whether a request with these values may name a topic, which must be valid.
    pub(crate) fn allows_reply(&self, topic: &str, values: &Values) -> bool {
        let mut patterns = self.reply_topics.iter();
        patterns.any(|pattern| pattern.allows(topic, values))
    }
}
