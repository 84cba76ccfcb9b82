//! Which messages of a stream of telemetry are requests: those that meet a condition, each or only the
//! first one, and not too often.

use std::collections::{BTreeMap, VecDeque};

use bytestring::ByteString;
use tidegate_engine::Time;

use crate::action::Edge;
use crate::failure::Failure;
use crate::request::{Envelope, invalid};
use crate::route::Trigger;
use crate::variables::Variables;

/// Most topics whose state is known, of all routes. For a further one, the oldest is forgotten: its next
/// message that meets the condition counts as the first one.
const TOPICS_MAX: usize = 10_000;

/// A route and a topic.
type Key = (usize, ByteString);

/// The state of the topics.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    states: BTreeMap<Key, State>,
    /// In order of appearance.
    order: VecDeque<Key>,
    /// The number of requests.
    requests: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The condition was met, and what the topic is about is not back to normal.
    raised: bool,
    /// The last request.
    last: Option<Time>,
    /// Its number.
    request: u64,
    /// The index of its exchange, which may be over.
    exchange: Option<usize>,
}

impl Triggers {
    /// Whether a message on a topic is a request; its number for [`Self::withdraw`].
    pub(crate) fn is_request(
        &mut self,
        route: usize,
        trigger: &Trigger,
        topic: &ByteString,
        variables: &Variables,
        now: Time,
    ) -> Result<Option<u64>, Failure> {
        let meets = trigger.condition.is_true(variables);
        let meets = meets.map_err(|why| invalid("'if'", &why))?;
        let key = (route, topic.clone());
        let mut state = self.states.get(&key).copied().unwrap_or_default();
        if state.raised {
            let back = match &trigger.until {
                Some(until) => until
                    .is_true(variables)
                    .map_err(|why| invalid("'until'", &why))?,
                None => !meets,
            };
            state.raised = !back;
        }
        let is_early = |last: Time| trigger.min_interval.is_some_and(|it| now.since(last) < it);
        let is_request = meets && !state.raised && !state.last.is_some_and(is_early);
        if is_request {
            state.raised = trigger.edge == Edge::Rising;
            state.last = trigger.min_interval.map(|_| now);
            self.requests += 1;
            state.request = self.requests;
            state.exchange = None;
        }
        self.keep(key, state);
        Ok(is_request.then_some(state.request))
    }

    /// A request was not executed, and another attempt may succeed: if it is the last one of its topic, the next
    /// message that meets the condition is a request again, so that no alert is lost.
    pub(crate) fn withdraw(&mut self, route: usize, topic: &ByteString, request: u64) {
        if let Some(state) = self.states.get_mut(&(route, topic.clone()))
            && state.request == request
        {
            *state = State::default();
        }
    }

    /// A request is executed, as the exchange of this index.
    pub(crate) fn runs(&mut self, envelope: &Envelope, index: usize) {
        if let Some(request) = envelope.trigger
            && let Some(state) = self
                .states
                .get_mut(&(envelope.route, envelope.topic.clone()))
            && state.request == request
        {
            state.exchange = Some(index);
        }
    }

    /// The number of the last request of a topic, and the index of its exchange, which may be another one's by now.
    pub(crate) fn last(&self, route: usize, topic: &ByteString) -> Option<(u64, usize)> {
        let state = self.states.get(&(route, topic.clone()))?;
        Some((state.request, state.exchange?))
    }

    fn keep(&mut self, key: Key, state: State) {
        if let Some(known) = self.states.get_mut(&key) {
            *known = state;
            return;
        }
        if !state.raised && state.last.is_none() {
            return;
        }
        if self.states.len() >= TOPICS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.states.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.states.insert(key, state);
    }
}

#[cfg(test)]
mod tests {
    use minijinja::Value;
    use tidegate_engine::Duration;

    use super::*;
    use crate::template::Template;

    fn trigger(edge: Edge, until: Option<&str>, min_interval: Option<u64>) -> Trigger {
        Trigger {
            condition: Template::text("{{ level < 10 }}").expect("valid"),
            edge,
            until: until.map(|it| Template::text(it).expect("valid")),
            min_interval: min_interval.map(Duration::from_millis),
        }
    }

    /// The levels, one each 100 ms, that are requests.
    fn requests(trigger: &Trigger, levels: &[i64]) -> Vec<i64> {
        let mut triggers = Triggers::default();
        let levels = levels.iter().zip(0..);
        let requests = levels.filter(|(level, index)| {
            let variables = [("level", Value::from(**level))].into();
            let now = Time::START + Duration::from_millis(100 * index);
            let found = triggers.is_request(0, trigger, &"d".into(), &variables, now);
            found.expect("a level").is_some()
        });
        requests.map(|(level, _)| *level).collect()
    }

    #[test]
    fn every_message_or_the_first_one_counts() {
        let levels = [20, 9, 8, 11, 7, 6];
        assert_eq!(
            requests(&trigger(Edge::Every, None, None), &levels),
            [9, 8, 7, 6]
        );
        assert_eq!(
            requests(&trigger(Edge::Rising, None, None), &levels),
            [9, 7]
        );
    }

    #[test]
    fn a_topic_is_back_to_normal_beyond_a_second_line() {
        let until = Some("{{ level > 15 }}");
        let levels = [20, 9, 11, 9, 14, 9, 16, 9, 8];
        assert_eq!(
            requests(&trigger(Edge::Rising, until, None), &levels),
            [9, 9]
        );
    }

    #[test]
    fn requests_within_the_interval_are_ignored_and_not_lost() {
        let levels = [9, 8, 7, 6, 5];
        assert_eq!(
            requests(&trigger(Edge::Every, None, Some(300)), &levels),
            [9, 6]
        );
        // It was back to normal, and falls again within the interval.
        let levels = [9, 20, 8, 7, 6];
        assert_eq!(
            requests(&trigger(Edge::Rising, None, Some(300)), &levels),
            [9, 7]
        );
    }

    #[test]
    fn a_request_that_was_not_executed_is_asked_for_again() {
        let mut triggers = Triggers::default();
        let low = [("level", Value::from(1))].into();
        for trigger in [
            trigger(Edge::Rising, None, None),
            trigger(Edge::Every, None, Some(1_000)),
        ] {
            let topic = "d".into();
            let request = |triggers: &mut Triggers| {
                let request = triggers.is_request(0, &trigger, &topic, &low, Time::START);
                request.expect("a level")
            };
            let first = request(&mut triggers).expect("a request");
            assert_eq!(request(&mut triggers), None);
            triggers.withdraw(0, &topic, first);
            let second = request(&mut triggers).expect("a request");
            triggers.withdraw(0, &topic, first);
            assert_eq!(
                request(&mut triggers),
                None,
                "the first one is not the last"
            );
            triggers.withdraw(0, &topic, second);
        }
        assert_eq!((triggers.states.len(), triggers.order.len()), (1, 1));
    }

    #[test]
    fn the_number_of_topics_is_limited() {
        let mut triggers = Triggers::default();
        let trigger = trigger(Edge::Rising, None, None);
        let variables = [("level", Value::from(1))].into();
        for topic in 0..TOPICS_MAX + 10 {
            let topic = topic.to_string().into();
            let found = triggers.is_request(0, &trigger, &topic, &variables, Time::START);
            assert!(found.is_ok_and(|it| it.is_some()));
        }
        assert_eq!(
            (triggers.states.len(), triggers.order.len()),
            (TOPICS_MAX, TOPICS_MAX)
        );
        let normal = [("level", Value::from(20))].into();
        for route in 1..100 {
            let found = triggers.is_request(route, &trigger, &"x".into(), &normal, Time::START);
            assert_eq!(found, Ok(None));
        }
        assert_eq!(
            triggers.states.len(),
            TOPICS_MAX,
            "normal topics take no room"
        );
    }
}
