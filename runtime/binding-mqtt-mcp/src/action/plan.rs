//! The steps of a plan: which need the results of others.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Fault, REQUEST};
use super::{ERROR, RESULT, StepOptions, With};
use crate::levels::is_word;
use crate::progress;
use crate::template::{first, is_global};

/// Most steps of a plan.
const STEPS_MAX: usize = 32;

/// The templates of a step: their keys and variables.
pub(super) fn templates(step: &StepOptions) -> Vec<(&'static str, BTreeSet<String>)> {
    let mut found = vec![("tool", step.tool.0.variables())];
    if let Some(arguments) = &step.arguments {
        found.push(("arguments", arguments.variables()));
    }
    if let Some(when) = &step.when {
        found.push(("when", when.0.variables()));
    }
    found
}

/// The steps whose results a step refers to.
pub(crate) fn needs<'a>(
    plan: &'a BTreeMap<String, StepOptions>,
    step: &'a StepOptions,
) -> BTreeSet<&'a str> {
    let variables = templates(step).into_iter().flat_map(|(_, it)| it);
    let names = variables.filter_map(|it| plan.get_key_value(first(&it)));
    names.map(|(name, _)| name.as_str()).collect()
}

/// Checks names, references and retries of the steps.
pub(super) fn check(with: &With, fault: &mut Fault<'_>) {
    let plan = &with.plan;
    if plan.len() > STEPS_MAX {
        let message = format!("too many steps; the maximum is {STEPS_MAX}");
        fault(&["with", "plan"], message, "use fewer steps");
    }
    for (name, step) in plan {
        let known = REQUEST.iter().chain(&[RESULT, ERROR, progress::VARIABLE]);
        let taken = known.into_iter().any(|it| it == name) || is_global(name);
        if taken || !is_word(name) {
            let message = format!("invalid name of a step: '{name}'");
            let help = "use letters, digits and '_', and no name of another variable";
            fault(&["with", "plan", name], message, help);
        }
        if step.retry.get() > 0 && !step.idempotent {
            let message = "'retry' of a tool that may do harm twice".to_owned();
            let help =
                "add 'idempotent: true' if the tool may be executed twice, or remove 'retry'";
            fault(&["with", "plan", name, "retry"], message, help);
        }
    }
    let cycle = cyclic(plan);
    if let Some(first) = cycle.first() {
        let message = format!(
            "the steps refer to each other in a cycle: {}",
            cycle.join(", ")
        );
        fault(
            &["with", "plan", first],
            message,
            "remove one of the references",
        );
    }
}

/// The steps that can never run, because each waits for another one.
fn cyclic(plan: &BTreeMap<String, StepOptions>) -> Vec<&str> {
    let needs = plan.iter().map(|(name, step)| {
        let mut needs = needs(plan, step);
        // That a step refers to itself is a fault of its own.
        needs.remove(name.as_str());
        (name.as_str(), needs)
    });
    let mut left: BTreeMap<&str, BTreeSet<&str>> = needs.collect();
    loop {
        let ready: Vec<&str> = left
            .iter()
            .filter(|(_, needs)| needs.is_empty())
            .map(|(name, _)| *name)
            .collect();
        if ready.is_empty() {
            return left.into_keys().collect();
        }
        for name in ready {
            left.remove(name);
            for needs in left.values_mut() {
                needs.remove(name);
            }
        }
    }
}
