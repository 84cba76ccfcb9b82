//! Why a new request is not executed now.

use tidegate_engine::Context;

use crate::failure::{Executed, Failure, Reason, Status};
use crate::proxy::MqttMcp;
use crate::request::Envelope;

impl MqttMcp {
    /// Whether a new request may be executed. The clock of commands takes over the time of one that may: one that
    /// comes again is answered as before, whatever its time is.
    pub(crate) fn may_begin(
        &mut self,
        cx: &Context<'_>,
        envelope: &mut Envelope,
    ) -> Result<(), Failure> {
        if let Some(failure) = not_now(cx, envelope) {
            return Err(failure);
        }
        match &mut envelope.command {
            Some(command) => command.witness(&mut self.clock, cx),
            None => Ok(()),
        }
    }
}

/// Why a new request is not executed now.
pub(crate) fn not_now(cx: &Context<'_>, envelope: &Envelope) -> Option<Failure> {
    if envelope.deadline <= cx.now() {
        return Some(expired());
    }
    if cx.stopping() {
        return Some(stopping());
    }
    let why = cx.calls_refused()?;
    Some(Failure::rejected(Reason::Unavailable, why))
}

/// The failure of a request that has expired.
pub(crate) fn expired() -> Failure {
    Failure {
        executed: Executed::No,
        status: Status::TimedOut,
        ..Failure::timed_out("The request has expired.")
    }
}

/// The failure of requests during a shutdown.
pub(crate) fn stopping() -> Failure {
    let message = "The gateway is stopping; retry later.";
    Failure::rejected(Reason::Stopping, message)
}
