//! Where audited events go.

use tidegate_engine::{Emitted, Meter};

/// Takes the audited events of all workers, such as a writer of audit records.
///
/// It is called by the workers between two turns, so it must return at once: it copies what it needs
/// into a bounded queue that a thread of its own reads.
pub trait Export: Send + Sync {
    /// Its name in the config.
    fn name(&self) -> &str;

    /// Its own meters.
    fn report(&self, meter: &mut dyn Meter);

    /// An event of a binding.
    fn record(&self, worker: u16, binding: &str, event: &Emitted);

    /// A worker has dropped this number of events, because one turn had too many.
    fn lost(&self, events: u64);

    /// Why new calls must be refused now, if they must. Each worker asks before each turn.
    fn calls_refused(&self) -> Option<&'static str>;
}
