//! The states of an exchange.

use bytestring::ByteString;

use crate::approve::Approval;
use crate::control::Control;
use crate::params::Call;
use crate::requests::RequestKey;
use crate::sensor::Sensor;
use crate::status::StatusWait;

/// The state of an exchange.
#[derive(Debug)]
pub(crate) enum State {
    /// Receiving the `params` of a call.
    Params(Call),
    /// Waiting for a value of a device.
    Status(StatusWait),
    /// A person is asked to approve a command.
    Approval(Box<Approval>),
    /// A command was sent. Boxed: much larger than the other states.
    Control(Box<Control>),
    /// Waiting for the answer of the first call with the same `requestId`.
    Follow(RequestKey),
    /// Collecting readings.
    Sensor(Box<Sensor>),
    /// Following a device as a resource, under this URI.
    Subscribe(ByteString),
    /// A session with this identifier.
    Session(ByteString),
    /// The subscription or session is ending.
    Closing,
    /// Answered or refused; the streams are still to end.
    Answered,
}
