//! An option that stands for a chain of bindings, such as `url` of `mqtt · client`.
//!
//! The chain is put into the config before it is checked, so that what follows knows only bindings.
//! Faults in it are reported where the shorthand is written.

use serde_yaml::{Mapping, Value};

use crate::attachment;
use crate::expression::{Expressions, Sources, UNRESOLVED, substitute};
use crate::fault::Findings;
use crate::load::path;
use crate::preset;
use crate::registry::{Kinds, Shape};

/// A shorthand of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Shorthand {
    /// The option.
    pub key: &'static str,
    /// Its description in the reference.
    pub about: &'static str,
    /// Options beside it that are those of a binding of the chain: key and type are the same word.
    pub links: &'static [&'static str],
    /// The chain that a value stands for, or what is wrong with the value. The message must not repeat
    /// the value, which may contain a password.
    pub expand: fn(&str) -> Result<Chain, String>,
    /// The binding that stands in for the chain of an invalid value, while the rest of the config is
    /// checked.
    pub stand_in: fn() -> Link,
}

/// What a shorthand stands for.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// Further options of the binding itself.
    pub options: Vec<(&'static str, String)>,
    /// Those of them, and of the options of links, that are secret.
    pub secrets: &'static [&'static str],
    /// The bindings, from the exit of the binding on. All are of the kind `client`.
    pub links: Vec<Link>,
}

/// A binding of a chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its type, which is also the end of its name.
    pub r#type: &'static str,
    /// Its options.
    pub options: Vec<(&'static str, Value)>,
    /// Options that it has unless they are given beside the shorthand.
    pub defaults: Vec<(&'static str, Value)>,
}

/// The kind of the bindings of a chain.
pub(crate) const KIND: &str = "client";

/// Replaces the shorthands in the bindings of a config.
pub(crate) fn expand(
    bindings: &Mapping,
    kinds: &Kinds,
    expressions: &mut Expressions,
    findings: &mut Findings<'_>,
) -> Mapping {
    let mut expanded = Mapping::new();
    for (name, value) in bindings {
        let found = name.as_str().zip(shorthand_of(value, kinds));
        let Some((name, (shorthand, text))) = found else {
            expanded.insert(name.clone(), value.clone());
            continue;
        };
        let mut expansion = Expansion {
            name,
            written: bindings,
            shorthand,
            binding: value.clone(),
            links: Vec::new(),
        };
        let chain = expansion.read(text, expressions, findings);
        expansion.apply(chain, expressions, findings);
        expanded.insert(name.into(), expansion.binding);
        for (link, value) in expansion.links {
            expanded.insert(link.into(), value);
        }
    }
    expanded
}

/// A config in which no expression is replaced, with its shorthands written out.
pub(crate) fn written_out(
    mut config: Value,
    kinds: &Kinds,
    sources: &Sources<'_>,
    findings: &mut Findings<'_>,
) -> Value {
    let Some(bindings) = config.get_mut("bindings").and_then(Value::as_mapping_mut) else {
        return config;
    };
    preset::replace(bindings, kinds, findings);
    let mut written = Mapping::new();
    for (name, value) in bindings.iter() {
        let mut value = value.clone();
        let mut expressions = Expressions::default();
        let mut secrets: &[&str] = &[];
        if let Some((shorthand, text)) = shorthand_of(&value, kinds) {
            let mut text = Value::from(text);
            substitute(&mut text, sources, findings);
            let chain = (shorthand.expand)(text.as_str().unwrap_or_default());
            secrets = chain.map_or(&[], |chain| chain.secrets);
            if let Some(option) = value
                .get_mut("options")
                .and_then(|it| it.get_mut(shorthand.key))
            {
                *option = text;
            }
        }
        let one = Mapping::from_iter([(name.clone(), value)]);
        let had_secret = |key: &str| one.get(name)?.get("options")?.get(key);
        let given: Vec<bool> = secrets
            .iter()
            .map(|key| had_secret(key).is_some())
            .collect();
        for (name, mut value) in expand(&one, kinds, &mut expressions, findings) {
            for (key, given) in secrets.iter().zip(&given) {
                if let Some(secret) = value.get_mut("options").and_then(|it| it.get_mut(*key))
                    && !given
                {
                    *secret = format!("${{{{env.MQTT_{}}}}}", key.to_uppercase()).into();
                }
            }
            written.insert(name, value);
        }
    }
    let mut expressions = Expressions::default();
    *bindings = attachment::expand(written, kinds, &mut expressions, findings);
    config
}

/// The shorthand that a binding uses, if it does, and its value.
fn shorthand_of<'v>(value: &'v Value, kinds: &Kinds) -> Option<(Shorthand, &'v str)> {
    let word = |key: &str| value.get(key).and_then(Value::as_str);
    let shape: &Shape = kinds.find(word("type")?, word("kind")?)?;
    let options = value.get("options")?;
    let mut shorthands = shape.shorthands.iter();
    shorthands.find_map(|shorthand| Some((*shorthand, options.get(shorthand.key)?.as_str()?)))
}

/// One binding with a shorthand.
struct Expansion<'a> {
    name: &'a str,
    /// The bindings of the config.
    written: &'a Mapping,
    shorthand: Shorthand,
    binding: Value,
    links: Vec<(String, Value)>,
}

impl Expansion<'_> {
    fn at(&self, steps: &[&str]) -> Vec<String> {
        path(&[&["bindings", self.name], steps].concat())
    }

    fn at_option(&self, key: &str) -> Vec<String> {
        self.at(&["options", key])
    }

    /// The chain. An invalid value is reported once, and stands for the last binding alone.
    fn read(&self, text: &str, expressions: &Expressions, findings: &mut Findings<'_>) -> Chain {
        let at = self.at_option(self.shorthand.key);
        let chain = if text.contains(UNRESOLVED) {
            Err(None)
        } else {
            (self.shorthand.expand)(text).map_err(Some)
        };
        match chain {
            Ok(chain) => {
                let has_secret = |(key, _): &(&str, String)| chain.secrets.contains(key);
                if chain.options.iter().any(has_secret) && !expressions.is_at(&at) {
                    findings.warn(
                        &at,
                        format!("the {} contains a secret, which everybody can read who can read the config", self.shorthand.key),
                        "use ${{env.NAME}} for all of it, or the option for the secret",
                    );
                }
                chain
            }
            Err(fault) => {
                if let Some(fault) = fault {
                    findings.value(&at, fault);
                }
                Chain {
                    links: vec![(self.shorthand.stand_in)()],
                    ..Chain::default()
                }
            }
        }
    }

    fn apply(&mut self, chain: Chain, expressions: &mut Expressions, findings: &mut Findings<'_>) {
        for (key, value) in chain.options {
            if self.option(key).is_some() {
                let message = format!("'{key}' is also in '{}'", self.shorthand.key);
                let help = "remove one of them".to_owned();
                findings.key(&self.at_option(key), message, Some(help));
            } else if let Some(options) = self.options() {
                options.insert(key.into(), value.into());
            }
        }
        self.remove_option(self.shorthand.key);
        let names: Vec<String> = chain
            .links
            .iter()
            .map(|link| format!("{}_{}", self.name, link.r#type))
            .collect();
        if let Some(first) = names.first() {
            self.lead_to(first, findings);
        }
        for (index, link) in chain.links.into_iter().enumerate() {
            let name = names.get(index).cloned().unwrap_or_default();
            let exit = names.get(index + 1);
            self.link(name, link, exit, expressions, findings);
        }
        for key in self.shorthand.links {
            if self.remove_option(key).is_some() {
                findings.key(
                    &self.at_option(key),
                    format!(
                        "'{key}' has no effect: there is no {key} · {KIND} in this {}",
                        self.shorthand.key
                    ),
                    Some("remove it, or use a URL with another scheme".to_owned()),
                );
            }
        }
    }

    /// Makes a binding of the chain.
    fn link(
        &mut self,
        name: String,
        link: Link,
        exit: Option<&String>,
        expressions: &mut Expressions,
        findings: &mut Findings<'_>,
    ) {
        if self.written.contains_key(&*name) {
            let message = format!(
                "the name '{name}' is that of a binding that '{}' of '{}' stands for",
                self.shorthand.key, self.name
            );
            let help = "use another name".to_owned();
            findings.key(&path(&["bindings", &name]), message, Some(help));
        }
        findings.written_at(
            path(&["bindings", &name]),
            self.at_option(self.shorthand.key),
        );
        let mut options = Mapping::new();
        if self.shorthand.links.contains(&link.r#type) {
            let written = self.at_option(link.r#type);
            let moved = path(&["bindings", &name, "options"]);
            expressions.repeat_at(&written, &moved);
            match self.remove_option(link.r#type) {
                Some(Value::Mapping(given)) => {
                    findings.written_below(moved, written);
                    options = given;
                }
                Some(_) => findings.value(&written, "must be a mapping of keys to values"),
                None => {}
            }
        }
        for (key, value) in link.options {
            if options.contains_key(key) {
                let at = self.at(&["options", link.r#type, key]);
                let message = format!("'{key}' is also in '{}'", self.shorthand.key);
                findings.key(&at, message, Some("remove one of them".to_owned()));
            }
            options.insert(key.into(), value);
        }
        for (key, value) in link.defaults {
            options.entry(key.into()).or_insert(value);
        }
        let mut binding = Mapping::new();
        binding.insert("type".into(), link.r#type.into());
        binding.insert("kind".into(), KIND.into());
        if !options.is_empty() {
            binding.insert("options".into(), options.into());
        }
        if let Some(exit) = exit {
            binding.insert("exit".into(), exit.as_str().into());
        }
        self.links.push((name, binding.into()));
    }

    /// Makes the exit, or those of the routes, lead to the chain.
    fn lead_to(&mut self, first: &str, findings: &mut Findings<'_>) {
        let exclusive = |key: Vec<String>, findings: &mut Findings<'_>| {
            let message = format!("'exit' and '{}' are mutually exclusive", self.shorthand.key);
            findings.key(&key, message, Some("remove one of them".to_owned()));
        };
        if self.binding.get("exit").is_some() {
            exclusive(self.at(&["exit"]), findings);
        }
        let routes = self.binding.get("routes").and_then(Value::as_sequence);
        for (index, route) in routes.into_iter().flatten().enumerate() {
            if route.get("exit").is_some() {
                exclusive(self.at(&["routes", &index.to_string(), "exit"]), findings);
            }
        }
        let Some(members) = self.binding.as_mapping_mut() else {
            return;
        };
        match members.get_mut("routes").and_then(Value::as_sequence_mut) {
            Some(routes) => {
                for route in routes.iter_mut().filter_map(Value::as_mapping_mut) {
                    route.insert("exit".into(), first.into());
                }
            }
            None => {
                members.insert("exit".into(), first.into());
            }
        }
    }

    fn options(&mut self) -> Option<&mut Mapping> {
        self.binding.get_mut("options")?.as_mapping_mut()
    }

    fn option(&self, key: &str) -> Option<&Value> {
        self.binding.get("options")?.get(key)
    }

    fn remove_option(&mut self, key: &str) -> Option<Value> {
        self.options()?.shift_remove(key)
    }
}
