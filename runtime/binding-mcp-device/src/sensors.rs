//! `subscribe_sensor` in the binding: which devices are followed, and when the call ends.

use tidegate_engine::Context;
use tidegate_streams::mqtt::MqttSession;

use crate::entry::Entry;
use crate::params::Params;
use crate::proxy::McpDevice;
use crate::registry::DeviceId;
use crate::result::{Answer, Failure};
use crate::sensor::{DEVICES_MAX, Ended, Sensor, SensorArguments};
use crate::state::State;
use crate::view::Now;

impl McpDevice {
    /// The params of `subscribe_sensor` are complete. `None`: the call waits.
    pub(crate) fn subscribe_sensor(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        params: Params,
    ) -> Result<Option<Answer>, String> {
        let longest = self.settings.max_sensor_duration;
        let arguments = SensorArguments::read(params.arguments, longest)?;
        let caller = cx.identity().cloned();
        let caller = caller.as_deref();
        let devices: Vec<(DeviceId, &Entry)> = if let Some(id) = &arguments.device {
            vec![self.device(caller, id)?]
        } else {
            let devices = self.registry.sorted(caller, None);
            let devices = devices.filter(|(_, entry)| arguments.selects(entry));
            devices.take(DEVICES_MAX + 1).collect()
        };
        if devices.len() > DEVICES_MAX {
            return Err(format!(
                "More than {DEVICES_MAX} devices match; narrow them by 'location' and 'type'."
            ));
        }
        let about = arguments
            .device
            .is_some()
            .then(|| devices.first().map(|it| it.1.id.clone()));
        let wanted = arguments.duration;
        let mut sensor = Sensor::new(arguments, params.progress, cx.now());
        for (device, entry) in &devices {
            sensor.follow(*device, entry);
        }
        let followed: Vec<DeviceId> = sensor.devices().collect();
        if followed.is_empty() {
            return Err(match devices.first() {
                Some((_, entry)) => format!(
                    "Devices of the type '{}' publish no readings.",
                    entry.model.device.kind
                ),
                None => "No device matches; list_devices has the devices.".to_owned(),
            });
        }
        for device in followed {
            self.watch(index, device);
        }
        let exit = self.exit;
        self.feed.ensure(cx);
        self.values.ensure(cx);
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return Ok(None);
        };
        exchange.about.device = about.flatten().unwrap_or_default();
        let within = exchange.at_most(cx, wanted);
        sensor.cut = within < wanted;
        exchange.state = State::Sensor(Box::new(sensor));
        exchange.wait(cx, within, "the readings of a sensor");
        // A session tells whether the broker can be reached.
        let deadline = cx.now() + within;
        let opened = exchange.open(cx, exit, MqttSession::default(), None, deadline);
        opened
            .map_err(|error| format!("The readings cannot be collected: {error}; retry later."))?;
        Ok(None)
    }

    /// A live value of a device that a call follows.
    pub(crate) fn on_sensor_value(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        device: DeviceId,
        property: usize,
        payload: &[u8],
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let State::Sensor(sensor) = &mut exchange.state else {
            return;
        };
        let Some(entry) = self.registry.get(device) else {
            return;
        };
        let Some(step) = sensor.on_value(device, property, entry, payload, cx.now()) else {
            return;
        };
        if let Some((progress, total, message)) = step.progress {
            exchange.progress(cx, progress, total, message);
        }
        if step.enough {
            self.finish_sensor(cx, index, Ended::Count);
        }
    }

    /// Answers with the readings so far.
    pub(crate) fn finish_sensor(&mut self, cx: &mut Context<'_>, index: usize, ended: Ended) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        if let State::Sensor(sensor) = &exchange.state {
            let ended = match ended {
                Ended::Duration if sensor.cut => Ended::Timeout,
                ended => ended,
            };
            let answer = sensor.answer(ended, Now::of(cx));
            exchange.answer(cx, answer);
        }
    }

    /// The broker cannot be reached.
    pub(crate) fn sensor_failed(&mut self, cx: &mut Context<'_>, index: usize, failure: &Failure) {
        if let Some(exchange) = self.exchanges.get_mut(index) {
            let sentence = format!(
                "No readings can be collected: the broker is unreachable: {}. Retry when it is back.",
                failure.why
            );
            exchange.answer(cx, Answer::tool_error(&sentence));
        }
    }
}
