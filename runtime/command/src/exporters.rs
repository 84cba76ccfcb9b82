//! The exporters of a gateway: started before its workers, and stopped after them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_audit::{Audit, Started};
use tidegate_config::{Config, MemberType};
use tidegate_driver::{Assembly, Export};

use crate::failure::Failure;

/// How long a stop waits for each exporter to write what is queued.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The type `audit`.
pub(crate) fn audit() -> MemberType {
    MemberType::of::<tidegate_audit::Options>(
        "audit",
        "Writes one line of JSON for each call, refusal, session and start of the gateway, to a file \
         whose lines are chained by their hashes. `tidegate audit verify` checks the chain.",
    )
}

/// The running exporters.
#[derive(Clone, Default)]
pub(crate) struct Exporters(Vec<Arc<Audit>>);

impl Exporters {
    /// Starts the exporters of a config.
    pub(crate) fn start(config: &Config, workers: u16) -> Result<Self, Failure> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at = u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
        let started = Started {
            config: &config.name,
            text: &config.text,
            workers,
            at,
        };
        let mut exporters = Self::default();
        for exporter in &config.exporters {
            match exporter.r#type.as_str() {
                "audit" => {
                    let options = exporter
                        .options()
                        .map_err(tidegate_config::LoadError::Faults)?;
                    let audit = Audit::start(&exporter.name, &options, &started)?;
                    exporters.0.push(audit);
                }
                other => return Err(Failure::ExporterType(other.to_owned())),
            }
        }
        Ok(exporters)
    }

    /// Passes the audited events of a worker to them.
    pub(crate) fn attach(&self, assembly: &Assembly) {
        for exporter in &self.0 {
            assembly.export_to(Arc::clone(exporter) as Arc<dyn Export>);
        }
    }

    /// Writes what is queued, and seals the files. Waits for a bounded time.
    pub(crate) fn stop(&self) {
        for exporter in &self.0 {
            if !exporter.stop(STOP_TIMEOUT) {
                let exporter = exporter.name();
                tracing::error!(
                    exporter,
                    "the audit file was not sealed in time; records may be missing at its end"
                );
            }
        }
    }
}
