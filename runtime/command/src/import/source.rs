//! The config of mcpMQTT, read as mcpMQTT reads it: unknown keys are ignored, and numbers may be texts.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use tidegate_streams::is_deceptive;

use super::number::whole;

/// Most unknown keys that are named.
const UNKNOWN_MAX: usize = 20;

/// The config.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) mqtt: Mqtt,
    pub(super) topics: Vec<Topic>,
    pub(super) logging: Logging,
    pub(super) remote: Option<Remote>,
    /// Keys that mean nothing, as paths.
    pub(super) unknown: Vec<String>,
}

/// The broker.
#[derive(Debug)]
pub(super) struct Mqtt {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// In seconds.
    pub(super) keepalive: i128,
}

/// Topics and what may be done with them.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) pattern: String,
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) description: Option<String>,
}

/// Logging.
#[derive(Debug)]
pub(super) struct Logging {
    level: String,
    file: Option<String>,
}

/// The HTTP server.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) key: Key,
    pub(super) uds: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// The key of the HTTP server.
#[derive(Debug)]
pub(super) enum Key {
    /// `api_key_kdf`
    Hashed(Kdf),
    /// `api_key`
    Text(String),
}

/// The hash of a key and its parameters.
#[derive(Debug)]
pub(super) struct Kdf {
    pub(super) salt: String,
    pub(super) hash: String,
    pub(super) time_cost: i128,
    pub(super) memory_cost: i128,
    pub(super) parallelism: i128,
    pub(super) hash_len: i128,
}

impl Logging {
    /// The options of `tidegate start`.
    pub(super) fn options(&self) -> String {
        let level = match self.level.as_str() {
            "DEBUG" => " --log-level debug",
            "WARNING" => " --log-level warn",
            "ERROR" | "CRITICAL" => " --log-level error",
            _ => "",
        };
        let file = self.file.as_deref().filter(|file| !file.is_empty());
        let file = file.map(|file| format!(" --log-file {}", shell(file)));
        format!("{level}{}", file.unwrap_or_default())
    }
}

/// A word of a shell. Line breaks are shown as escapes.
fn shell(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let escaped: String = text
        .chars()
        .flat_map(|character| {
            let escaped: Vec<char> = match character {
                '\'' => "'\\''".chars().collect(),
                // Some of them end a line of YAML as well.
                other if is_deceptive(other) => other.escape_default().collect(),
                other => vec![other],
            };
            escaped
        })
        .collect();
    format!("'{escaped}'")
}

/// Reads values, and collects what is wrong with them.
#[derive(Default)]
struct Reader {
    faults: Vec<String>,
    unknown: Vec<String>,
}

impl Source {
    /// Reads a config. The errors are all faults, with their paths.
    pub(super) fn read(json: &Value) -> Result<Self, Vec<String>> {
        let mut reader = Reader::default();
        let empty = Map::new();
        let top = reader.object("", json).unwrap_or(&empty);
        let keys = ["mqtt", "topics", "logging", "remote_server"];
        reader.known("", top, &keys);
        let section = |name: &str, reader: &mut Reader| -> Map<String, Value> {
            let value = top.get(name);
            let object = value.and_then(|value| reader.object(name, value));
            object.cloned().unwrap_or_default()
        };
        let mqtt = section("mqtt", &mut reader);
        let logging = section("logging", &mut reader);
        let source = Self {
            mqtt: reader.mqtt(&mqtt),
            topics: reader.topics(top.get("topics")),
            logging: reader.logging(&logging),
            remote: match top.get("remote_server") {
                None | Some(Value::Null) => None,
                Some(value) => {
                    let remote = reader.object("remote_server", value).cloned();
                    remote.and_then(|remote| reader.remote(&remote))
                }
            },
            unknown: std::mem::take(&mut reader.unknown),
        };
        if reader.faults.is_empty() {
            Ok(source)
        } else {
            Err(reader.faults)
        }
    }
}

impl Reader {
    fn fault(&mut self, path: &str, what: impl Display) {
        let path = if path.is_empty() { "the config" } else { path };
        self.faults.push(format!("{path}: {what}"));
    }

    fn known(&mut self, path: &str, object: &Map<String, Value>, known: &[&str]) {
        let unknown = object.keys().filter(|key| !known.contains(&key.as_str()));
        let dot = if path.is_empty() { "" } else { "." };
        let unknown = unknown.map(|key| format!("{path}{dot}{key}"));
        let room = UNKNOWN_MAX.saturating_sub(self.unknown.len());
        self.unknown.extend(unknown.take(room));
    }

    fn object<'v>(&mut self, path: &str, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.fault(path, "must be an object");
        }
        object
    }

    fn text(&mut self, object: &Map<String, Value>, (path, key): (&str, &str)) -> Option<String> {
        match object.get(key) {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.fault(&format!("{path}.{key}"), "must be a string");
                None
            }
        }
    }

    /// A text that may be null.
    fn text_or_null(&mut self, object: &Map<String, Value>, place: (&str, &str)) -> Option<String> {
        match object.get(place.1) {
            Some(Value::Null) => None,
            _ => self.text(object, place),
        }
    }

    /// A whole number from `min` on.
    fn number(
        &mut self,
        object: &Map<String, Value>,
        (path, key): (&str, &str),
        min: i128,
    ) -> Option<i128> {
        let number = whole(object.get(key)?);
        if number.is_none_or(|number| number < min) {
            let what = format!("must be a whole number of at least {min}");
            self.fault(&format!("{path}.{key}"), what);
        }
        number
    }

    fn port(&mut self, object: &Map<String, Value>, (path, key): (&str, &str)) -> Option<u16> {
        let port = whole(object.get(key)?).and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port > 0);
        if port.is_none() {
            self.fault(&format!("{path}.{key}"), "must be a port, 1 to 65535");
        }
        port
    }

    fn mqtt(&mut self, mqtt: &Map<String, Value>) -> Mqtt {
        let known = ["host", "port", "username", "password", "keepalive"];
        self.known("mqtt", mqtt, &known);
        Mqtt {
            host: self
                .text(mqtt, ("mqtt", "host"))
                .unwrap_or_else(|| "localhost".to_owned()),
            port: self.port(mqtt, ("mqtt", "port")).unwrap_or(1883),
            username: self.text_or_null(mqtt, ("mqtt", "username")),
            password: self.text_or_null(mqtt, ("mqtt", "password")),
            keepalive: self.number(mqtt, ("mqtt", "keepalive"), 1).unwrap_or(60),
        }
    }

    fn topics(&mut self, topics: Option<&Value>) -> Vec<Topic> {
        let list = match topics {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.fault("topics", "must be a list");
                return Vec::new();
            }
        };
        let topics = list.iter().enumerate();
        let topics = topics.filter_map(|(index, topic)| {
            let path = format!("topics.{index}");
            let topic = self.object(&path, topic)?;
            self.topic(&path, topic)
        });
        topics.collect()
    }

    fn topic(&mut self, path: &str, topic: &Map<String, Value>) -> Option<Topic> {
        self.known(path, topic, &["pattern", "permissions", "description"]);
        let pattern = self.text(topic, (path, "pattern"));
        if pattern.is_none() && !topic.contains_key("pattern") {
            self.fault(path, "'pattern' is missing");
        }
        if let Some(why) = pattern.as_deref().and_then(pattern_fault) {
            self.fault(&format!("{path}.pattern"), why);
        }
        let words = topic.get("permissions").and_then(Value::as_array);
        let words: Vec<&str> = words
            .into_iter()
            .flatten()
            .map(|word| word.as_str().unwrap_or_default())
            .collect();
        if words.is_empty() || words.iter().any(|word| !matches!(*word, "read" | "write")) {
            let what = "must be a list of 'read' and 'write' with at least one of them";
            self.fault(&format!("{path}.permissions"), what);
        }
        Some(Topic {
            pattern: pattern?,
            read: words.contains(&"read"),
            write: words.contains(&"write"),
            description: self.text_or_null(topic, (path, "description")),
        })
    }

    fn logging(&mut self, logging: &Map<String, Value>) -> Logging {
        self.known("logging", logging, &["level", "logfile"]);
        let level = self.text(logging, ("logging", "level"));
        let level = level.unwrap_or_else(|| "INFO".to_owned());
        if !["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"].contains(&level.as_str()) {
            let what = "must be DEBUG, INFO, WARNING, ERROR or CRITICAL";
            self.fault("logging.level", what);
        }
        Logging {
            level,
            file: self.text_or_null(logging, ("logging", "logfile")),
        }
    }

    fn remote(&mut self, remote: &Map<String, Value>) -> Option<Remote> {
        const PATH: &str = "remote_server";
        let known = ["api_key_kdf", "api_key", "uds", "host", "port"];
        self.known(PATH, remote, &known);
        let hashed = match remote.get("api_key_kdf") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let kdf = self.object("remote_server.api_key_kdf", value).cloned();
                Some(kdf.and_then(|kdf| self.kdf(&kdf)))
            }
        };
        let text = self.text_or_null(remote, (PATH, "api_key"));
        let key = match (hashed, text) {
            (Some(kdf), _) => kdf.map(Key::Hashed),
            (None, Some(text)) if text.is_empty() => {
                self.fault("remote_server.api_key", "must not be empty");
                None
            }
            (None, Some(text)) => Some(Key::Text(text)),
            (None, None) => {
                self.fault(PATH, "has no key; add api_key_kdf or api_key");
                None
            }
        };
        let uds = self.text(remote, (PATH, "uds"));
        let uds = uds.unwrap_or_else(|| "/var/run/mcpmqtt.sock".to_owned());
        if uds.is_empty() {
            self.fault("remote_server.uds", "must not be empty");
        }
        let host = self.text_or_null(remote, (PATH, "host"));
        let port = match remote.get("port") {
            None | Some(Value::Null) => None,
            Some(_) => self.port(remote, (PATH, "port")),
        };
        Some(Remote {
            key: key?,
            uds,
            host: host
                .filter(|host| !host.is_empty())
                .unwrap_or_else(|| "0.0.0.0".to_owned()),
            port,
        })
    }

    fn kdf(&mut self, kdf: &Map<String, Value>) -> Option<Kdf> {
        const PATH: &str = "remote_server.api_key_kdf";
        let costs = ["time_cost", "memory_cost", "parallelism", "hash_len"];
        let known = [&["algorithm", "salt", "hash"][..], &costs].concat();
        self.known(PATH, kdf, &known);
        let algorithm = self.text(kdf, (PATH, "algorithm"));
        if algorithm.is_some_and(|algorithm| algorithm != "argon2id") {
            self.fault(&format!("{PATH}.algorithm"), "must be argon2id");
        }
        let mut bytes = |key: &str| {
            let text = self.text(kdf, (PATH, key));
            let decoded = text.as_deref().map(|text| STANDARD.decode(text));
            if !matches!(decoded, Some(Ok(_))) {
                self.fault(&format!("{PATH}.{key}"), "must be base64 with padding");
            }
            text
        };
        let (salt, hash) = (bytes("salt"), bytes("hash"));
        Some(Kdf {
            time_cost: self.number(kdf, (PATH, "time_cost"), 1).unwrap_or(3),
            memory_cost: self.number(kdf, (PATH, "memory_cost"), 8).unwrap_or(65_536),
            parallelism: self.number(kdf, (PATH, "parallelism"), 1).unwrap_or(1),
            hash_len: self.number(kdf, (PATH, "hash_len"), 16).unwrap_or(32),
            salt: salt?,
            hash: hash?,
        })
    }
}

/// What mcpMQTT refuses in a pattern.
fn pattern_fault(pattern: &str) -> Option<&'static str> {
    if pattern.is_empty() {
        return Some("must not be empty");
    }
    if pattern.contains(['\0', '\n', '\r']) {
        return Some("must not contain NUL or line breaks");
    }
    let levels: Vec<&str> = pattern.split('/').collect();
    let wildcard = |level: &&str| level.len() > 1 && level.contains(['+', '#']);
    if levels.iter().any(wildcard) {
        return Some("a wildcard must be a whole level");
    }
    let before_last = levels.split_last().map_or(&[][..], |(_, before)| before);
    before_last
        .contains(&"#")
        .then_some("'#' must be the last level")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_mcpmqtt_refuses_is_refused_with_its_path() {
        for (config, fault) in [
            (json!([]), "the config: must be an object"),
            (json!({"mqtt": null}), "mqtt: must be an object"),
            (json!({"mqtt": {"port": 0}}), "mqtt.port: must be a port"),
            (json!({"mqtt": {"port": "x"}}), "mqtt.port: must be a port"),
            (json!({"mqtt": {"host": 1}}), "mqtt.host: must be a string"),
            (
                json!({"mqtt": {"keepalive": 0}}),
                "mqtt.keepalive: must be a whole",
            ),
            (json!({"topics": {}}), "topics: must be a list"),
            (
                json!({"topics": [{"permissions": ["read"]}]}),
                "topics.0: 'pattern' is missing",
            ),
            (
                json!({"topics": [{"pattern": "a"}]}),
                "topics.0.permissions: must be",
            ),
            (
                json!({"topics": [{"pattern": "a", "permissions": ["all"]}]}),
                "topics.0.permissions",
            ),
            (
                json!({"topics": [{"pattern": "a+", "permissions": ["read"]}]}),
                "topics.0.pattern",
            ),
            (
                json!({"topics": [{"pattern": "#/a", "permissions": ["read"]}]}),
                "'#' must be the last",
            ),
            (
                json!({"logging": {"level": "info"}}),
                "logging.level: must be DEBUG",
            ),
            (json!({"remote_server": {}}), "remote_server: has no key"),
            (
                json!({"remote_server": {"api_key": ""}}),
                "remote_server.api_key: must not be empty",
            ),
            (
                json!({"remote_server": {"api_key": "k", "port": 99_999}}),
                "remote_server.port",
            ),
            (
                json!({"remote_server": {"api_key_kdf": {"salt": "%", "hash": "AAAA"}}}),
                "api_key_kdf.salt",
            ),
        ] {
            let faults = Source::read(&config).expect_err("refused");
            assert!(
                faults.iter().any(|found| found.contains(fault)),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn the_log_options_are_those_of_the_config() {
        for (logging, options) in [
            (json!({}), ""),
            (json!({"level": "INFO", "logfile": null}), ""),
            (json!({"level": "CRITICAL"}), " --log-level error"),
            (
                json!({"level": "DEBUG", "logfile": "/var/log/my log.txt"}),
                " --log-level debug --log-file '/var/log/my log.txt'",
            ),
            (json!({"logfile": "a'b\n"}), r" --log-file 'a'\''b\n'"),
        ] {
            let source = Source::read(&json!({"logging": logging})).expect("valid");
            assert_eq!(source.logging.options(), options);
        }
    }
}
