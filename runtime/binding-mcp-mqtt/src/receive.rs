//! `receive` and `read`: the messages of a filter until the limit on messages, bytes or time is reached.

use tidegate_streams::Data;
use tidegate_streams::mqtt::topic::TopicFilter;
use tidegate_streams::shown;

use crate::message::{Assembled, Assembly};
use crate::messages::Messages;
use crate::result::{Answer, Failure};
use crate::state::Step;
use crate::taken::Taken;
use crate::tools::ReceiveArguments;

/// What a call wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `receive`: up to this number of messages.
    UpTo(u32),
    /// `read`: the first message; `fresh`: that is not retained.
    One { fresh: bool },
}

impl Wanted {
    /// Maximum number of messages.
    pub(crate) const fn limit(self) -> u32 {
        match self {
            Self::UpTo(limit) => limit,
            Self::One { .. } => 1,
        }
    }

    /// Whether retained messages are not wanted.
    pub(crate) const fn is_fresh(self) -> bool {
        matches!(self, Self::One { fresh: true })
    }
}

/// A receive in progress.
#[derive(Debug)]
pub(crate) struct Receive {
    pub(crate) filter: TopicFilter,
    wanted: Wanted,
    /// UNSUBSCRIBE was requested; the last messages may still arrive.
    ending: bool,
    /// How long it waited, in milliseconds, if it stopped because no more messages came in time.
    waited: Option<u64>,
    /// Time without a connection to the broker, in milliseconds.
    gap: u64,
    assembly: Assembly,
    messages: Messages,
    pub(crate) confirmed: bool,
    /// The messages of the result, if an audit log wants them.
    pub(crate) audited: Option<Box<Taken>>,
}

impl Receive {
    /// `bound` is the maximum size of the result, in bytes.
    pub(crate) fn new(arguments: ReceiveArguments, bound: usize) -> Self {
        Self {
            filter: arguments.filter,
            wanted: arguments.wanted,
            ending: false,
            waited: None,
            gap: 0,
            assembly: Assembly::new(bound),
            messages: match arguments.wanted {
                Wanted::UpTo(_) => Messages::list(bound),
                Wanted::One { .. } => Messages::single(bound),
            },
            confirmed: false,
            audited: None,
        }
    }

    pub(crate) fn confirmed(&mut self) -> Step {
        self.confirmed = true;
        Step::Wait
    }

    pub(crate) fn data(&mut self, data: Data) -> Step {
        match self.assembly.add(data) {
            Assembled::Incomplete => Step::Wait,
            Assembled::TooLarge(topic) => self.full(&topic),
            Assembled::Complete(message) if message.retain && self.wanted.is_fresh() => Step::Wait,
            Assembled::Complete(message) => {
                if !self.messages.push(&message) {
                    return self.full(&message.topic);
                }
                if let Some(taken) = &mut self.audited {
                    taken.add(&message);
                }
                if self.messages.count() >= self.wanted.limit() {
                    return self.finish();
                }
                Step::Wait
            }
        }
    }

    /// The connection to the broker was lost for this time, in milliseconds.
    pub(crate) const fn gap(&mut self, milliseconds: u64) {
        self.gap = self.gap.saturating_add(milliseconds);
        // Even the shortest one may have been long enough.
        if self.gap == 0 {
            self.gap = 1;
        }
    }

    /// What may be missing from the result, as a sentence.
    fn missing(&self) -> Option<String> {
        (self.gap > 0).then(|| {
            format!(
                "The connection to the broker was lost for {} ms during this call; messages published \
                 meanwhile may be missing.",
                self.gap
            )
        })
    }

    /// The message does not fit into the result.
    fn full(&mut self, topic: &str) -> Step {
        if self.messages.count() > 0 {
            return self.finish();
        }
        Step::Answer(self.messages.too_large(topic))
    }

    /// Stops receiving. A message that the broker has already sent to this member of a group may not
    /// be sent to another one, so a shared subscription waits for the messages in flight.
    pub(crate) fn stop(&mut self) -> Step {
        if !self.confirmed || !self.filter.is_shared() || self.ending {
            return self.finish();
        }
        self.ending = true;
        Step::Unsubscribe
    }

    /// Answers with the messages received so far.
    pub(crate) fn finish(&mut self) -> Step {
        let messages = std::mem::take(&mut self.messages);
        let count = messages.count();
        let silence = || self.silence();
        let taken = if self.filter.is_shared() { count } else { 0 };
        Step::Answer(match (self.wanted, count) {
            (Wanted::One { .. }, 0) => Answer::tool_error(&silence()),
            (Wanted::UpTo(_), 0) => {
                let missing = self
                    .missing()
                    .map_or_else(String::new, |it| format!(" {it}"));
                let sentence = format!("{}{missing}", silence());
                Answer::ok(messages.into_parts(Some(&sentence)))
            }
            (Wanted::One { .. }, _) => Answer::ok(messages.into_parts(None)).taking(taken),
            (Wanted::UpTo(_), _) => {
                Answer::ok(messages.into_parts(self.missing().as_deref())).taking(taken)
            }
        })
    }

    /// Why there is no message, as a sentence.
    fn silence(&self) -> String {
        let within = self
            .waited
            .map_or_else(String::new, |waited| format!(" within {waited} ms"));
        let (why, retry) = match self.wanted {
            _ if self.filter.is_shared() => {
                ("no message was delivered to this member of the group", "")
            }
            Wanted::One { fresh: true } => (
                "nothing was published",
                ", or without 'fresh' for the retained message",
            ),
            _ => ("there is no retained message and nothing was published", ""),
        };
        format!(
            "No message on '{}'{within}: {why}. Check the topic, or retry with a longer 'timeout'{retry}.",
            shown(self.filter.as_str())
        )
    }

    /// The stream failed. Messages that were received are returned, because an error would lose them.
    /// The broker may send those of a shared subscription to another subscriber too.
    pub(crate) fn failed(&mut self, failure: &Failure) -> Step {
        if self.messages.count() > 0 {
            return self.finish();
        }
        Step::Answer(Answer::tool_error(&format!(
            "Receiving from '{}' failed: {}.",
            shown(self.filter.as_str()),
            failure.why
        )))
    }

    /// The wait for messages expired after `milliseconds`.
    pub(crate) fn expired(&mut self, milliseconds: u64) -> Step {
        if self.confirmed {
            self.waited.get_or_insert(milliseconds);
            self.stop()
        } else {
            Step::Wait
        }
    }
}
