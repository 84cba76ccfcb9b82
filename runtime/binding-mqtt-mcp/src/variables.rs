//! What templates see: the variables of a request, and of the results so far.
//!
//! Guarantee: a rendering copies none of them.

use std::sync::Arc;

use bytestring::ByteString;
use minijinja::Value;
use minijinja::value::Object;

/// The variables of a rendering, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables(Option<Arc<Members>>);

/// They are few, so they are found one after the other.
#[derive(Debug, Clone, Default)]
struct Members(Vec<(ByteString, Value)>);

impl Variables {
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.as_ref()?.get(name)
    }

    /// Sets a variable, in place of one with the same name.
    pub(crate) fn insert(&mut self, name: ByteString, value: Value) {
        let members = &mut Arc::make_mut(self.0.get_or_insert_default()).0;
        match members.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => members.push((name, value)),
        }
    }

    /// What a template is rendered with.
    pub(crate) fn context(&self) -> Value {
        Value::from_dyn_object(self.0.clone().unwrap_or_default())
    }
}

impl FromIterator<(ByteString, Value)> for Variables {
    /// Names must differ.
    fn from_iter<I: IntoIterator<Item = (ByteString, Value)>>(members: I) -> Self {
        Self(Some(Arc::new(Members(members.into_iter().collect()))))
    }
}

impl<const N: usize> From<[(&'static str, Value); N]> for Variables {
    fn from(members: [(&'static str, Value); N]) -> Self {
        let members = members.into_iter();
        members
            .map(|(name, value)| (ByteString::from_static(name), value))
            .collect()
    }
}

impl Members {
    fn get(&self, name: &str) -> Option<&Value> {
        let mut members = self.0.iter();
        members.find_map(|(known, value)| (*known == name).then_some(value))
    }
}

impl Object for Members {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_replaces_the_one_of_its_name() {
        let mut variables = Variables::from([("a", Value::from(1)), ("b", Value::from(2))]);
        let before = variables.clone();
        variables.insert("a".into(), Value::from(3));
        variables.insert("c".into(), Value::from(4));
        let of = |variables: &Variables, name| variables.get(name).map(ToString::to_string);
        let all = |variables| ["a", "b", "c"].map(|name| of(variables, name).unwrap_or_default());
        assert_eq!(all(&variables), ["3", "2", "4"]);
        assert_eq!(all(&before), ["1", "2", ""], "a copy keeps its own");
    }
}
