//! Whether a binding fits together: its options, its routes and the bindings at its exits. A kind declares the
//! check ([`Descriptor::checked_by`](crate::Descriptor::checked_by)); each part is valid when it is called.

use crate::declared::{Declared, MakeError};
use crate::fault::Findings;
use crate::load::path;
use crate::model::Binding;
use crate::registry::Kinds;

/// Checks a binding. An error is not reported: it means that check and descriptor of the kind disagree.
pub type CheckBinding = fn(&Declared<'_, &Binding>) -> Result<Vec<BindingFault>, MakeError>;

/// A part of a binding that does not fit another one, or the binding at an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingFault {
    /// Path below the binding, such as `routes`.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub help: String,
}

/// Checks all bindings of a config that has no other faults, and whose values are all known.
pub(crate) fn check(bindings: &[Binding], kinds: &Kinds, findings: &mut Findings<'_>) {
    if !findings.is_empty() || findings.ignores_some() {
        return;
    }
    let at_exit = |index: usize| bindings.get(index);
    for binding in bindings {
        let shape = kinds.find(&binding.r#type, &binding.kind);
        let check = shape.and_then(|shape| shape.check_whole);
        let faults = check.map(|check| check(&Declared::new(binding, &at_exit)));
        for fault in faults.into_iter().flatten().flatten() {
            let mut at = path(&["bindings", &binding.name]);
            at.extend(fault.path);
            findings.value_with(&at, fault.message, fault.help);
        }
    }
}
