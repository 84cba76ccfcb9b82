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
    let given = drafts.iter().filter_map(|draft| draft.shape?.guard);
    let given: Vec<&str> = given.collect();
    for guard in declared.iter().filter(|guard| given.contains(*guard)) {
        findings.key(
            &path(&["guards", guard]),
            format!("the guard '{guard}' is that of machines on MQTT, which no config declares"),
            Some("rename it".to_owned()),
        );
    }
    for draft in drafts {
        // Where clients connect, only a declared guard can check their credentials.
        let knows_given = draft.shape.is_some_and(|shape| !shape.is_entry());
        for reference in &draft.guards {
            let guard = reference.guard.as_str();
            if declared.contains(&guard) || (knows_given && given.contains(&guard)) {
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
