//! The reference in Markdown: what it says of kinds, exits, routes, types, bounds and defaults.
#![allow(clippy::expect_used, reason = "tests")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_config::{Descriptor, Protocol, Registry, example, load, reference};
use tidegate_options::{Bounded, Condition, RouteFault, RouteRule};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Options {
    /// Time to wait, in
    /// milliseconds.
    wait: Bounded<1, 600_000>,
    /// Largest message, in bytes.
    max_size: u64,
    /// Either `a` | `b`.
    words: Option<Vec<String>>,
    /// Whether it is on.
    on: bool,
    /// How it tries again.
    retry: Retry,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Retry {
    /// How often.
    times: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wait: Bounded::of(5_000),
            max_size: 65_536,
            words: None,
            on: false,
            retry: Retry::default(),
        }
    }
}

impl tidegate_options::Options for Options {}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read from the text")]
struct Peer {
    /// Where it is.
    #[schemars(example = &"host:1")]
    place: String,
}

impl tidegate_options::Options for Peer {}

impl Condition for Peer {
    fn check(_: &[RouteRule<Self>]) -> Vec<RouteFault> {
        Vec::new()
    }
}

fn registry() -> Registry<()> {
    Registry::new(vec![
        Descriptor::of::<Options>("fork", "server", "Two ways.")
            .exits(&[("in", Protocol::Http), ("out", Protocol::Mcp)]),
        Descriptor::of::<Options>("gate", "proxy", "A gate.")
            .accepts(&[Protocol::Http])
            .exit(Protocol::Mcp)
            .routes::<Peer>(),
        Descriptor::of::<Peer>("end", "client", "The end.").accepts(&[Protocol::Mcp]),
    ])
}

#[test]
fn it_says_what_the_schema_and_the_registry_say() {
    let reference = reference(&registry());
    for expected in [
        "### fork · server\n\nTwo ways. It opens http streams to its exit `in` and mcp streams \
         to its exit `out`.\n",
        "  exits:\n    in: gate0\n    out: end_client0\n",
        "A gate. It accepts http streams and opens mcp streams to its `exit` or `routes`.\n",
        "  routes:\n    - when: [{ place: \"host:1\" }]\n      exit: end_client0\n",
        "The end. It accepts mcp streams.\n",
        "| `wait` | integer, 1 to 600000 | `5000` (5 s) | Time to wait, in milliseconds. |\n",
        "| `maxSize` | integer, at least 0 | `65536` (64 KiB) | Largest message, in bytes. |\n",
        "| `words` | list of strings | none | Either `a` \\| `b`. |\n",
        "| `on` | true or false | `false` | Whether it is on. |\n",
        "| `retry` | mapping |  | How it tries again. |\n",
        "| `retry.times` | integer, 0 to 255 | `0` | How often. |\n",
        "| `place` | string | required | Where it is. |\n",
    ] {
        assert!(
            reference.contains(expected),
            "{expected}\n\nis not in\n\n{reference}"
        );
    }
}

#[test]
fn its_examples_are_one_valid_config() {
    let example = example(&registry());
    let config = load("example.yaml", &example, &registry(), &|_| None);
    let config = config.unwrap_or_else(|faults| panic!("{example}\n{faults}"));
    assert_eq!(config.bindings.len(), 3);
}
