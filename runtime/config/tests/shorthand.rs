//! An option that stands for a chain of bindings: what it becomes, and where its faults are.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::io::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_config::{
    Chain, Config, Descriptor, Fault, Link, LoadError, MissingVariables, Protocol, Registry,
    Shorthand, expanded, load, schema,
};
use tidegate_options::{Condition, Options, RouteFault, RouteRule};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Client {
    username: Option<String>,
    password: Option<String>,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Crypt {
    trust: Option<String>,
    retries: u8,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Socket {
    #[serde(deserialize_with = "host")]
    host: String,
}

fn host<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let host = String::deserialize(deserializer)?;
    if host.is_empty() {
        return Err(serde::de::Error::custom("the host is empty"));
    }
    Ok(host)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read from the text")]
struct When {
    publish: String,
}

impl Condition for When {
    const SAME_EXIT: bool = true;

    fn check(_: &[RouteRule<Self>]) -> Vec<RouteFault> {
        Vec::new()
    }
}

impl Options for Nothing {}
impl Options for Client {}
impl Options for Crypt {}
impl Options for Socket {}

fn stand_in() -> Link {
    Link {
        r#type: "tcp",
        options: vec![("host", "localhost".into())],
        defaults: Vec::new(),
    }
}

/// `crypt:HOST` or `plain:HOST`, with `USER:PASSWORD@` in front of the host.
fn expand(text: &str) -> Result<Chain, String> {
    let (scheme, rest) = text.split_once(':').ok_or("no scheme")?;
    let mut chain = Chain {
        secrets: &["password"],
        ..Chain::default()
    };
    let host = match rest.split_once('@') {
        Some((user, host)) => {
            let (user, password) = user.split_once(':').ok_or("no password")?;
            chain.options.push(("username", user.to_owned()));
            chain.options.push(("password", password.to_owned()));
            host
        }
        None => rest,
    };
    if scheme == "crypt" {
        let options = Vec::new();
        chain.links.push(Link {
            r#type: "tls",
            options,
            defaults: Vec::new(),
        });
    }
    chain.links.push(Link {
        r#type: "tcp",
        options: vec![("host", host.into())],
        defaults: Vec::new(),
    });
    Ok(chain)
}

fn registry() -> Registry<()> {
    Registry::new(vec![
        Descriptor::of::<Nothing>("entry", "server", "").exit(Protocol::Mqtt),
        Descriptor::of::<Client>("mqtt", "client", "")
            .accepts(&[Protocol::Mqtt])
            .exit(Protocol::Bytes)
            .routes::<When>()
            .shorthands(&[Shorthand {
                key: "url",
                about: "Where it is.",
                links: &["tls"],
                expand,
                stand_in,
            }]),
        Descriptor::of::<Crypt>("tls", "client", "")
            .accepts(&[Protocol::Bytes])
            .exit(Protocol::Bytes),
        Descriptor::of::<Socket>("tcp", "client", "").accepts(&[Protocol::Bytes]),
    ])
}

fn text(client: &str) -> String {
    format!(
        "name: test\nbindings:\n  entry0: {{ type: entry, kind: server, exit: mqtt0 }}\n  mqtt0:\n    type: mqtt\n    \
         kind: client\n{client}"
    )
}

fn environment(name: &str) -> Option<String> {
    match name {
        "URL" => Some("crypt:gate:secret@host".to_owned()),
        "SEVEN" => Some("7".to_owned()),
        "BAD" => Some("secret".to_owned()),
        _ => None,
    }
}

fn read(client: &str) -> Config {
    let loaded = load("test.yaml", &text(client), &registry(), &environment);
    loaded.unwrap_or_else(|faults| panic!("{faults}"))
}

fn faults(client: &str) -> Vec<String> {
    let loaded = load("test.yaml", &text(client), &registry(), &environment);
    let faults = loaded.expect_err("faults");
    faults.iter().map(Fault::with_help).collect()
}

#[test]
fn a_url_becomes_the_bindings_behind_the_client() {
    let config = read("    options: { url: \"crypt:host\", tls: { trust: ca.crt } }\n");
    let names: Vec<&str> = config.bindings.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["entry0", "mqtt0", "mqtt0_tls", "mqtt0_tcp"]);
    let exits: Vec<_> = config
        .bindings
        .iter()
        .map(|it| it.targets().next())
        .collect();
    assert_eq!(exits, [Some(1), Some(2), Some(3), None]);
    let crypt: Crypt = config.bindings[2].options().expect("its options");
    assert_eq!(crypt.trust.as_deref(), Some("ca.crt"));
    let socket: Socket = config.bindings[3].options().expect("its options");
    assert_eq!(socket.host, "host");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn credentials_of_a_url_are_options_of_the_client() {
    let config = read("    options: { url: \"${{env.URL}}\" }\n");
    let client: Client = config.bindings[1].options().expect("its options");
    assert_eq!(client.username.as_deref(), Some("gate"));
    assert_eq!(client.password.as_deref(), Some("secret"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let config = read("    options: { url: \"plain:gate:secret@host\" }\n");
    let warnings: Vec<String> = config.warnings.iter().map(Fault::with_help).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0]
            .starts_with("test.yaml:7:21: bindings.mqtt0.options.url: the url contains a secret")
    );
    assert!(!warnings[0].contains("gate:secret"), "{warnings:?}");
}

#[test]
fn routes_may_lead_to_what_a_url_stands_for() {
    let config = read(
        "    options: { url: \"plain:host\" }\n    routes: [ { when: [ { publish: a } ] } ]\n",
    );
    assert_eq!(config.bindings[1].routes[0].exit, 2);
}

#[test]
fn expressions_beside_a_url_keep_their_meaning() {
    let config =
        read("    options: { url: \"crypt:host\", tls: { retries: \"${{env.SEVEN}}\" } }\n");
    let crypt: Crypt = config.bindings[2].options().expect("its options");
    assert_eq!(crypt.retries, 7);
    let found =
        faults("    options: { url: \"crypt:host\", tls: { retries: \"${{env.BAD}}\" } }\n");
    assert_eq!(found.len(), 1);
    assert!(!found[0].contains("secret"), "{found:?}");
}

#[test]
fn faults_are_reported_where_they_are_written() {
    for (client, expected) in [
        (
            "    options: { url: host }\n",
            "test.yaml:7:21: bindings.mqtt0.options.url: no scheme",
        ),
        (
            "    options: { url: \"plain:host\" }\n    exit: mqtt0\n",
            "test.yaml:8:5: bindings.mqtt0.exit: 'exit' and 'url' are mutually exclusive; remove one of them",
        ),
        (
            "    options: { url: \"plain:host\" }\n    routes: [ { exit: mqtt0 } ]\n",
            "test.yaml:8:17: bindings.mqtt0.routes.0.exit: 'exit' and 'url' are mutually exclusive; remove one of them",
        ),
        (
            "    options: { url: \"plain:a:b@host\", username: c }\n",
            "test.yaml:7:39: bindings.mqtt0.options.username: 'username' is also in 'url'; remove one of them",
        ),
        (
            "    options:\n      url: \"plain:host\"\n      tls: { trust: a }\n",
            "test.yaml:9:7: bindings.mqtt0.options.tls: 'tls' has no effect: there is no tls · client in this url; remove it, \
             or use a URL with another scheme",
        ),
        (
            "    options:\n      url: \"crypt:host\"\n      tls:\n        trusts: a\n",
            "test.yaml:10:9: bindings.mqtt0.options.tls.trusts: unknown key 'trusts'; did you mean 'trust'? Valid: trust, retries",
        ),
        (
            "    options: { url: \"plain:\" }\n",
            "test.yaml:7:21: bindings.mqtt0.options.url: the host is empty",
        ),
        (
            "    options: { url: \"crypt:host\", tls: 7 }\n",
            "test.yaml:7:40: bindings.mqtt0.options.tls: must be a mapping of keys to values",
        ),
        (
            "    options: { url: \"plain:host\" }\n  mqtt0_tcp: { type: tcp, kind: client, options: { host: a } }\n",
            "test.yaml:8:3: bindings.mqtt0_tcp: the name 'mqtt0_tcp' is that of a binding that 'url' of 'mqtt0' stands for; use another name",
        ),
    ] {
        let found = faults(client);
        assert!(
            found.iter().any(|fault| fault == expected),
            "{expected}\n{found:#?}"
        );
    }
    assert_eq!(faults("    options: { url: host }\n").len(), 1);
}

#[test]
fn a_client_without_a_url_still_needs_an_exit() {
    let found = faults("    options: {}\n");
    assert!(
        found.iter().any(|it| it.contains("missing key 'exit'")),
        "{found:?}"
    );
    // `tls` belongs to a URL.
    let found = faults("    options: { tls: {} }\n    exit: mqtt0\n");
    assert!(
        found.iter().any(|it| it.contains("unknown key 'tls'")),
        "{found:?}"
    );
}

fn written_out(client: &str, missing: MissingVariables) -> Result<String, LoadError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text(client).as_bytes()).expect("a file");
    expanded(file.path(), &registry(), &environment, missing)
}

#[test]
fn a_config_is_written_out_without_its_secrets() {
    let client =
        "    options:\n      url: \"${{env.URL}}\"\n      tls: { trust: \"${{env.SEVEN}}\" }\n";
    let yaml = written_out(client, MissingVariables::Refused).expect("a valid config");
    assert_eq!(
        yaml,
        "name: test
bindings:
  entry0:
    type: entry
    kind: server
    exit: mqtt0
  mqtt0:
    type: mqtt
    kind: client
    options:
      username: gate
      password: ${{env.MQTT_PASSWORD}}
    exit: mqtt0_tls
  mqtt0_tls:
    type: tls
    kind: client
    options:
      trust: ${{env.SEVEN}}
    exit: mqtt0_tcp
  mqtt0_tcp:
    type: tcp
    kind: client
    options:
      host: host
"
    );
    let environment =
        |name: &str| (name == "MQTT_PASSWORD" || name == "SEVEN").then(|| "7".to_owned());
    load("again.yaml", &yaml, &registry(), &environment).expect("it is valid again");
}

#[test]
fn an_unset_url_is_a_warning_where_that_is_allowed() {
    let client = "    options: { url: \"${{env.UNSET}}\" }\n";
    assert!(written_out(client, MissingVariables::Refused).is_err());
    let yaml = written_out(client, MissingVariables::Allowed).expect("allowed");
    assert!(yaml.contains("mqtt0_tcp"), "{yaml}");
}

#[test]
fn the_schema_knows_the_url_and_what_belongs_to_it() {
    let schema = schema(&registry());
    let kinds = schema.pointer("/properties/bindings/additionalProperties/oneOf");
    let client = &kinds.expect("kinds")[1];
    let reference = client
        .pointer("/properties/options/$ref")
        .and_then(|it| it.as_str());
    let name = reference
        .and_then(|it| it.rsplit('/').next())
        .expect("a definition");
    let properties = &schema["$defs"][name]["properties"];
    assert_eq!(properties["url"]["description"], "Where it is.");
    assert!(properties["tls"]["allOf"].is_array(), "{properties}");
    assert!(
        client["anyOf"]
            .as_array()
            .is_some_and(|exits| exits.len() == 3)
    );
}
