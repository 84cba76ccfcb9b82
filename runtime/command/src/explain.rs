//! `tidegate explain`: what an identity may do with a tool or a topic, and by which rule.
//!
//! It follows a call from each `mcp · server`, where clients enter, and from each route of an `mqtt_mcp ·
//! proxy`, where machines do, through the bindings that decide, and asks each of them with the code that
//! decides at run time. A binding that decides nothing is passed; one that renames tools ends the path, with
//! a word about it.

mod machines;

use std::collections::BTreeMap;
use std::process::ExitCode;

use tidegate_binding_mcp::proxy;
use tidegate_binding_mcp_device as mcp_device;
use tidegate_binding_mcp_mqtt as mcp_mqtt;
use tidegate_binding_mqtt::client;
use tidegate_config::{Binding, Config, Faults};
use tidegate_options::RouteRule;
use tidegate_streams::{Identity, IdentityAttribute, shown};

use crate::arguments::Explain;
use crate::console::print_line;
use crate::failure::Failure;
use crate::read;

/// A step of a path: the binding, and what it decides.
struct Step {
    binding: String,
    decision: String,
}

/// A path through the bindings.
struct Path {
    /// What is done, such as `publish with plant__publish`.
    what: String,
    steps: Vec<Step>,
    permitted: bool,
}

/// What is asked for with a topic.
#[derive(Clone, Copy)]
struct Topic<'a> {
    /// `publish` or `receive`.
    operation: &'static str,
    /// The topic or topic filter.
    text: &'a str,
}

/// Follows calls of one caller through a config.
struct Follow<'a> {
    config: &'a Config,
    caller: Option<Identity>,
}

/// Runs the command: exit code 0 if at least one path is permitted.
pub(crate) fn run(asked: &Explain) -> Result<ExitCode, Failure> {
    let config = read(&asked.config)?;
    let caller = identity(asked, &config)?;
    let follow = Follow {
        config: &config,
        caller,
    };
    let subject = &*asked.subject;
    let is_topic = asked.topic || subject.contains(['/', '+', '#']);
    let paths = if is_topic {
        follow.topic(subject)
    } else {
        follow.tool(subject)
    };
    let paths = paths.map_err(tidegate_config::LoadError::Faults)?;
    let word = if is_topic { "topic" } else { "tool" };
    print_line(format!("{}, {word} '{}'", follow.who(), shown(subject)));
    for path in &paths {
        let verdict = if path.permitted {
            "permitted"
        } else {
            "refused"
        };
        print_line(format!("\n{}: {verdict}", path.what));
        let width = path.steps.iter().map(|step| step.binding.len()).max();
        for step in &path.steps {
            let width = width.unwrap_or_default();
            print_line(format!("  {:width$}  {}", step.binding, step.decision));
        }
    }
    if paths.is_empty() {
        print_line("\nrefused: no path leads there");
    }
    Ok(if paths.iter().any(|path| path.permitted) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The identity that the arguments describe; `None`: anonymous.
fn identity(asked: &Explain, config: &Config) -> Result<Option<Identity>, Failure> {
    let Some(subject) = &asked.identity else {
        return Ok(None);
    };
    let guards = config.bindings.iter().flat_map(|binding| &binding.guards);
    let mut guards: Vec<&str> = guards.map(|it| it.guard.as_str()).collect();
    guards.extend(machines::guard(config).map_err(tidegate_config::LoadError::Faults)?);
    guards.sort_unstable();
    guards.dedup();
    let guard = match (&asked.guard, &guards[..]) {
        (Some(guard), _) => guard.as_str(),
        (None, [only]) => only,
        (None, []) => "",
        (None, several) => {
            return Err(Failure::Identity(format!(
                "the config refers to several guards; choose one with --guard: {}",
                several.join(", ")
            )));
        }
    };
    let attribute = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok(IdentityAttribute {
            name: name.into(),
            value: value.into(),
        }),
        None => Err(Failure::Identity(format!(
            "invalid attribute '{text}'; write NAME=VALUE"
        ))),
    };
    let attributes: Result<Vec<_>, Failure> = asked.attributes.iter().map(attribute).collect();
    Ok(Some(Identity {
        subject: subject.as_str().into(),
        guard: guard.into(),
        roles: asked
            .roles
            .iter()
            .map(|role| role.as_str().into())
            .collect(),
        attributes: attributes?,
        expires: 0,
        step_up: asked.step_up,
    }))
}

/// Why a route, which leads to what is asked for, is not taken.
fn refused_by(binding: &Binding, route: Option<usize>) -> String {
    let Some(route) = route else {
        return "refused: no route leads there".to_owned();
    };
    let declared = binding.routes.get(route);
    match declared.and_then(|route| route.guarded.as_ref()) {
        Some(guarded) => format!("refused: routes.{route} is guarded: {guarded}"),
        None => format!("refused by routes.{route}"),
    }
}

fn scopes(rule: &str, scopes: &[String]) -> String {
    format!("refused: {rule} needs the scopes {}", scopes.join(" "))
}

impl Follow<'_> {
    /// The caller, in words.
    fn who(&self) -> String {
        let Some(caller) = &self.caller else {
            return "anonymous".to_owned();
        };
        let roles: Vec<&str> = caller.roles.iter().map(|role| &**role).collect();
        let roles = if roles.is_empty() {
            "no roles".to_owned()
        } else {
            format!("roles {}", roles.join(", "))
        };
        let subject = shown(&caller.subject);
        format!("identity '{subject}' of guard '{}', {roles}", caller.guard)
    }

    fn binding(&self, index: usize) -> Option<&Binding> {
        self.config.bindings.get(index)
    }

    /// The servers, where calls of clients enter, and their exits: one for each exit.
    fn servers(&self) -> Vec<(&Binding, usize)> {
        let is_server = |it: &&Binding| it.r#type == "mcp" && it.kind == "server";
        let servers = self.config.bindings.iter().filter(is_server);
        let exits = servers.flat_map(|server| server.targets().map(move |exit| (server, exit)));
        let mut exits: Vec<(&Binding, usize)> = exits.collect();
        exits.sort_by_key(|(_, exit)| *exit);
        exits.dedup_by_key(|(_, exit)| *exit);
        exits
    }

    /// Every path of a call of a tool.
    fn tool(&self, name: &str) -> Result<Vec<Path>, Faults> {
        let mut paths = Vec::new();
        for entry in self.servers() {
            paths.push(self.of_clients(entry, name, None)?);
        }
        for entry in self.machines() {
            paths.extend(self.of_machines(entry, name, None)?);
        }
        Ok(paths)
    }

    /// Every path to publish to a topic, or to receive from it.
    fn topic(&self, text: &str) -> Result<Vec<Path>, Faults> {
        let mut paths = Vec::new();
        for operation in ["publish", "receive"] {
            let topic = Some(Topic { operation, text });
            for entry in self.servers() {
                for name in self.names(entry.1, operation)? {
                    paths.push(self.of_clients(entry, &name, topic)?);
                }
            }
            for entry in self.machines() {
                for name in self.names(entry.1, operation)? {
                    paths.extend(self.of_machines(entry, &name, topic)?);
                }
            }
        }
        Ok(paths)
    }

    /// The path of a call that clients make.
    fn of_clients(
        &self,
        (server, exit): (&Binding, usize),
        name: &str,
        topic: Option<Topic<'_>>,
    ) -> Result<Path, Faults> {
        let name_shown = shown(name);
        let mut path = Path::new(if machines::are_in(self.config) {
            format!("call of {name_shown} by clients")
        } else {
            format!("call of {name_shown}")
        });
        if machines::is_one(self.config, self.caller.as_ref()) {
            let why = "refused: only machines have identities of this guard".to_owned();
            path.refuse(server, why);
            return Ok(path);
        }
        self.follow(path, exit, name, topic)
    }

    /// The names under which a binding offers the tool of an operation.
    fn names(&self, index: usize, operation: &str) -> Result<Vec<String>, Faults> {
        match self.binding(index) {
            Some(binding) if binding.r#type == "mcp" && binding.kind == "proxy" => {
                let mut names = BTreeMap::new();
                for exit in binding.targets() {
                    names.insert(exit, self.own_name(exit, operation)?);
                }
                let name = |exit| names.get(&exit).cloned().unwrap_or_default();
                Ok(proxy::Explainer::new(proxy_routes(binding)?).names(name))
            }
            _ => Ok(vec![self.own_name(index, operation)?]),
        }
    }

    /// The name of the tool of an operation at the binding that has it.
    fn own_name(&self, index: usize, operation: &str) -> Result<String, Faults> {
        let binding = self.binding(index).filter(|it| it.r#type == "mcp_mqtt");
        let Some(binding) = binding else {
            return Ok(operation.to_owned());
        };
        let explainer = mcp_mqtt::Explainer::new(&binding.options()?);
        Ok(explainer.name_of(operation).unwrap_or(operation).to_owned())
    }

    /// Follows a call of a tool from a binding on, to a topic if one is given.
    fn follow(
        &self,
        mut path: Path,
        from: usize,
        name: &str,
        topic: Option<Topic<'_>>,
    ) -> Result<Path, Faults> {
        let (mut at, mut name) = (Some(from), name.to_owned());
        while let Some(binding) = at.and_then(|index| self.binding(index)) {
            at = binding.targets().next();
            match (&*binding.r#type, &*binding.kind) {
                ("mcp", "proxy") => at = self.at_proxy(binding, &mut name, &mut path)?,
                ("mcp_mqtt", _) => self.at_mcp_mqtt(binding, &name, topic, &mut path)?,
                ("mcp_device", _) => {
                    self.at_mcp_device(binding, &name, &mut path)?;
                    at = None;
                }
                ("mqtt", "client") => {
                    if let Some(topic) = topic {
                        self.at_client(binding, topic, &mut path)?;
                    }
                    at = None;
                }
                ("mcp_rename", _) => {
                    path.step(
                        binding,
                        "renames tools; ask for the name behind it".to_owned(),
                    );
                    at = None;
                }
                _ => {}
            }
            if !path.permitted {
                break;
            }
        }
        Ok(path)
    }

    fn at_proxy(
        &self,
        binding: &Binding,
        name: &mut String,
        path: &mut Path,
    ) -> Result<Option<usize>, Faults> {
        let explainer = proxy::Explainer::new(proxy_routes(binding)?);
        match explainer.tool(self.caller.as_ref(), name) {
            proxy::Explanation::Permitted {
                route,
                exit,
                name: behind,
            } => {
                // A plain exit has no routes to name.
                let rule = if binding.routes.is_empty() {
                    "exit".to_owned()
                } else {
                    format!("routes.{route}")
                };
                let to = self.binding(exit).map_or("", |exit| &exit.name);
                path.step(binding, format!("permitted by {rule}: '{behind}' of {to}"));
                *name = behind;
                return Ok(Some(exit));
            }
            proxy::Explanation::StepUp {
                route,
                scopes: needed,
            } => {
                path.refuse(binding, scopes(&format!("routes.{route}"), &needed));
            }
            proxy::Explanation::Unknown { route } => {
                path.refuse(binding, refused_by(binding, route));
            }
        }
        Ok(None)
    }

    fn at_mcp_mqtt(
        &self,
        binding: &Binding,
        tool: &str,
        topic: Option<Topic<'_>>,
        path: &mut Path,
    ) -> Result<(), Faults> {
        use mcp_mqtt::Explanation;
        let explainer = mcp_mqtt::Explainer::new(&binding.options()?);
        let caller = self.caller.as_ref();
        let explanation = match (explainer.tool(caller, tool), topic) {
            (None, _) => {
                path.refuse(
                    binding,
                    format!("refused: there is no tool '{}'", shown(tool)),
                );
                return Ok(());
            }
            (Some(explanation), None) => explanation,
            (Some(_), Some(topic)) => match explainer.topic(caller, tool, topic.text) {
                Ok(explanation) => explanation,
                Err(why) => {
                    path.refuse(binding, format!("refused: {why}"));
                    return Ok(());
                }
            },
        };
        match explanation {
            Explanation::Allowed(Some(rule)) => path.step(binding, format!("permitted by {rule}")),
            Explanation::Allowed(None) if topic.is_some() => {
                path.step(binding, "permitted: the option is absent".to_owned());
            }
            Explanation::Allowed(None) => {
                path.step(binding, "permitted for some topics".to_owned());
            }
            Explanation::StepUp(needed) => path.refuse(binding, scopes("the topic", &needed)),
            Explanation::Refused if topic.is_some() => {
                path.refuse(
                    binding,
                    "refused: no entry for this caller allows it".to_owned(),
                );
            }
            Explanation::Refused => {
                path.refuse(binding, "refused: no topic is allowed with it".to_owned());
            }
        }
        Ok(())
    }

    fn at_mcp_device(&self, binding: &Binding, tool: &str, path: &mut Path) -> Result<(), Faults> {
        use mcp_device::Explanation;
        let explainer = mcp_device::Explainer::new(binding.options()?);
        match explainer.tool(self.caller.as_ref(), tool) {
            Some(Explanation::Permitted(used)) => {
                path.step(binding, format!("permitted for {}", used.join(", ")));
            }
            Some(Explanation::Refused) => {
                path.refuse(
                    binding,
                    "refused: no type or command for this caller".to_owned(),
                );
            }
            None => path.refuse(
                binding,
                format!("refused: there is no tool '{}'", shown(tool)),
            ),
        }
        Ok(())
    }

    fn at_client(
        &self,
        binding: &Binding,
        topic: Topic<'_>,
        path: &mut Path,
    ) -> Result<(), Faults> {
        if binding.routes.is_empty() {
            return Ok(());
        }
        let mut rules: Vec<RouteRule<client::Condition>> = Vec::new();
        for (index, route) in binding.routes.iter().enumerate() {
            rules.push(RouteRule {
                when: binding.when(index)?,
                guarded: route.guarded.clone(),
            });
        }
        let publish = topic.operation == "publish";
        match client::explain(&rules, self.caller.as_ref(), publish, topic.text) {
            Some(route) => path.step(binding, format!("permitted by routes.{route}")),
            None => path.refuse(binding, refused_by(binding, None)),
        }
        Ok(())
    }
}

impl Path {
    /// A path that nothing has refused yet.
    const fn new(what: String) -> Self {
        Self {
            what,
            steps: Vec::new(),
            permitted: true,
        }
    }

    fn step(&mut self, binding: &Binding, decision: String) {
        self.steps.push(Step {
            binding: binding.name.clone(),
            decision,
        });
    }

    fn refuse(&mut self, binding: &Binding, decision: String) {
        self.permitted = false;
        self.step(binding, decision);
    }
}

/// The routes of an `mcp · proxy`; a plain exit is a route for everything and everybody.
fn proxy_routes(binding: &Binding) -> Result<Vec<proxy::Route<usize>>, Faults> {
    let exits = binding.exits.iter().map(|exit| proxy::Route {
        rule: RouteRule {
            when: Vec::new(),
            guarded: None,
        },
        exit: exit.binding,
    });
    let mut routes: Vec<_> = exits.collect();
    for (index, route) in binding.routes.iter().enumerate() {
        routes.push(proxy::Route {
            rule: RouteRule {
                when: binding.when(index)?,
                guarded: route.guarded.clone(),
            },
            exit: route.exit,
        });
    }
    Ok(routes)
}
