//! The section `guards`, and the references of bindings to guards.

use crate::check::Draft;
use crate::fault::{Findings, suggestion};
use crate::load::path;
use crate::section::Section;

/// Where guards are declared.
pub(crate) const GUARDS: Section = Section {
    at: &["guards"],
    member: "guard",
    max: 100,
    about: "The guards by name: who may use the gateway. Bindings refer to them. A name has letters, digits, `_` and `-`, and starts with a letter.",
};

/// Records a fault for each guard that a binding refers to and that is not declared. A guard that is
/// declared with faults has those.
pub(crate) fn check_references(
    declared: &[&str],
    drafts: &[Draft<'_>],
    findings: &mut Findings<'_>,
) {
    for draft in drafts {
        for reference in &draft.guards {
            if declared.contains(&reference.guard.as_str()) {
                continue;
            }
            let help = if declared.is_empty() {
                "declare it in the section 'guards' at the top level".to_owned()
            } else {
                suggestion(&reference.guard, declared)
            };
            let below = reference.path.iter().cloned();
            let at: Vec<String> = path(&["bindings", &draft.name])
                .into_iter()
                .chain(below)
                .collect();
            findings.key(
                &at,
                format!("unknown guard '{}'", reference.guard),
                Some(help),
            );
        }
    }
}
