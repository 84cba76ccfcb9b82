//! Log levels: a default level, and levels by module.

use std::str::FromStr;

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Crates that log; a level for any other module is rejected as a typo.
const CRATES: [&str; 17] = [
    "hyper_util",
    "mqtt5",
    "mqtt5_protocol",
    "tidegate",
    "tidegate_audit",
    "tidegate_binding_admin",
    "tidegate_binding_http",
    "tidegate_binding_http_client",
    "tidegate_binding_mcp",
    "tidegate_binding_mqtt",
    "tidegate_binding_stdio",
    "tidegate_binding_tcp",
    "tidegate_binding_tls",
    "tidegate_broker",
    "tidegate_driver",
    "tidegate_engine",
    "tidegate_guard_fetch",
];

/// Log levels in the syntax of the command line: `info,tidegate_binding_mqtt=debug`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogLevels(Targets);

impl LogLevels {
    /// Enables the events of `--log-calls`, regardless of the other levels.
    pub(crate) fn with_calls(self) -> Self {
        Self(self.0.with_target(tidegate_driver::CALLS, Level::INFO))
    }

    pub(crate) fn into_targets(self) -> Targets {
        self.0
    }
}

impl FromStr for LogLevels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The library of the embedded broker is verbose at info.
        let mut targets = Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("mqtt5", LevelFilter::WARN)
            .with_target(tidegate_driver::CALLS, LevelFilter::OFF);
        for directive in text.split(',').map(str::trim) {
            targets = match directive.split_once('=') {
                None => targets.with_default(level(directive)?),
                Some((module, of)) => targets.with_target(known(module.trim())?, level(of.trim())?),
            };
        }
        Ok(Self(targets))
    }
}

fn level(text: &str) -> Result<LevelFilter, String> {
    let found = LEVELS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, level)| *level).ok_or_else(|| {
        format!("unknown log level '{text}'; valid: off, error, warn, info, debug, trace")
    })
}

/// Checks that the crate of a module path is one of [`CRATES`].
fn known(module: &str) -> Result<&str, String> {
    let name = module.split("::").next().unwrap_or_default();
    if CRATES.contains(&name) {
        return Ok(module);
    }
    let crates = CRATES.join(", ");
    Err(format!("unknown module '{module}'; valid crates: {crates}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled(levels: &str, module: &str) -> Option<Level> {
        let levels: LogLevels = levels.parse().expect("levels");
        let targets = levels.into_targets();
        let all = [
            Level::TRACE,
            Level::DEBUG,
            Level::INFO,
            Level::WARN,
            Level::ERROR,
        ];
        all.into_iter()
            .find(|level| targets.would_enable(module, level))
    }

    #[test]
    fn a_default_level_and_levels_by_module() {
        assert_eq!(enabled("debug", "tidegate_engine"), Some(Level::DEBUG));
        assert_eq!(enabled("WARN", "tidegate_engine"), Some(Level::WARN));
        assert_eq!(enabled("off", "tidegate_engine"), None);
        let levels = "warn, tidegate_binding_mqtt::client=debug,mqtt5=trace";
        let client = "tidegate_binding_mqtt::client::link";
        assert_eq!(enabled(levels, client), Some(Level::DEBUG));
        assert_eq!(enabled(levels, "tidegate_engine"), Some(Level::WARN));
        assert_eq!(enabled(levels, "mqtt5::broker"), Some(Level::TRACE));
        assert_eq!(enabled("debug", "mqtt5::broker"), Some(Level::WARN));
    }

    #[test]
    fn a_module_level_keeps_the_default_of_other_modules() {
        let levels = "tidegate_binding_mqtt=debug";
        assert_eq!(enabled(levels, "tidegate_engine"), Some(Level::INFO));
    }

    #[test]
    fn unknown_levels_and_modules_are_rejected_with_the_valid_ones() {
        let rejected = |text: &str| text.parse::<LogLevels>().expect_err("invalid");
        let levels = "valid: off, error, warn, info, debug, trace";
        for level in ["verbose", "", "info,", "tidegate=loud", "5"] {
            assert!(rejected(level).ends_with(levels), "{level}");
        }
        let module = rejected("info,tidegate_bindings_mqtt=debug");
        assert!(
            module.starts_with("unknown module 'tidegate_bindings_mqtt'; valid crates: "),
            "{module}"
        );
        rejected("tidegate[span]=debug");
    }

    #[test]
    fn calls_are_logged_at_any_level() {
        let levels: LogLevels = "error".parse().expect("a level");
        let targets = levels.with_calls().into_targets();
        assert!(targets.would_enable(tidegate_driver::CALLS, &Level::INFO));
        assert_eq!(
            enabled("trace", tidegate_driver::CALLS),
            None,
            "off by default"
        );
        assert!(!targets.would_enable("tidegate_engine", &Level::INFO));
    }
}
