//! How the bindings fit together.

use serde_yaml::Value;

use crate::fault::{Findings, suggestion};
use crate::load::index_of;
use crate::model::{Binding, Route};
use crate::registry::Descriptor;

/// A binding whose exits are still names.
pub(crate) struct Draft<'r> {
    pub(crate) name: String,
    /// Absent where the binding itself is faulty, which has been told.
    pub(crate) descriptor: Option<&'r Descriptor>,
    pub(crate) exit: Option<String>,
    pub(crate) routes: Vec<DraftRoute>,
    pub(crate) options: Value,
    pub(crate) from_environment: Vec<Vec<String>>,
}

pub(crate) struct DraftRoute {
    pub(crate) toolkit: Option<String>,
    pub(crate) exit: String,
}

impl Draft<'_> {
    pub(crate) fn unusable(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            descriptor: None,
            exit: None,
            routes: Vec::new(),
            options: Value::Null,
            from_environment: Vec::new(),
        }
    }

    /// Each exit with its place in the text.
    fn exits(&self) -> Vec<(&str, Vec<String>)> {
        let place = |steps: &[&str]| {
            let above = ["bindings", &self.name];
            above
                .iter()
                .chain(steps)
                .map(|step| (*step).to_owned())
                .collect::<Vec<String>>()
        };
        let mut exits: Vec<_> = self
            .exit
            .iter()
            .map(|exit| (exit.as_str(), place(&["exit"])))
            .collect();
        for (index, route) in self.routes.iter().enumerate() {
            let at = place(&["routes", &index.to_string(), "exit"]);
            exits.push((route.exit.as_str(), at));
        }
        exits
    }
}

/// Resolves the exits and checks that protocols fit, that nothing runs in a circle and that streams
/// can enter. Also tells what is odd but no fault.
pub(crate) fn connect(
    drafts: Vec<Draft<'_>>,
    findings: &mut Findings<'_>,
) -> (Vec<Binding>, Vec<String>) {
    let edges: Vec<Vec<usize>> = drafts
        .iter()
        .map(|draft| resolve(draft, &drafts, findings))
        .collect();
    for draft in &drafts {
        check_toolkits(draft, findings);
    }
    check_circles(&drafts, &edges, findings);
    let usable = drafts.iter().all(|draft| draft.descriptor.is_some());
    let enters = |draft: &Draft<'_>| draft.descriptor.is_some_and(Descriptor::is_entry);
    if usable && !drafts.iter().any(enters) {
        let at = ["bindings".to_owned()];
        findings.value_with(
            &at,
            "nothing enters here",
            "add a binding of type http or stdio, kind server",
        );
    }
    let warnings = unreached(&drafts, &edges);
    (bindings(drafts), warnings)
}

fn resolve(draft: &Draft<'_>, drafts: &[Draft<'_>], findings: &mut Findings<'_>) -> Vec<usize> {
    let index = index_of(drafts);
    let mut edges = Vec::new();
    for (exit, at) in draft.exits() {
        let Some(&target) = index.get(exit) else {
            let known: Vec<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
            let message = format!("there is no binding '{exit}'");
            findings.value_with(&at, message, suggestion(exit, &known));
            continue;
        };
        edges.push(target);
        let descriptor = drafts.get(target).and_then(|target| target.descriptor);
        let (Some(ours), Some(theirs)) = (draft.descriptor, descriptor) else {
            continue;
        };
        let Some(protocol) = ours.produces else {
            continue;
        };
        if !theirs.accepts.contains(&protocol) {
            let fits = |draft: &&Draft<'_>| {
                draft
                    .descriptor
                    .is_some_and(|descriptor| descriptor.accepts.contains(&protocol))
            };
            let fitting: Vec<&str> = drafts
                .iter()
                .filter(fits)
                .map(|draft| draft.name.as_str())
                .collect();
            let help = if fitting.is_empty() {
                format!("add a binding that accepts {} streams", protocol.word())
            } else {
                format!("it can be: {}", fitting.join(", "))
            };
            let message = format!(
                "'{exit}' is {} and takes no {} streams, which {} opens",
                theirs.title(),
                protocol.word(),
                ours.title()
            );
            findings.value_with(&at, message, help);
        }
    }
    edges
}

fn check_toolkits(draft: &Draft<'_>, findings: &mut Findings<'_>) {
    for (index, route) in draft.routes.iter().enumerate() {
        let step = index.to_string();
        let at = ["bindings", &draft.name, "routes", &step].map(str::to_owned);
        let earlier = || draft.routes.iter().take(index);
        match &route.toolkit {
            Some(toolkit) if earlier().any(|other| other.toolkit.as_ref() == Some(toolkit)) => {
                findings.value(&at, format!("the toolkit '{toolkit}' has a route already"));
            }
            None if draft.routes.len() > 1 => findings.value_with(
                &at,
                "this route takes everything, so it must be the only one",
                "give it a toolkit: when: [{ toolkit: plant }]",
            ),
            _ => {}
        }
    }
}

fn check_circles(drafts: &[Draft<'_>], edges: &[Vec<usize>], findings: &mut Findings<'_>) {
    for start in 0..drafts.len() {
        // Told once for each circle: by its first binding.
        let reached = reach(edges, edges.get(start).cloned().unwrap_or_default());
        let first = (0..start).any(|earlier| {
            reached.contains(&earlier)
                && reach(edges, edges.get(earlier).cloned().unwrap_or_default()).contains(&start)
        });
        if reached.contains(&start)
            && !first
            && let Some(draft) = drafts.get(start)
        {
            let at = ["bindings".to_owned(), draft.name.clone()];
            findings.key(&at, "the exits lead in a circle back to this binding", None);
        }
    }
}

fn reach(edges: &[Vec<usize>], mut open: Vec<usize>) -> Vec<usize> {
    let mut reached = Vec::new();
    while let Some(next) = open.pop() {
        if !reached.contains(&next) {
            reached.push(next);
            open.extend(edges.get(next).into_iter().flatten());
        }
    }
    reached
}

fn unreached(drafts: &[Draft<'_>], edges: &[Vec<usize>]) -> Vec<String> {
    let takes = |draft: &Draft<'_>| {
        draft
            .descriptor
            .is_some_and(|descriptor| !descriptor.accepts.is_empty())
    };
    drafts
        .iter()
        .enumerate()
        .filter(|(index, draft)| takes(draft) && !edges.iter().flatten().any(|to| to == index))
        .map(|(_, draft)| {
            format!(
                "no binding has '{}' as its exit; it does nothing",
                draft.name
            )
        })
        .collect()
}

fn bindings(drafts: Vec<Draft<'_>>) -> Vec<Binding> {
    let names: Vec<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
    let find = |name: &str| names.iter().position(|other| other == name);
    let mut bindings = Vec::new();
    for draft in drafts {
        let Some(descriptor) = draft.descriptor else {
            continue;
        };
        let route = |route: DraftRoute| {
            Some(Route {
                exit: find(&route.exit)?,
                toolkit: route.toolkit,
            })
        };
        bindings.push(Binding {
            r#type: descriptor.r#type.to_owned(),
            kind: descriptor.kind.to_owned(),
            exit: draft.exit.as_deref().and_then(find),
            routes: draft.routes.into_iter().filter_map(route).collect(),
            name: draft.name,
            options: draft.options,
            from_environment: draft.from_environment,
        });
    }
    bindings
}
