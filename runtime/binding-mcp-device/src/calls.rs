//! The tools: what a call does, and what happens while it waits.

use tidegate_device::Request;
use tidegate_engine::Context;
use tidegate_streams::mqtt::MqttSession;
use tidegate_streams::{Identity, shown};

use crate::commands::{GRACE, Refusal};
use crate::entry::{Entry, Part};
use crate::exchange::Exchange;
use crate::feed::FeedMessage;
use crate::list_devices::{self, ListArguments};
use crate::model::check_id;
use crate::params::Params;
use crate::proxy::McpDevice;
use crate::publication::{Message, Publication};
use crate::registry::DeviceId;
use crate::result::{Answer, Failure};
use crate::sensor::Ended;
use crate::state::State;
use crate::status::{self, Problem, StatusArguments, StatusWait};
use crate::tools;
use crate::view::Now;

impl McpDevice {
    /// The params of a call are complete.
    pub(crate) fn call(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let State::Params(call) = &mut exchange.state else {
            return;
        };
        let tool = call.tool.clone();
        let params = match call.take() {
            Ok(params) => params,
            Err(reset) => return exchange.refuse(cx, reset),
        };
        let answered = match &*tool {
            tools::LIST_DEVICES => self
                .list_devices(cx, params)
                .map(Some)
                .map_err(Refusal::Tool),
            tools::GET_DEVICE_STATUS => self
                .get_device_status(cx, index, params)
                .map_err(Refusal::Tool),
            tools::SUBSCRIBE_SENSOR => self
                .subscribe_sensor(cx, index, params)
                .map_err(Refusal::Tool),
            tool => self.control(cx, index, tool, params),
        };
        let answer = match answered {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(Refusal::Tool(sentence)) => Answer::tool_error(&sentence),
            Err(Refusal::Reset(reset)) => {
                if let Some(exchange) = self.exchanges.get_mut(index) {
                    exchange.refuse(cx, reset);
                }
                return;
            }
        };
        if let Some(exchange) = self.exchanges.get_mut(index) {
            exchange.answer(cx, answer);
        }
    }

    fn list_devices(&self, cx: &Context<'_>, params: Params) -> Result<Answer, String> {
        let arguments = ListArguments::read(params.arguments)?;
        let caller = cx.identity().map(|it| &**it);
        Ok(list_devices::answer(
            &self.registry,
            caller,
            &arguments,
            Now::of(cx),
        ))
    }

    /// The device with an id, or a sentence for a model.
    pub(crate) fn device(
        &self,
        caller: Option<&Identity>,
        id: &str,
    ) -> Result<(DeviceId, &Entry), String> {
        if let Some(found) = self.registry.find(caller, id) {
            return Ok(found);
        }
        if let Err(why) = check_id(id) {
            return Err(format!(
                "Invalid device id '{}': {why}. list_devices has the ids.",
                tidegate_streams::Visible(shown(id))
            ));
        }
        let nearest = self.registry.nearest(caller, id);
        let nearest: Vec<String> = nearest.iter().map(|id| format!("'{id}'")).collect();
        Err(if nearest.is_empty() {
            format!("Unknown device '{}'; no devices are known yet.", shown(id))
        } else {
            format!(
                "Unknown device '{}'; the nearest ids are {}. list_devices has all of them.",
                shown(id),
                nearest.join(", ")
            )
        })
    }

    fn get_device_status(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        params: Params,
    ) -> Result<Option<Answer>, String> {
        let arguments = StatusArguments::read(params.arguments)?;
        let caller = cx.identity().cloned();
        let (device, entry) = self.device(caller.as_deref(), &arguments.device)?;
        let now = Now::of(cx);
        let answer = |problem: Option<&Problem>| {
            let caller = caller.as_deref();
            Ok(Some(status::answer(
                &self.registry,
                entry,
                caller,
                now,
                problem,
            )))
        };
        let about = entry.id.clone();
        let Some(property) = entry.model.device.properties.first() else {
            return answer(Some(&Problem::NoStatus));
        };
        let cached = self.registry.property(entry, 0);
        if cached.is_some_and(|it| status::is_fresh(it, arguments.max_age, now))
            && status::is_known(&self.registry, entry)
        {
            return answer(None);
        }
        if self.registry.online(entry) == Some(false) {
            return answer(Some(&Problem::Offline));
        }
        let request = property
            .request
            .as_deref()
            .map(|Request { topic, payload }| Message {
                topic: entry.topic(topic).as_ref().into(),
                payload: payload.clone().into(),
                qos: 1,
                retain: false,
                expiry: None,
            });
        let (exit, timeout) = (self.exit, self.settings.status_timeout);
        self.feed.ensure(cx);
        self.values.ensure(cx);
        self.watch(index, device);
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return Ok(None);
        };
        exchange.about.device = about;
        let within = exchange.at_most(cx, timeout);
        let asked = request.is_some();
        let wait = StatusWait::new(device, arguments.max_age, within, asked);
        exchange.state = State::Status(wait);
        exchange.wait(cx, within, "a value of the device");
        let deadline = cx.now() + within;
        // Without a message to send, a session tells whether the broker can be reached.
        let opened = match request {
            Some(message) => {
                exchange.about.topic = message.topic.clone();
                let begin = message.begin();
                exchange.open(cx, exit, begin, Some(Publication::new(message)), deadline)
            }
            None => exchange.open(cx, exit, MqttSession::default(), None, deadline),
        };
        match opened {
            Ok(()) => Ok(None),
            Err(error) => Err(format!(
                "The status could not be requested: {error}; retry later."
            )),
        }
    }

    /// A message of a device that an exchange waits for.
    pub(crate) fn on_value(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        device: DeviceId,
        part: Part,
        message: &FeedMessage,
    ) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        match &exchange.state {
            State::Status(wait)
                if wait.device == device
                    && part == Part::Property(0)
                    && wait.is_answered_by(message.retained) =>
            {
                self.answer_status(cx, index, None);
            }
            State::Control(control) if control.device == device && !message.retained => {
                if let Part::Property(property) = part {
                    self.on_control_value(cx, index, usize::from(property), &message.payload);
                }
            }
            State::Sensor(_) if !message.retained => {
                if let Part::Property(property) = part {
                    let property = usize::from(property);
                    self.on_sensor_value(cx, index, device, property, &message.payload);
                }
            }
            State::Subscribe(uri) => {
                let uri = uri.clone();
                exchange.update(cx, uri);
            }
            _ => {}
        }
    }

    fn answer_status(&mut self, cx: &mut Context<'_>, index: usize, problem: Option<&Problem>) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let State::Status(wait) = &exchange.state else {
            return;
        };
        let answer = match self.registry.get(wait.device) {
            Some(entry) => {
                let caller = cx.identity().cloned();
                status::answer(
                    &self.registry,
                    entry,
                    caller.as_deref(),
                    Now::of(cx),
                    problem,
                )
            }
            None => Answer::tool_error("The device was removed; list_devices has the devices."),
        };
        exchange.answer(cx, answer);
    }

    /// The broker accepted the session that an exchange opened.
    pub(crate) fn broker_reached(&mut self, index: usize) {
        if let Some(Exchange {
            state: State::Status(wait),
            ..
        }) = self.exchanges.get_mut(index)
        {
            wait.reached = true;
        }
    }

    /// The mqtt stream of an exchange ended in order.
    pub(crate) fn acknowledged(&mut self, cx: &mut Context<'_>, index: usize) {
        self.broker_reached(index);
        self.control_acknowledged(cx, index);
    }

    /// The mqtt stream of an exchange failed.
    pub(crate) fn broker_failed(&mut self, cx: &mut Context<'_>, index: usize, failure: &Failure) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        match &exchange.state {
            // The broker was reached, so the value may still come.
            State::Status(wait) if wait.reached => {}
            State::Status(_) => {
                let problem = Problem::Unreachable(failure.why.clone());
                self.answer_status(cx, index, Some(&problem));
            }
            State::Control(_) => self.control_failed(cx, index, failure),
            State::Sensor(_) => self.sensor_failed(cx, index, failure),
            _ => {}
        }
    }

    /// The wait of an exchange is over.
    pub(crate) fn expired(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        let has_mqtt = exchange.has_mqtt();
        match &mut exchange.state {
            State::Status(wait) => {
                // The exit has the same deadline, and is about to say why it did not answer.
                if !wait.reached && has_mqtt && !wait.is_overdue() {
                    return exchange.wait(cx, GRACE, "the exit's reason");
                }
                let problem = wait.expired();
                if matches!(problem, Problem::Unreachable(_)) {
                    exchange.drop_mqtt(cx);
                }
                self.answer_status(cx, index, Some(&problem));
            }
            State::Control(_) => self.control_expired(cx, index),
            State::Sensor(_) => self.finish_sensor(cx, index, Ended::Duration),
            State::Follow(_) => {
                let why =
                    "The first call with this 'requestId' is still running; repeat the call later.";
                exchange.answer(cx, Answer::tool_error(why));
            }
            _ => exchange.cancel(cx),
        }
    }

    /// The engine is shutting down.
    pub(crate) fn stopping(&mut self, cx: &mut Context<'_>, index: usize) {
        let Some(exchange) = self.exchanges.get_mut(index) else {
            return;
        };
        match &exchange.state {
            State::Status(_) => self.answer_status(cx, index, Some(&Problem::Stopping)),
            State::Control(_) => self.control_stopping(cx, index),
            State::Approval(_) => self.approval_ended(cx, index, "the gateway is stopping"),
            State::Sensor(_) => self.finish_sensor(cx, index, Ended::Stopping),
            _ => {}
        }
    }
}
