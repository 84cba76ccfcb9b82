//! Logs: to standard error, for people or as JSON.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::arguments::{LogForm, Logging};

/// Starts logging for the whole process.
pub(crate) fn start(logging: &Logging) -> Result<(), ParseError> {
    // The embedded broker's own chatter is of use to those who ask for it.
    let directives = format!("mqtt5=warn,{}", logging.level);
    let filter = EnvFilter::builder().parse(directives)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match logging.form {
        LogForm::Text => builder.with_target(false).init(),
        LogForm::Json => builder.json().init(),
    }
    Ok(())
}
