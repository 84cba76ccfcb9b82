//! How the bindings fit together.

use serde_yaml::Value;
use tidegate_streams::Protocol;

use crate::expression::Expressions;
use crate::fault::{Findings, suggestion};
use crate::load::{index_of, path};
use crate::model::{Binding, Exit, Route};
use crate::registry::{Kinds, Shape};

/// A binding whose exits are still names.
pub(crate) struct Draft<'r> {
    pub(crate) name: String,
    /// Absent where its kind is not known, which was recorded.
    pub(crate) shape: Option<&'r Shape>,
    pub(crate) exits: Vec<DraftExit>,
    pub(crate) routes: Vec<DraftRoute>,
    pub(crate) options: Value,
    pub(crate) expressions: Expressions,
}

/// An exit of a kind of binding, and the binding that is named for it.
pub(crate) struct DraftExit {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    /// Where the name stands, below the binding.
    pub(crate) at: Vec<&'static str>,
    pub(crate) binding: String,
}

pub(crate) struct DraftRoute {
    pub(crate) when: Vec<Value>,
    pub(crate) exit: String,
}

impl Draft<'_> {
    pub(crate) fn unusable(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            shape: None,
            exits: Vec::new(),
            routes: Vec::new(),
            options: Value::Null,
            expressions: Expressions::default(),
        }
    }

    /// The binding that each exit names, where the name stands, and which streams go there.
    fn targets(&self) -> Vec<(&str, Vec<String>, Option<Protocol>)> {
        let place = |steps: &[&str]| {
            let above = ["bindings", &self.name];
            path(&[&above[..], steps].concat())
        };
        let exits = self.exits.iter();
        let mut targets: Vec<_> = exits
            .map(|exit| (exit.binding.as_str(), place(&exit.at), Some(exit.protocol)))
            .collect();
        // Routes lead where the only exit of the kind would.
        let protocol = self.shape.and_then(|shape| shape.exits.iter().next());
        let protocol = protocol.map(|(_, protocol)| protocol);
        for (index, route) in self.routes.iter().enumerate() {
            let at = place(&["routes", &index.to_string(), "exit"]);
            targets.push((route.exit.as_str(), at, protocol));
        }
        targets
    }

    fn accepts(&self, protocol: Protocol) -> bool {
        self.shape
            .is_some_and(|shape| shape.accepts.contains(&protocol))
    }
}

/// Resolves the exits and checks that protocols fit, that nothing runs in a circle and that streams
/// can enter. Also warns of bindings that no stream reaches.
pub(crate) fn connect(
    drafts: Vec<Draft<'_>>,
    kinds: &Kinds,
    findings: &mut Findings<'_>,
) -> Vec<Binding> {
    let edges: Vec<Vec<usize>> = drafts
        .iter()
        .map(|draft| resolve(draft, &drafts, findings))
        .collect();
    check_circles(&drafts, &edges, findings);
    let usable = drafts.iter().all(|draft| draft.shape.is_some());
    let enters = |draft: &Draft<'_>| draft.shape.is_some_and(Shape::is_entry);
    if usable && !drafts.iter().any(enters) {
        let help = format!("add one of: {}", kinds.entries().join(", "));
        findings.value_with(&path(&["bindings"]), "no entry binding", help);
    }
    warn_of_unreached(&drafts, &edges, findings);
    bindings(drafts)
}

fn resolve(draft: &Draft<'_>, drafts: &[Draft<'_>], findings: &mut Findings<'_>) -> Vec<usize> {
    let index = index_of(drafts);
    let mut edges = Vec::new();
    for (exit, at, protocol) in draft.targets() {
        let Some(&target) = index.get(exit) else {
            let known: Vec<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
            let message = format!("unknown binding '{exit}'");
            findings.value_with(&at, message, suggestion(exit, &known));
            continue;
        };
        edges.push(target);
        let theirs = drafts.get(target).and_then(|target| target.shape);
        let (Some(theirs), Some(protocol)) = (theirs, protocol) else {
            continue;
        };
        if !theirs.accepts.contains(&protocol) {
            let fitting = drafts.iter().filter(|draft| draft.accepts(protocol));
            let fitting: Vec<&str> = fitting.map(|draft| draft.name.as_str()).collect();
            let word = protocol.word();
            let help = if fitting.is_empty() {
                format!("add a binding that accepts {word} streams")
            } else {
                format!("valid exits: {}", fitting.join(", "))
            };
            let title = theirs.title();
            let message = format!("exit '{exit}' ({title}) does not accept {word} streams");
            findings.value_with(&at, message, help);
        }
    }
    edges
}

fn check_circles(drafts: &[Draft<'_>], edges: &[Vec<usize>], findings: &mut Findings<'_>) {
    for start in 0..drafts.len() {
        // Recorded once for each circle: at its first binding.
        let reached = reach(edges, edges.get(start).cloned().unwrap_or_default());
        let first = (0..start).any(|earlier| {
            reached.contains(&earlier)
                && reach(edges, edges.get(earlier).cloned().unwrap_or_default()).contains(&start)
        });
        if reached.contains(&start)
            && !first
            && let Some(draft) = drafts.get(start)
        {
            let at = path(&["bindings", &draft.name]);
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

fn warn_of_unreached(drafts: &[Draft<'_>], edges: &[Vec<usize>], findings: &mut Findings<'_>) {
    // A value that is not known may name any of them.
    if findings.ignores_some() {
        return;
    }
    for (index, draft) in drafts.iter().enumerate() {
        let accepts = draft.shape.is_some_and(|shape| !shape.accepts.is_empty());
        if accepts && !edges.iter().flatten().any(|to| *to == index) {
            let message = format!(
                "no binding has '{}' as its exit, so it is not used",
                draft.name
            );
            let at = path(&["bindings", &draft.name]);
            findings.warn(&at, message, "remove it, or name it as an exit");
        }
    }
}

fn bindings(drafts: Vec<Draft<'_>>) -> Vec<Binding> {
    let names: Vec<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
    let find = |name: &str| names.iter().position(|other| other == name);
    let mut bindings = Vec::new();
    for draft in drafts {
        let Some(shape) = draft.shape else {
            continue;
        };
        let exits = draft.exits.iter().filter_map(|exit| {
            Some(Exit {
                name: exit.name,
                binding: find(&exit.binding)?,
            })
        });
        let routes = draft.routes.into_iter().filter_map(|route| {
            Some(Route {
                exit: find(&route.exit)?,
                when: route.when,
            })
        });
        bindings.push(Binding {
            r#type: shape.r#type.to_owned(),
            kind: shape.kind.to_owned(),
            exits: exits.collect(),
            routes: routes.collect(),
            name: draft.name,
            options: draft.options,
            expressions: draft.expressions,
        });
    }
    bindings
}
