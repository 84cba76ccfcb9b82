//! Checks across bindings: exits resolve, protocols match, no cycles, at least one entry, and nothing is shared
//! that only one binding may have.

use serde_yaml::Value;
use tidegate_options::{ActionRoute, GuardReference, Guarded, OwnFile};
use tidegate_streams::Protocol;

use crate::exclusive;
use crate::expression::Expressions;
use crate::fault::{Findings, suggestion};
use crate::load::{index_of, path};
use crate::model::{Binding, Exit, Route};
use crate::registry::{Kinds, Shape};

/// A binding whose exits are not yet resolved: they are names.
pub(crate) struct Draft<'r> {
    pub(crate) name: String,
    /// `None` for an unknown kind, whose fault is already recorded.
    pub(crate) shape: Option<&'r Shape>,
    pub(crate) exits: Vec<DraftExit>,
    pub(crate) routes: Vec<DraftRoute>,
    pub(crate) actions: Vec<ActionRoute<Value, Value>>,
    pub(crate) options: Value,
    /// The guards that it refers to, with paths below the binding.
    pub(crate) guards: Vec<GuardReference>,
    /// The files of its options that no other binding may have.
    pub(crate) own_files: Vec<OwnFile>,
    pub(crate) expressions: Expressions,
}

/// One exit of a binding and the name of the target binding.
pub(crate) struct DraftExit {
    pub(crate) name: &'static str,
    /// The protocols that its streams may have.
    pub(crate) protocols: Vec<Protocol>,
    /// Path of the name below the binding.
    pub(crate) at: Vec<&'static str>,
    pub(crate) binding: String,
}

pub(crate) struct DraftRoute {
    pub(crate) when: Vec<Value>,
    pub(crate) guarded: Option<Guarded>,
    pub(crate) exit: String,
}

impl Draft<'_> {
    pub(crate) fn unusable(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            shape: None,
            exits: Vec::new(),
            routes: Vec::new(),
            actions: Vec::new(),
            options: Value::Null,
            guards: Vec::new(),
            own_files: Vec::new(),
            expressions: Expressions::default(),
        }
    }

    /// For each exit and route: target name, path of that name, and protocols that the streams may have.
    fn targets(&self) -> Vec<(&str, Vec<String>, Vec<Protocol>)> {
        let at = |steps: &[&str]| {
            let above = ["bindings", &self.name];
            path(&[&above[..], steps].concat())
        };
        let choice = self.shape.and_then(|shape| shape.exit_choice);
        let chosen = choice.and_then(|choice| choice.of(&self.options));
        let exits = self.exits.iter();
        let mut targets: Vec<_> = exits
            .map(|exit| {
                let protocols = chosen.map_or_else(|| exit.protocols.clone(), |it| vec![it]);
                (exit.binding.as_str(), at(&exit.at), protocols)
            })
            .collect();
        // Routes are alternatives to the single exit of the kind and have its protocol.
        let protocol = self.shape.and_then(|shape| shape.exits.iter().next());
        let protocols: Vec<Protocol> = protocol.map(|(_, protocol)| protocol).into_iter().collect();
        for (index, route) in self.routes.iter().enumerate() {
            let path = at(&["routes", &index.to_string(), "exit"]);
            targets.push((route.exit.as_str(), path, protocols.clone()));
        }
        targets
    }

    fn accepts(&self, protocols: &[Protocol]) -> bool {
        self.shape.is_some_and(|shape| shape.accepts_any(protocols))
    }
}

/// Resolves the exits; records a fault for protocols that do not match, for cycles and for a config
/// without an entry, and a warning for bindings that no stream reaches.
pub(crate) fn connect(
    drafts: Vec<Draft<'_>>,
    kinds: &Kinds,
    findings: &mut Findings<'_>,
) -> Vec<Binding> {
    let edges: Vec<Vec<usize>> = drafts
        .iter()
        .map(|draft| resolve(draft, &drafts, findings))
        .collect();
    check_cycles(&drafts, &edges, findings);
    exclusive::check(&drafts, findings);
    let usable = drafts.iter().all(|draft| draft.shape.is_some());
    let is_entry = |draft: &Draft<'_>| draft.shape.is_some_and(Shape::is_entry);
    if usable && !drafts.iter().any(is_entry) {
        let help = format!("add one of: {}", kinds.entries().join(", "));
        findings.value_with(&path(&["bindings"]), "no entry binding", help);
    }
    warn_unused(&drafts, &edges, findings);
    bindings(drafts)
}

fn resolve(draft: &Draft<'_>, drafts: &[Draft<'_>], findings: &mut Findings<'_>) -> Vec<usize> {
    let index = index_of(drafts);
    let mut edges = Vec::new();
    for (exit, at, protocols) in draft.targets() {
        let Some(&target) = index.get(exit) else {
            let known: Vec<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
            let message = format!("unknown binding '{exit}'");
            findings.value_with(&at, message, suggestion(exit, &known));
            continue;
        };
        edges.push(target);
        let shape = drafts.get(target).and_then(|target| target.shape);
        let Some(shape) = shape.filter(|_| !protocols.is_empty()) else {
            continue;
        };
        if !shape.accepts_any(&protocols) {
            let valid = drafts.iter().filter(|draft| draft.accepts(&protocols));
            let valid: Vec<&str> = valid.map(|draft| draft.name.as_str()).collect();
            let words: Vec<&str> = protocols.iter().map(|it| it.word()).collect();
            let word = words.join(" or ");
            let help = if valid.is_empty() {
                format!("add a binding that accepts {word} streams")
            } else {
                format!("valid exits: {}", valid.join(", "))
            };
            let title = shape.title();
            let message = format!("exit '{exit}' ({title}) does not accept {word} streams");
            findings.value_with(&at, message, help);
        }
    }
    edges
}

fn check_cycles(drafts: &[Draft<'_>], edges: &[Vec<usize>], findings: &mut Findings<'_>) {
    for start in 0..drafts.len() {
        // One fault for each cycle, at its first binding.
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
            findings.key(
                &at,
                "exits form a cycle",
                Some("every chain of exits must end at a binding without an exit".to_owned()),
            );
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

fn warn_unused(drafts: &[Draft<'_>], edges: &[Vec<usize>], findings: &mut Findings<'_>) {
    // An unresolved value (a missing variable) may name any binding.
    if findings.ignores_some() {
        return;
    }
    for (index, draft) in drafts.iter().enumerate() {
        let accepts = draft.shape.is_some_and(|shape| !shape.accepts.is_empty());
        if accepts && !edges.iter().flatten().any(|to| *to == index) {
            let message = format!("binding '{}' is not used: no exit names it", draft.name);
            let at = path(&["bindings", &draft.name]);
            findings.warn(&at, message, "name it as an exit, or remove it");
        }
    }
}

fn bindings(drafts: Vec<Draft<'_>>) -> Vec<Binding> {
    let names: Vec<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
    let find = |name: &str| names.iter().position(|other| other == name);
    let accepted = drafts.iter().map(|draft| draft.shape.map(|it| it.accepts));
    let accepted: Vec<&[Protocol]> = accepted.map(Option::unwrap_or_default).collect();
    let mut bindings = Vec::new();
    for draft in drafts {
        let Some(shape) = draft.shape else {
            continue;
        };
        let exits = draft.exits.iter().filter_map(|exit| {
            let binding = find(&exit.binding)?;
            let accepts = accepted.get(binding).copied().unwrap_or_default();
            let mut protocols = exit.protocols.iter().copied();
            let protocol = protocols.clone().find(|it| accepts.contains(it));
            Some(Exit {
                name: exit.name,
                binding,
                protocol: protocol.or_else(|| protocols.next())?,
            })
        });
        let routes = draft.routes.into_iter().filter_map(|route| {
            Some(Route {
                exit: find(&route.exit)?,
                when: route.when,
                guarded: route.guarded,
            })
        });
        bindings.push(Binding {
            r#type: shape.r#type.to_owned(),
            kind: shape.kind.to_owned(),
            exits: exits.collect(),
            routes: routes.collect(),
            actions: draft.actions,
            name: draft.name,
            options: draft.options,
            guards: draft.guards,
            expressions: draft.expressions,
        });
    }
    bindings
}
