//! The topics of the config with their meaning: all entries of `subscribe`, `publish` and `topics`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tidegate_options::{Guarded, TopicEntry};
use tidegate_streams::Identity;
use tidegate_streams::mqtt::topic::{TopicFilter, TopicLimits};

use crate::options::{NamedPattern, Options, Permissions, Topic};

/// The entries, in the order of the options.
#[derive(Debug)]
pub(crate) struct Catalog {
    entries: Vec<Entry>,
    limits: TopicLimits,
}

/// An entry.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its place in the options, such as `topics.0`; empty if it stands for an absent option.
    pub(crate) place: String,
    pub(crate) topic: Topic,
}

/// What a caller may do with the topics of a filter.
#[derive(Debug)]
pub(crate) struct Visible<'a> {
    pub(crate) filter: Cow<'a, TopicFilter>,
    /// The filter with names in place of wildcards, as in a URI template.
    pub(crate) written: String,
    pub(crate) permissions: Permissions,
    /// The config lists it; otherwise it stands for an absent option.
    pub(crate) is_listed: bool,
    /// The entries with this filter, in the order of the options.
    pub(crate) topics: Vec<&'a Topic>,
}

impl<'a> Visible<'a> {
    /// The first description.
    pub(crate) fn description(&self) -> Option<&'a str> {
        let mut topics = self.topics.iter();
        topics.find_map(|topic| topic.description.as_deref())
    }
}

impl Catalog {
    pub(crate) fn new(options: &Options) -> Self {
        let mut entries = Vec::new();
        let lists = [
            ("subscribe", &options.subscribe, Permissions::SUBSCRIBE),
            ("publish", &options.publish, Permissions::PUBLISH),
        ];
        for (option, list, permissions) in lists {
            for (index, entry) in list.iter().flatten().enumerate() {
                entries.push(Entry {
                    place: format!("{option}.{index}"),
                    topic: Topic::plain(entry, permissions),
                });
            }
        }
        for (index, topic) in options.topics.iter().flatten().enumerate() {
            entries.push(Entry {
                place: format!("topics.{index}"),
                topic: topic.clone(),
            });
        }
        // An absent option allows every topic.
        let open = options.topics.is_none();
        let all = Permissions {
            subscribe: open && options.subscribe.is_none(),
            publish: open && options.publish.is_none(),
        };
        if let (true, Some(pattern)) = (all != Permissions::default(), NamedPattern::every()) {
            let entry = TopicEntry {
                pattern,
                guarded: None,
            };
            entries.push(Entry {
                place: String::new(),
                topic: Topic::plain(&entry, all),
            });
        }
        Self {
            entries,
            limits: options.topic_limits(),
        }
    }

    /// The entries of the config with a permission, in the order of the options.
    pub(crate) fn with(&self, permissions: Permissions) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.iter();
        entries.filter(move |entry| {
            !entry.place.is_empty() && entry.topic.permissions.intersects(permissions)
        })
    }

    /// What a caller may use, each filter once, in the order of the options. An identity may make a
    /// filter longer than topics may be; nothing could match it, so it is left out.
    pub(crate) fn of<'a>(&'a self, caller: Option<&'a Identity>) -> Vec<Visible<'a>> {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut visible: Vec<Visible<'a>> = Vec::new();
        for entry in &self.entries {
            let topic = &entry.topic;
            if !permits(topic.guarded.as_ref(), caller) {
                continue;
            }
            let Some(filter) = topic.pattern.pattern().for_caller(caller) else {
                continue;
            };
            if self.limits.check(filter.as_str()).is_err() {
                continue;
            }
            let written = topic.pattern.named(filter.as_str()).into_owned();
            let place = places.get(&written);
            if let Some(known) = place.and_then(|place| visible.get_mut(*place)) {
                known.permissions = known.permissions.and(topic.permissions);
                known.topics.push(topic);
                continue;
            }
            places.insert(written.clone(), visible.len());
            visible.push(Visible {
                filter,
                written,
                permissions: topic.permissions,
                is_listed: !entry.place.is_empty(),
                topics: vec![topic],
            });
        }
        visible
    }
}

/// Whether an entry is for a caller.
pub(crate) fn permits(guarded: Option<&Guarded>, caller: Option<&Identity>) -> bool {
    guarded.is_none_or(|guarded| guarded.permits(caller))
}
