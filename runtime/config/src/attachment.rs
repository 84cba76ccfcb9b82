//! An option that stands for a binding at an exit of its own, such as `queue` of `mqtt_mcp · proxy`.
//!
//! The binding is put into the config before it is checked, so that what follows knows only bindings. Its
//! options are the value of the option; faults in them are reported there.

use serde_yaml::{Mapping, Value};
use tidegate_streams::Protocol;

use crate::expression::Expressions;
use crate::fault::Findings;
use crate::load::path;
use crate::registry::Kinds;

/// An attachment of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment {
    /// The option, which is also the name of the exit.
    pub key: &'static str,
    /// Its description in the reference.
    pub about: &'static str,
    /// Its example in the reference: an option of the binding and a value, which no other example has.
    pub example: (&'static str, &'static str),
    /// The type of the binding.
    pub r#type: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// The protocol of the streams to it.
    pub protocol: Protocol,
}

/// Replaces the attachments in the bindings of a config by bindings.
pub(crate) fn expand(
    bindings: Mapping,
    kinds: &Kinds,
    expressions: &mut Expressions,
    findings: &mut Findings<'_>,
) -> Mapping {
    let mut expanded = Mapping::new();
    let names: Vec<String> = bindings
        .keys()
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect();
    for (name, mut binding) in bindings {
        let found = name.as_str().zip(attachment_of(&binding, kinds));
        let attached = found.and_then(|(name, attachment)| {
            let options = binding.get_mut("options")?.as_mapping_mut()?;
            let options = options.shift_remove(attachment.key)?;
            let made = format!("{name}_{}", attachment.key);
            lead_to(name, &mut binding, attachment, &made, findings);
            let at = path(&["bindings", name, "options", attachment.key]);
            if names.contains(&made) {
                let message = format!(
                    "the name '{made}' is that of a binding that '{}' of '{name}' stands for",
                    attachment.key
                );
                let help = "use another name".to_owned();
                findings.key(&path(&["bindings", &made]), message, Some(help));
            }
            findings.written_at(path(&["bindings", &made]), at.clone());
            let moved = path(&["bindings", &made, "options"]);
            expressions.repeat_at(&at, &moved);
            findings.written_below(moved, at);
            Some((made, attachment, options))
        });
        expanded.insert(name, binding);
        if let Some((made, attachment, options)) = attached {
            let members = [
                ("type".into(), attachment.r#type.into()),
                ("kind".into(), attachment.kind.into()),
                ("options".into(), options),
            ];
            expanded.insert(made.into(), Mapping::from_iter(members).into());
        }
    }
    expanded
}

/// The attachment of a binding that uses it.
fn attachment_of(binding: &Value, kinds: &Kinds) -> Option<Attachment> {
    let word = |key: &str| binding.get(key).and_then(Value::as_str);
    let attachment = kinds.find(word("type")?, word("kind")?)?.attachment?;
    binding.get("options")?.get(attachment.key)?;
    Some(attachment)
}

/// Makes the exit lead to the binding.
fn lead_to(
    name: &str,
    binding: &mut Value,
    attachment: Attachment,
    made: &str,
    findings: &mut Findings<'_>,
) {
    // Without any exit, the missing key is reported.
    let exits = binding.get_mut("exits").and_then(Value::as_mapping_mut);
    let Some(exits) = exits else { return };
    let key = attachment.key;
    if exits.contains_key(key) {
        let message = format!("exit '{key}' and option '{key}' are mutually exclusive");
        let help = "remove one of them".to_owned();
        findings.key(
            &path(&["bindings", name, "exits", key]),
            message,
            Some(help),
        );
    }
    exits.insert(key.into(), made.into());
}
