//! The simulated home: devices that obey commands, as far as they can, and publish their state.
//!
//! A state machine without I/O: a command or a tick goes in, messages to publish come out. The window is
//! open at the start, the curtains are blocked half-way, and a printer without power is offline.

use serde_json::{Value, json};

const TEMPERATURE: &str = "home/living-room/thermometer/thermometer/temperature";
const WINDOW: &str = "home/living-room/window/window/state";
const AIR_CONDITIONER: &str = "home/living-room/air-conditioner/air-conditioner/state";
const CURTAINS: &str = "home/living-room/curtains/curtains/state";
const PRINTER: &str = "home/study/printer/printer/state";
const PRINTER_AVAILABILITY: &str = "home/study/printer/printer/availability";
const PLUG: &str = "home/study/plug/plug/state";

/// The topic filters of the commands.
pub(super) const COMMANDS: [&str; 3] = ["home/+/+/+/set", "home/+/+/+/move", "home/+/+/+/print"];

/// Temperature without the air conditioner, in tenths of a degree Celsius.
const WARM: i64 = 274;
/// Change of the temperature in one tick, in tenths of a degree Celsius.
const STEP: i64 = 2;
/// The position at which the curtains are blocked, in percent.
const BLOCKED_AT: i64 = 40;

/// A retained message to publish: topic and payload.
pub(super) type Message = (&'static str, String);

/// The state of the home.
pub(super) struct Home {
    /// Tenths of a degree Celsius.
    temperature: i64,
    window: &'static str,
    cooling: bool,
    /// Degrees Celsius.
    target: i64,
    /// Percent; 0 is closed.
    curtains: i64,
    blocked: bool,
    powered: bool,
    /// The job that is being printed: document and copies.
    job: Option<(String, i64)>,
}

impl Home {
    pub(super) const fn new() -> Self {
        Self {
            temperature: WARM,
            window: "open",
            cooling: false,
            target: 24,
            curtains: 100,
            blocked: false,
            powered: true,
            job: None,
        }
    }

    /// The states at the start.
    pub(super) fn start(&self) -> Vec<Message> {
        vec![
            self.reading(),
            (WINDOW, self.window.to_owned()),
            self.air_conditioner(),
            self.curtains(),
            (PRINTER, json!({ "state": "idle" }).to_string()),
            (PRINTER_AVAILABILITY, "online".to_owned()),
            (PLUG, "on".to_owned()),
        ]
    }

    /// Time passes: the room gets cooler or warmer, and a job is done.
    pub(super) fn tick(&mut self) -> Vec<Message> {
        let towards = if self.cooling { self.target * 10 } else { WARM };
        self.temperature += (towards - self.temperature).clamp(-STEP, STEP);
        let mut messages = vec![self.reading()];
        if let Some((document, copies)) = self.job.take() {
            let done = json!({ "state": "idle", "document": document, "copies": copies });
            messages.push((PRINTER, done.to_string()));
        }
        messages
    }

    /// Obeys a command, and returns what the devices publish then. A command that a device does not
    /// understand is ignored.
    pub(super) fn command(&mut self, topic: &str, payload: &[u8]) -> Vec<Message> {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let arguments: Value = serde_json::from_slice(payload).unwrap_or_default();
        match topic {
            "home/living-room/window/window/move" => self.move_window(text),
            "home/living-room/air-conditioner/air-conditioner/set" => self.set_cooling(&arguments),
            "home/living-room/curtains/curtains/move" => self.move_curtains(&arguments),
            "home/study/printer/printer/print" => self.print(&arguments),
            "home/study/plug/plug/set" => self.switch_plug(text),
            _ => Vec::new(),
        }
    }

    fn move_window(&mut self, to: &str) -> Vec<Message> {
        self.window = match to {
            "open" => "open",
            "closed" => "closed",
            _ => return Vec::new(),
        };
        vec![(WINDOW, self.window.to_owned())]
    }

    fn set_cooling(&mut self, arguments: &Value) -> Vec<Message> {
        if let Some(power) = arguments.get("power").and_then(Value::as_str) {
            self.cooling = power == "on";
        }
        if let Some(target) = arguments.get("target").and_then(Value::as_i64) {
            self.target = target.clamp(18, 30);
        }
        vec![self.air_conditioner()]
    }

    fn move_curtains(&mut self, arguments: &Value) -> Vec<Message> {
        let Some(position) = arguments.get("position").and_then(Value::as_i64) else {
            return Vec::new();
        };
        self.blocked = position < BLOCKED_AT;
        self.curtains = position.clamp(BLOCKED_AT, 100);
        vec![self.curtains()]
    }

    fn print(&mut self, arguments: &Value) -> Vec<Message> {
        let document = arguments.get("document").and_then(Value::as_str);
        let copies = arguments.get("copies").and_then(Value::as_i64);
        let (Some(document), Some(copies), true) = (document, copies, self.powered) else {
            return Vec::new();
        };
        self.job = Some((document.to_owned(), copies));
        vec![(PRINTER, json!({ "state": "printing" }).to_string())]
    }

    fn switch_plug(&mut self, power: &str) -> Vec<Message> {
        self.powered = match power {
            "on" => true,
            "off" => false,
            _ => return Vec::new(),
        };
        if !self.powered {
            self.job = None;
        }
        let printer = if self.powered { "online" } else { "offline" };
        // The availability is published first, so that who sees the plug off knows of the printer.
        vec![
            (PRINTER_AVAILABILITY, printer.to_owned()),
            (PLUG, power.to_owned()),
        ]
    }

    fn reading(&self) -> Message {
        (TEMPERATURE, super::devices::tenths(self.temperature))
    }

    fn air_conditioner(&self) -> Message {
        let power = if self.cooling { "on" } else { "off" };
        let state = json!({ "power": power, "target": self.target });
        (AIR_CONDITIONER, state.to_string())
    }

    fn curtains(&self) -> Message {
        let state = json!({ "position": self.curtains, "blocked": self.blocked });
        (CURTAINS, state.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(messages: &[Message], topic: &str) -> Value {
        let found = messages.iter().find(|message| message.0 == topic);
        let (_, payload) = found.expect("a message on the topic");
        serde_json::from_str(payload).expect("JSON")
    }

    #[test]
    fn the_air_conditioner_cools_the_room_to_its_target() {
        let mut home = Home::new();
        let on = br#"{"power":"on","target":27}"#;
        let topic = "home/living-room/air-conditioner/air-conditioner/set";
        let state = json_of(&home.command(topic, on), AIR_CONDITIONER);
        assert_eq!(state, json!({ "power": "on", "target": 27 }));
        let mut readings = Vec::new();
        for _ in 0..4 {
            readings.push(home.tick().remove(0).1);
        }
        assert_eq!(readings, ["27.2", "27.0", "27.0", "27.0"]);
    }

    #[test]
    fn the_curtains_are_blocked_half_way() {
        let mut home = Home::new();
        let topic = "home/living-room/curtains/curtains/move";
        let closed = json_of(&home.command(topic, br#"{"position":0}"#), CURTAINS);
        assert_eq!(closed, json!({ "position": 40, "blocked": true }));
        let open = json_of(&home.command(topic, br#"{"position":80}"#), CURTAINS);
        assert_eq!(open, json!({ "position": 80, "blocked": false }));
    }

    #[test]
    fn a_job_is_done_at_the_next_tick_and_lost_without_power() {
        let mut home = Home::new();
        let job = br#"{"document":"a.pdf","copies":2}"#;
        let print = |home: &mut Home| home.command("home/study/printer/printer/print", job);
        assert_eq!(json_of(&print(&mut home), PRINTER)["state"], "printing");
        let done = json_of(&home.tick(), PRINTER);
        assert_eq!(
            done,
            json!({ "state": "idle", "document": "a.pdf", "copies": 2 })
        );

        print(&mut home);
        let off = home.command("home/study/plug/plug/set", b"off");
        assert_eq!(off[0], (PRINTER_AVAILABILITY, "offline".to_owned()));
        assert_eq!(off[1], (PLUG, "off".to_owned()));
        assert!(home.tick().iter().all(|message| message.0 != PRINTER));
        assert!(print(&mut home).is_empty());
    }

    #[test]
    fn what_a_device_does_not_understand_is_ignored() {
        let mut home = Home::new();
        for (topic, payload) in [
            ("home/living-room/window/window/move", "ajar"),
            ("home/living-room/curtains/curtains/move", "half"),
            ("home/study/plug/plug/set", "{}"),
            ("home/attic/light/light/set", "on"),
        ] {
            assert_eq!(home.command(topic, payload.as_bytes()), [], "{topic}");
        }
    }
}
