//! An option that stands for values of others, such as `profile` of `mqtt · client`.
//!
//! Its values are put into the config before it is checked; an option that is written has precedence.
//! It is a plain name: what it stands for is not that of an expression in a config that is written out.
//! Faults in them are reported where the preset is written.

use serde_yaml::{Mapping, Value};

use crate::expression::UNRESOLVED;
use crate::fault::Findings;
use crate::load::path;
use crate::registry::Kinds;

/// A preset of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// The option.
    pub key: &'static str,
    /// Its description in the reference.
    pub about: &'static str,
    /// The names that it can have, and the options that each stands for, as a YAML mapping.
    pub values: &'static [(&'static str, &'static str)],
}

impl Preset {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.values.iter().map(|(name, _)| *name)
    }

    fn options(&self, wanted: &str) -> Option<Mapping> {
        let (_, text) = self.values.iter().find(|(name, _)| *name == wanted)?;
        serde_yaml::from_str(text).ok()
    }
}

/// Replaces the presets in the bindings of a config by the options that they stand for.
pub(crate) fn replace(bindings: &mut Mapping, kinds: &Kinds, findings: &mut Findings<'_>) {
    for (name, binding) in bindings.iter_mut() {
        let word = |key: &str| binding.get(key).and_then(Value::as_str);
        let kind = word("type").zip(word("kind"));
        let preset = kind.and_then(|(r#type, kind)| kinds.find(r#type, kind)?.preset);
        let options = binding.get_mut("options").and_then(Value::as_mapping_mut);
        let (Some(name), Some(preset), Some(options)) = (name.as_str(), preset, options) else {
            continue;
        };
        let Some(wanted) = options.shift_remove(preset.key) else {
            continue;
        };
        let at = path(&["bindings", name, "options", preset.key]);
        let values = wanted.as_str().and_then(|wanted| preset.options(wanted));
        if let Some(values) = values {
            let below = path(&["bindings", name, "options"]);
            merge(options, values, &below, &at, findings);
        } else if !wanted.as_str().is_some_and(|it| it.contains(UNRESOLVED)) {
            let names: Vec<&str> = preset.names().collect();
            let fault = format!("unknown {}; use {}", preset.key, names.join(", "));
            findings.value(&at, fault);
        }
    }
}

/// Adds what is not there, at any depth.
fn merge(
    there: &mut Mapping,
    values: Mapping,
    below: &[String],
    written: &[String],
    findings: &mut Findings<'_>,
) {
    for (key, value) in values {
        let at: Vec<String> = below
            .iter()
            .cloned()
            .chain(key.as_str().map(str::to_owned))
            .collect();
        match (there.get_mut(&key), value) {
            (Some(Value::Mapping(there)), Value::Mapping(values)) => {
                merge(there, values, &at, written, findings);
            }
            (Some(_), _) => {}
            (None, value) => {
                findings.written_at(at, written.to_vec());
                there.insert(key, value);
            }
        }
    }
}
