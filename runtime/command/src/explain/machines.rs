//! Calls of machines: where they enter, and whose they are.

use tidegate_binding_mqtt_mcp::{Asks, Explainer, GUARD};
use tidegate_config::{Binding, Config, Faults};
use tidegate_streams::{Identity, shown};

use super::{Follow, Path, Topic};

/// The bindings through which machines call tools.
fn bindings(config: &Config) -> impl Iterator<Item = &Binding> {
    let bindings = config.bindings.iter();
    bindings.filter(|it| it.r#type == "mqtt_mcp" && it.kind == "proxy")
}

/// Whether machines call tools.
pub(super) fn are_in(config: &Config) -> bool {
    bindings(config).next().is_some()
}

/// The guard of the identities that the config gives machines, if it gives any.
pub(super) fn guard(config: &Config) -> Result<Option<&'static str>, Faults> {
    for binding in bindings(config) {
        if explainer(binding)?.identifies() {
            return Ok(Some(GUARD));
        }
    }
    Ok(None)
}

/// Whether only machines are callers like this one.
pub(super) fn is_one(config: &Config, caller: Option<&Identity>) -> bool {
    are_in(config) && caller.is_some_and(|it| *it.guard == *GUARD)
}

fn explainer(binding: &Binding) -> Result<Explainer, Faults> {
    Ok(Explainer::new(&binding.options()?, binding.actions()?))
}

impl Follow<'_> {
    /// The exits towards which machines call tools.
    pub(super) fn machines(&self) -> Vec<(&Binding, usize)> {
        let exits = bindings(self.config).flat_map(|binding| {
            let exits = binding.exits.iter().filter(|exit| exit.name == "mcp");
            exits.map(move |exit| (binding, exit.binding))
        });
        exits.collect()
    }

    /// Every path of a call that the routes of a binding make: one for each route that calls the tool.
    pub(super) fn of_machines(
        &self,
        (binding, exit): (&Binding, usize),
        name: &str,
        topic: Option<Topic<'_>>,
    ) -> Result<Vec<Path>, Faults> {
        let explained = explainer(binding)?.tool(self.caller.as_ref(), name);
        let begin = || Path::new(format!("call of {} by machines", shown(name)));
        if explained.is_empty() {
            let mut path = begin();
            path.refuse(binding, "refused: no route calls this tool".to_owned());
            return Ok(vec![path]);
        }
        let paths = explained.into_iter().map(|explanation| {
            let mut path = begin();
            let (rule, topics) = (explanation.rule, explanation.topics.join(", "));
            match explanation.other {
                None => {
                    let decision = format!("permitted by {rule}, for requests on {topics}");
                    path.step(binding, decision);
                    self.follow(path, exit, name, topic)
                }
                Some(asks) => {
                    let who = who(&asks);
                    path.refuse(
                        binding,
                        format!("refused: {rule}, for requests on {topics}, calls it for {who}"),
                    );
                    Ok(path)
                }
            }
        });
        paths.collect()
    }
}

/// Who asks, in words.
fn who(asks: &Asks) -> String {
    let Asks::Identity { subject, roles } = asks else {
        return "anonymous callers".to_owned();
    };
    let subject = match subject {
        Some(subject) => format!("identity '{}'", shown(subject)),
        None => "identities".to_owned(),
    };
    let roles = match &roles[..] {
        [] => "without roles".to_owned(),
        roles => format!("with roles {}", roles.join(", ")),
    };
    format!("{subject} of guard '{GUARD}' {roles}")
}
