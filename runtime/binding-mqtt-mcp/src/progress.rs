//! Progress of a tool that takes its time, such as an agent that reasons: published as it comes, within limits.
//!
//! Guarantees: of one step of a request, at most one message in `minInterval`, and at most `max` in all, are
//! published; of what comes in between, the newest is published when the interval is over. A message that is not
//! delivered at once is not sent again, and none is published after the step has ended.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use tidegate_engine::{Context, Duration, StreamId, Time, TimerId};
use tidegate_options::Bounded;
use tidegate_streams::FlushEx;
use tidegate_streams::mcp::{McpFlushEx, McpProgress};

use crate::action::MessageOptions;
use crate::answer::Answers;
use crate::document::Document;
use crate::events::Progress as Outcome;
use crate::exchange::PROGRESS;
use crate::levels::AnswerTopic;
use crate::proxy::MqttMcp;

/// The variable with the progress.
pub(crate) const VARIABLE: &str = "progress";
/// Most messages of a step, by default.
const MAX: u64 = 100;
/// Minimum time between two messages of a step, in milliseconds, by default.
const MIN_INTERVAL: u64 = 100;
/// How long a message is of use.
pub(crate) const OF_USE: Duration = Duration::from_secs(1);
/// Most characters of the message of a notification.
const MESSAGE_MAX: usize = 1_000;

/// Where and how the progress of a tool is published.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(untagged)]
pub(crate) enum ProgressOptions {
    /// The topic. A level `{name}` is the level of that name of the request's topic.
    Topic(AnswerTopic),
    /// The topic and more.
    Full(FullProgress),
}

/// Where and how the progress of a tool is published.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct FullProgress {
    /// Topic. A level `{name}` is the level of that name of the request's topic.
    pub(crate) topic: AnswerTopic,
    /// `QoS`.
    #[serde(default = "FullProgress::default_qos")]
    pub(crate) qos: Bounded<0, 2>,
    /// Minimum time between two messages, in milliseconds. Of the notifications in between, the newest is
    /// published when it is over.
    #[serde(default = "FullProgress::default_min_interval")]
    pub(crate) min_interval: Bounded<0, 3_600_000>,
    /// Maximum number of messages for a request. Further notifications are dropped.
    #[serde(default = "FullProgress::default_max")]
    pub(crate) max: Bounded<1, 100_000>,
    /// Payload: a mapping whose texts are templates, or one template that renders JSON; `progress` has
    /// `progress`, `total` and `message`. Absent: these three.
    pub(crate) payload: Option<Document>,
}

impl FullProgress {
    const fn default_qos() -> Bounded<0, 2> {
        Bounded::of(0)
    }

    const fn default_min_interval() -> Bounded<0, 3_600_000> {
        Bounded::of(MIN_INTERVAL)
    }

    const fn default_max() -> Bounded<1, 100_000> {
        Bounded::of(MAX)
    }
}

impl ProgressOptions {
    pub(crate) const fn topic(&self) -> &AnswerTopic {
        match self {
            Self::Topic(topic) => topic,
            Self::Full(full) => &full.topic,
        }
    }

    pub(crate) const fn payload(&self) -> Option<&Document> {
        match self {
            Self::Topic(_) => None,
            Self::Full(full) => full.payload.as_ref(),
        }
    }
}

/// The options, as the binding uses them.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    message: MessageOptions,
    min_interval: Duration,
    max: u64,
}

impl From<ProgressOptions> for Rules {
    fn from(options: ProgressOptions) -> Self {
        let full = match options {
            ProgressOptions::Full(full) => full,
            ProgressOptions::Topic(topic) => FullProgress {
                topic,
                qos: FullProgress::default_qos(),
                min_interval: FullProgress::default_min_interval(),
                max: FullProgress::default_max(),
                payload: None,
            },
        };
        Self {
            min_interval: Duration::from_millis(full.min_interval.get()),
            max: full.max.get(),
            message: MessageOptions {
                topic: Some(full.topic),
                qos: Some(full.qos),
                payload: full.payload,
                ..MessageOptions::default()
            },
        }
    }
}

/// What a notification says, as JSON.
fn told(progress: McpProgress) -> Json {
    let number = |text: &str| serde_json::from_str(text).unwrap_or(Json::Null);
    let mut members = Map::new();
    members.insert("progress".to_owned(), number(&progress.progress));
    if let Some(total) = progress.total {
        members.insert("total".to_owned(), number(&total));
    }
    if let Some(message) = progress.message {
        let message: String = message.chars().take(MESSAGE_MAX).collect();
        members.insert("message".to_owned(), message.into());
    }
    Json::Object(members)
}

/// The progress of one step.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    published: u64,
    /// When the next message may be published.
    next: Time,
    /// The newest that waits for it.
    waiting: Option<Json>,
    timer: Option<TimerId>,
}

/// What becomes of a notification.
#[derive(Debug, PartialEq)]
enum Next {
    Publish(Json),
    /// It waits; a timer is needed for this time.
    Wait(Duration),
    /// It takes the place of the one that waits.
    Replaced,
    Dropped,
}

impl Reports {
    fn add(&mut self, now: Time, told: Json, rules: &Rules) -> Next {
        if self.published >= rules.max {
            return Next::Dropped;
        }
        if self.waiting.replace(told).is_some() {
            return Next::Replaced;
        }
        match self.next.since(now) {
            Duration::ZERO => self.due(now, rules).map_or(Next::Dropped, Next::Publish),
            left => Next::Wait(left),
        }
    }

    /// The interval is over.
    fn due(&mut self, now: Time, rules: &Rules) -> Option<Json> {
        self.next = now + rules.min_interval;
        let told = self.waiting.take()?;
        self.published += 1;
        Some(told)
    }

    /// The step has ended.
    pub(crate) fn clear(&mut self, cx: &mut Context<'_>) {
        self.waiting = None;
        if let Some(timer) = self.timer.take() {
            cx.cancel(timer);
        }
    }
}

impl MqttMcp {
    /// A notification of a tool that is called.
    pub(crate) fn on_flush(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        stream: StreamId,
        flush: FlushEx,
    ) {
        let FlushEx::Mcp(McpFlushEx::Progress(progress)) = flush else {
            return;
        };
        let Some((exchange, caller)) = self.running(index) else {
            return;
        };
        let Some(step) = exchange.step_of(stream) else {
            return;
        };
        let rules = caller.route.steps.get(step);
        let Some(rules) = rules.and_then(|it| it.progress.as_ref()) else {
            return;
        };
        let Some(reports) = exchange.reports(step) else {
            return;
        };
        match reports.add(cx.now(), told(progress), rules) {
            Next::Publish(told) => self.report(cx, index, step, told),
            Next::Wait(after) => {
                let kind = PROGRESS.saturating_add(u32::try_from(step).unwrap_or(0));
                let reason = "the interval between two messages of progress";
                reports.timer = Some(cx.timer(after, caller.token, kind, reason));
            }
            Next::Replaced | Next::Dropped => self.counts.progress(Outcome::Dropped),
        }
    }

    /// The interval between two messages of a step is over.
    pub(crate) fn on_progress_timer(&mut self, cx: &mut Context<'_>, index: usize, kind: u32) {
        let step = usize::try_from(kind.saturating_sub(PROGRESS)).unwrap_or(0);
        let Some((exchange, caller)) = self.running(index) else {
            return;
        };
        cx.work_with(exchange.context.clone());
        let rules = caller.route.steps.get(step);
        let Some(rules) = rules.and_then(|it| it.progress.as_ref()) else {
            return;
        };
        let Some(reports) = exchange.reports(step) else {
            return;
        };
        reports.timer = None;
        if let Some(told) = reports.due(cx.now(), rules) {
            self.report(cx, index, step, told);
        }
    }

    fn report(&mut self, cx: &mut Context<'_>, index: usize, step: usize, told: Json) {
        let settings_remember = self.settings.remember;
        let Some((exchange, caller)) = self.running(index) else {
            return;
        };
        let rules = caller.route.steps.get(step);
        let Some(rules) = rules.and_then(|it| it.progress.as_ref()) else {
            return;
        };
        let answers = Answers {
            envelope: &exchange.envelope,
            now: cx.now(),
            remember: settings_remember,
        };
        let message = answers.progress(&rules.message, exchange.variables(), told);
        // A template that cannot be rendered must not end a request that may still succeed.
        match message {
            Some(message) => self.publish_progress(cx, message),
            None => self.counts.progress(Outcome::Dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(json: Json) -> Rules {
        let options: ProgressOptions = serde_json::from_value(json).expect("options");
        options.into()
    }

    fn at(millis: u64) -> Time {
        Time::default() + Duration::from_millis(millis)
    }

    #[test]
    fn the_newest_of_an_interval_is_published_when_it_is_over() {
        let rules = rules(json!({ "topic": "a", "minInterval": 50, "max": 3 }));
        let mut reports = Reports::default();
        let published = reports.add(at(0), json!(1), &rules);
        assert_eq!(published, Next::Publish(json!(1)));
        let wait = Next::Wait(Duration::from_millis(40));
        assert_eq!(reports.add(at(10), json!(2), &rules), wait);
        assert_eq!(reports.add(at(20), json!(3), &rules), Next::Replaced);
        assert_eq!(reports.due(at(50), &rules), Some(json!(3)));
        assert_eq!(reports.due(at(100), &rules), None);
        let published = reports.add(at(150), json!(4), &rules);
        assert_eq!(published, Next::Publish(json!(4)));
        assert_eq!(reports.add(at(500), json!(5), &rules), Next::Dropped);
    }

    #[test]
    fn a_notification_is_read_within_limits() {
        let progress = McpProgress {
            progress: "0.50".into(),
            total: Some("no number".into()),
            message: Some("x".repeat(2_000).into()),
        };
        let told = told(progress);
        assert_eq!(
            (&told["progress"], &told["total"]),
            (&json!(0.5), &Json::Null)
        );
        assert_eq!(told["message"].as_str().map(str::len), Some(MESSAGE_MAX));
        let bare = rules(json!("a/{robot}"));
        assert_eq!(
            (bare.max, bare.min_interval),
            (MAX, Duration::from_millis(MIN_INTERVAL))
        );
    }
}
