//! Topic aliases (MQTT 5.0, 3.3.2.3.4): short numbers that replace topics in further PUBLISH packets
//! of a connection.
//!
//! Both directions use at most `topicAliasMaximum`, and this side no more than the broker allows. The
//! first topics get the aliases of this side, which stay theirs. A message that may have to be sent
//! again on another connection, where the aliases are void, is sent with its topic.

use std::collections::BTreeMap;

use bytestring::ByteString;

use crate::codec::Publish;

/// The aliases of a connection.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    sent: BTreeMap<ByteString, u16>,
    /// Number of aliases that this side may use.
    sent_max: u16,
    received: BTreeMap<u16, ByteString>,
}

/// How a PUBLISH names its topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Naming {
    /// By the topic alone.
    #[default]
    Topic,
    /// By the topic, for which it sets an alias.
    Both(u16),
    /// By the alias alone.
    Alias(u16),
}

impl Aliases {
    /// A connection on which this side may use `sent_max` aliases.
    pub(super) fn new(sent_max: u16) -> Self {
        Self {
            sent_max,
            ..Self::default()
        }
    }

    /// How to name the topic of the next PUBLISH.
    pub(super) fn name(&self, topic: &str) -> Naming {
        if self.sent_max == 0 {
            return Naming::Topic;
        }
        match self.sent.get(topic) {
            Some(alias) => Naming::Alias(*alias),
            None => match u16::try_from(self.sent.len()) {
                Ok(used) if used < self.sent_max => Naming::Both(used + 1),
                _ => Naming::Topic,
            },
        }
    }

    /// A PUBLISH was sent that names its topic so.
    pub(super) fn sent(&mut self, topic: &ByteString, naming: Naming) {
        if let Naming::Both(alias) = naming {
            self.sent.insert(topic.clone(), alias);
        }
    }

    /// Sets the topic of a received PUBLISH that has an alias. `max` is the number of aliases that the
    /// broker may use. Returns what is wrong with it.
    pub(super) fn resolve(&mut self, publish: &mut Publish, max: u16) -> Result<(), &'static str> {
        let Some(alias) = publish.properties.topic_alias else {
            return Ok(());
        };
        if alias == 0 || alias > max {
            return Err("PUBLISH with a topic alias above Topic Alias Maximum");
        }
        if publish.topic.is_empty() {
            let topic = self.received.get(&alias);
            publish.topic = topic.ok_or("PUBLISH with an unknown topic alias")?.clone();
        } else {
            // Copied, so that it does not keep the buffer that was read.
            let topic = ByteString::from(publish.topic.to_string());
            self.received.insert(alias, topic);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_get_the_aliases() {
        let mut aliases = Aliases::new(1);
        assert_eq!(aliases.name("a"), Naming::Both(1));
        assert_eq!(aliases.name("a"), Naming::Both(1), "nothing was sent");
        aliases.sent(&"a".into(), Naming::Both(1));
        assert_eq!(aliases.name("a"), Naming::Alias(1));
        assert_eq!(aliases.name("b"), Naming::Topic);
        assert_eq!(Aliases::new(0).name("a"), Naming::Topic);
    }

    #[test]
    fn an_alias_is_set_and_replaced_by_the_broker() {
        let mut aliases = Aliases::default();
        let mut resolve = |topic: &str, alias| {
            let mut publish = Publish {
                topic: topic.into(),
                ..Publish::default()
            };
            publish.properties.topic_alias = alias;
            aliases
                .resolve(&mut publish, 2)
                .map(|()| publish.topic.to_string())
        };
        assert_eq!(resolve("a", None), Ok("a".to_owned()));
        assert!(resolve("", Some(1)).is_err(), "it is not set");
        assert_eq!(resolve("a", Some(1)), Ok("a".to_owned()));
        assert_eq!(resolve("", Some(1)), Ok("a".to_owned()));
        assert_eq!(resolve("b", Some(1)), Ok("b".to_owned()));
        assert_eq!(resolve("", Some(1)), Ok("b".to_owned()));
        assert!(resolve("c", Some(0)).is_err() && resolve("c", Some(3)).is_err());
    }
}
