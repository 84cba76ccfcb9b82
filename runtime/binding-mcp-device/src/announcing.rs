//! Announcements in the binding: devices that declare themselves come, change and go.

use tidegate_device::Device;
use tidegate_engine::{Context, Duration};

use crate::declared::Lowered;
use crate::feed::{FEED, FeedMessage};
use crate::operation::{AnnouncementIgnored, RuleIgnored};
use crate::proxy::McpDevice;
use crate::registry::DeviceId;
use crate::result::Answer;
use crate::sensor::Ended;
use crate::state::State;

/// The kind of the timer before the values of declared devices are subscribed to again.
pub(crate) const RENEW: u32 = 4;
/// Devices that are declared within this time are subscribed to together.
const RENEW_AFTER: Duration = Duration::from_secs(1);
/// Shortest time between two subscriptions: each makes the broker send all retained values again.
const RENEW_EVERY: Duration = Duration::from_secs(10);

impl McpDevice {
    /// Takes a message if it is an announcement.
    pub(crate) fn take_announcement(&mut self, cx: &mut Context<'_>, message: &FeedMessage) {
        let Some(declared) = &mut self.declared else {
            return;
        };
        let change = match declared.take(&message.topic, &message.payload) {
            None => return,
            Some(Ok(change)) => change,
            Some(Err(fault)) => {
                cx.event(&AnnouncementIgnored {
                    topic: (&*tidegate_streams::shown(&message.topic)).into(),
                    reason: fault.to_string().into(),
                });
                return;
            }
        };
        if change.is_empty() {
            return;
        }
        for id in &change.removed {
            self.withdraw(cx, id);
        }
        for device in change.declared {
            self.declare(cx, device);
        }
        self.announce_change(cx);
    }

    /// Subscribes to the values of declared devices again.
    pub(crate) fn renew_values(&mut self, cx: &mut Context<'_>) {
        self.renewal = None;
        self.renewed = Some(cx.now());
        self.values.renew(cx);
    }

    /// Adds a device, in place of an earlier one with its id.
    fn declare(&mut self, cx: &mut Context<'_>, device: Device) {
        self.withdraw(cx, &device.id);
        let Some(declared) = &mut self.declared else {
            return;
        };
        let Lowered { model, faults } = declared.lower(device);
        for (command, why) in faults {
            cx.event(&RuleIgnored {
                device: model.device.id.as_str().into(),
                command: (&*tidegate_streams::shown(&command)).into(),
                reason: why.into(),
            });
        }
        let reads = !model.device.properties.is_empty();
        let watchers = &self.watchers;
        let is_awaited = |device: DeviceId| {
            let mut waiting = watchers.range((device, 0)..=(device, u32::MAX));
            waiting.next().is_some()
        };
        let added = self.registry.declare(model, &is_awaited);
        // Its retained values may have been received before it was known.
        if added && reads && self.renewal.is_none() && !cx.stopping() {
            let next = self.renewed.map(|at| (at + RENEW_EVERY).since(cx.now()));
            let after = next.unwrap_or_default().max(RENEW_AFTER);
            let reason = "further devices before their values are subscribed to";
            self.renewal = Some(cx.timer(after, FEED, RENEW, reason));
        }
    }

    /// Removes a declared device; calls that wait for it are answered.
    fn withdraw(&mut self, cx: &mut Context<'_>, id: &str) {
        let Some(device) = self.registry.declared(id) else {
            return;
        };
        let waiting = self.watchers.range((device, 0)..=(device, u32::MAX));
        let waiting: Vec<usize> = waiting.map(|(_, index)| *index as usize).collect();
        for index in waiting {
            if let Some(exchange) = self.exchanges.get_mut(index) {
                exchange.work(cx);
                match &exchange.state {
                    State::Status(_) => {
                        let why =
                            "The device announced that it is removed, or has changed; call again.";
                        exchange.answer(cx, Answer::tool_error(why));
                    }
                    State::Control(_) => self.control_withdrawn(cx, index),
                    // It is refused when the person has answered: before that, a modern client could not be told.
                    State::Approval(_) => {
                        exchange.watching.retain(|it| *it != device);
                        let index = u32::try_from(index).unwrap_or(u32::MAX);
                        self.watchers.remove(&(device, index));
                    }
                    State::Sensor(_) => self.finish_sensor(cx, index, Ended::Removed),
                    State::Subscribe(_) => exchange.close(cx),
                    _ => {}
                }
            }
            self.settle(cx, index);
        }
        self.registry.remove(device);
    }
}
