//! Which user properties of a request count: those that the templates of its route use. The others are
//! neither kept nor part of what makes a request the same as another one.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_streams::mqtt::MqttUserProperty;

/// The variable of the templates.
const VARIABLE: &str = "properties";
/// Most user properties of a request that count.
const MAX: usize = 64;

/// The names of user properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Properties {
    /// A template uses them by a name that it computes, or all of them.
    All,
    Named(BTreeSet<Box<str>>),
}

impl Properties {
    /// Those that templates with these variables use: `properties.line`, or `properties` for all.
    pub(crate) fn used_by(variables: impl IntoIterator<Item = String>) -> Self {
        let mut names = BTreeSet::new();
        for variable in variables {
            let mut parts = variable.split('.');
            if parts.next() != Some(VARIABLE) {
                continue;
            }
            match parts.next() {
                Some(name) => names.insert(name.into()),
                None => return Self::All,
            };
        }
        Self::Named(names)
    }

    /// Those of a message that count. Of several with a name, the first.
    pub(crate) fn of<'a>(&self, properties: &'a [MqttUserProperty]) -> BTreeMap<&'a str, &'a str> {
        let mut found = BTreeMap::new();
        for property in properties {
            let counts = match self {
                Self::All => true,
                Self::Named(names) => names.contains(&*property.key),
            };
            if counts && found.len() < MAX {
                found.entry(&*property.key).or_insert(&*property.value);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Template;

    fn properties(source: &str) -> Properties {
        Properties::used_by(Template::text(source).expect(source).variables())
    }

    #[test]
    fn the_properties_that_templates_use_count() {
        let names = |all: &[&str]| Properties::Named(all.iter().map(|it| (*it).into()).collect());
        assert_eq!(properties("{{ payload.properties }}"), names(&[]));
        assert_eq!(
            properties("{{ properties.a }}{{ properties.b.c }}"),
            names(&["a", "b"])
        );
        assert_eq!(
            properties("{{ properties[payload.name] }}"),
            Properties::All
        );
        assert_eq!(
            properties("{% for it in properties %}{{ it }}{% endfor %}"),
            Properties::All
        );
    }

    #[test]
    fn the_first_of_a_name_counts() {
        let message: Vec<MqttUserProperty> = [("a", "1"), ("a", "2"), ("b", "3")]
            .map(|(key, value)| MqttUserProperty {
                key: key.into(),
                value: value.into(),
            })
            .into();
        let found = properties("{{ properties.a }}").of(&message);
        assert_eq!(found, [("a", "1")].into());
        assert_eq!(
            Properties::All.of(&message),
            [("a", "1"), ("b", "3")].into()
        );
    }
}
