//! The section `telemetry.exporters`.

use serde::Deserialize;
use serde_yaml::Mapping;

use crate::section::Section;

/// Where exporters are declared.
pub(crate) const EXPORTERS: Section = Section {
    at: &["telemetry", "exporters"],
    member: "exporter",
    max: 16,
    about: "Exporters by name, each of a `type` with `options`.",
};

/// The section `telemetry`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTelemetry {
    /// Decoded one by one, according to their types.
    #[serde(default, rename = "exporters")]
    _exporters: Mapping,
}
