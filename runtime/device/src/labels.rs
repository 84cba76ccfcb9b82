//! Further facts about a device, by name.

use crate::text::Text;

/// Facts such as `manufacturer`, sorted by name.
///
/// A list and not a map, because a home has thousands of devices with a few labels each, and a node of a map is as
/// large as eleven of them.
///
/// ```
/// use tidegate_device::{Labels, Text};
///
/// let labels: Labels = [("model", "Plug"), ("model", "other"), ("area", "Hall")]
///     .into_iter()
///     .map(|(name, text)| (name.into(), Text::new(text)))
///     .collect();
/// assert_eq!(labels.get("model"), Some(&Text::new("Plug")));
/// assert_eq!(labels.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["area", "model"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Text)]>);

impl Labels {
    /// The label of a name.
    pub fn get(&self, name: &str) -> Option<&Text> {
        let index = self.0.binary_search_by(|(it, _)| (**it).cmp(name)).ok()?;
        self.0.get(index).map(|(_, text)| text)
    }

    /// All labels with their names, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Text)> {
        self.0.iter().map(|(name, text)| (&**name, text))
    }
}

/// Of several labels with one name, the first counts.
impl FromIterator<(Box<str>, Text)> for Labels {
    fn from_iter<T: IntoIterator<Item = (Box<str>, Text)>>(labels: T) -> Self {
        let mut labels: Vec<_> = labels.into_iter().collect();
        labels.sort_by(|(one, _), (other, _)| one.cmp(other));
        labels.dedup_by(|(later, _), (earlier, _)| later == earlier);
        Self(labels.into())
    }
}
