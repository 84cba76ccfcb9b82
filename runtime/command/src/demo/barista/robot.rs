//! The simulated barista robot. It knows how to grind, pull, steam and pour; what to make of a drink that is not
//! in its recipe cache, it asks for. It goes on making drinks while it waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::journal::{Event, Journal};
use super::mqtt::{Mqtt, MqttError, Received};

pub(super) const NAME: &str = "robot-terminal-A3";
const WHO: &str = "robot";
/// How long a step takes here. A real robot needs seconds.
const STEP: Duration = Duration::from_millis(40);
/// Time after which nobody waits for a plan, in seconds.
const EXPIRY: u32 = 60;
/// Most drinks that wait to be made; a further plan is not made.
const DRINKS_MAX: usize = 16;
/// Most publications whose acknowledgement is awaited; that of a further one is not noticed.
const UNACKNOWLEDGED_MAX: usize = 64;

/// A reading of a weight sensor.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) ingredient: &'static str,
    pub(super) percent: u8,
}

/// The robot.
#[derive(Debug)]
pub(super) struct Robot {
    mqtt: Mqtt,
    journal: Journal,
    /// Drinks that are made, the first one at present.
    drinks: VecDeque<Drink>,
    /// When the present step is done.
    step_ends: Instant,
    /// Topics of publications, by packet identifier.
    unacknowledged: BTreeMap<u16, String>,
    requests: u64,
}

/// A drink that is being made.
#[derive(Debug)]
struct Drink {
    name: String,
    station: u64,
    steps: VecDeque<Value>,
}

/// The topics that the robot subscribes to.
pub(super) fn filters() -> [String; 2] {
    [
        order_topic(),
        format!("ai/cloud/planner/{NAME}/execution-plan"),
    ]
}

/// Where orders for the robot are published.
pub(super) fn order_topic() -> String {
    format!("ai/local/queue/{NAME}/order")
}

fn topic(agent: &str, message: &str) -> String {
    format!("ai/local/{agent}/{NAME}/{message}")
}

impl Robot {
    pub(super) fn new(mqtt: Mqtt, journal: Journal) -> Self {
        Self {
            mqtt,
            journal,
            drinks: VecDeque::new(),
            step_ends: Instant::now(),
            unacknowledged: BTreeMap::new(),
            requests: 0,
        }
    }

    /// Runs until its connection fails, or nothing reads the sensors any more.
    pub(super) async fn run(
        mut self,
        mut readings: mpsc::Receiver<Reading>,
    ) -> Result<(), MqttError> {
        loop {
            let busy = !self.drinks.is_empty();
            tokio::select! {
                packet = self.mqtt.next() => {
                    let packet = packet?;
                    match self.mqtt.take(packet).await? {
                        Some(Received::Message { topic, text }) => self.receive(topic, text).await?,
                        Some(Received::Acknowledged(id)) => self.acknowledged(id),
                        None => {}
                    }
                }
                reading = readings.recv() => match reading {
                    Some(reading) => self.weigh(&reading).await?,
                    None => return Ok(()),
                },
                () = sleep_until(self.step_ends), if busy => self.step().await?,
            }
        }
    }

    fn did(&self, what: impl Into<String>) {
        self.journal.add(WHO, Event::Did(what.into()));
    }

    fn acknowledged(&mut self, id: u16) {
        if let Some(topic) = self.unacknowledged.remove(&id) {
            self.journal.add(WHO, Event::Acknowledged { topic });
        }
    }

    async fn publish(&mut self, topic: String, payload: Value) -> Result<(), MqttError> {
        let text = payload.to_string();
        self.mqtt.publish(&topic, &text, None, None).await?;
        self.journal.add(WHO, Event::Sent { topic, text });
        Ok(())
    }

    async fn receive(&mut self, topic: String, text: String) -> Result<(), MqttError> {
        let is_order = topic == order_topic();
        let event = Event::Received {
            topic,
            text: text.clone(),
        };
        self.journal.add(WHO, event);
        let payload: Value = serde_json::from_str(&text).unwrap_or_default();
        if is_order {
            self.ordered(&payload, text).await
        } else {
            self.planned(&payload).await
        }
    }

    async fn ordered(&mut self, order: &Value, as_received: String) -> Result<(), MqttError> {
        let drink = text(order, "drink");
        if let Some(steps) = cached(drink) {
            self.did(format!("{drink} is in the local recipe cache"));
            let drink = drink.to_owned();
            self.make(drink, 1, steps);
            return Ok(());
        }
        self.did(format!("no recipe for {drink} in the local cache"));
        self.requests += 1;
        let correlation = format!("{NAME}-{}", self.requests);
        let topic = topic("barista", "recipe-request");
        let id = self
            .mqtt
            .publish(&topic, &as_received, Some(correlation), Some(EXPIRY))
            .await?;
        if self.unacknowledged.len() < UNACKNOWLEDGED_MAX {
            self.unacknowledged.insert(id, topic.clone());
        }
        let event = Event::Sent {
            topic,
            text: as_received,
        };
        self.journal.add(WHO, event);
        Ok(())
    }

    async fn planned(&mut self, plan: &Value) -> Result<(), MqttError> {
        if let Some(notice) = plan.get("notice").and_then(Value::as_str) {
            self.display(notice.to_owned()).await?;
        }
        let steps = plan.get("steps").and_then(Value::as_array);
        let steps = steps.cloned().unwrap_or_default();
        let station = plan.get("station").and_then(Value::as_u64);
        self.make(
            text(plan, "drink").to_owned(),
            station.unwrap_or(1),
            steps.into(),
        );
        Ok(())
    }

    fn make(&mut self, name: String, station: u64, steps: VecDeque<Value>) {
        if steps.is_empty() || self.drinks.len() >= DRINKS_MAX {
            return;
        }
        if self.drinks.is_empty() {
            self.step_ends = Instant::now() + STEP;
        }
        self.drinks.push_back(Drink {
            name,
            station,
            steps,
        });
    }

    /// A step of the first drink is done.
    async fn step(&mut self) -> Result<(), MqttError> {
        self.step_ends = Instant::now() + STEP;
        let Some(drink) = self.drinks.front_mut() else {
            return Ok(());
        };
        let Some(step) = drink.steps.pop_front() else {
            return Ok(());
        };
        let ready = drink.steps.is_empty();
        let served = format!("Your {} is ready at station {}.", drink.name, drink.station);
        self.did(in_words(&step));
        if let Some(telemetry) = telemetry(&step) {
            self.publish(topic("barista", "telemetry"), telemetry)
                .await?;
        }
        if ready {
            self.drinks.pop_front();
            self.display(served).await?;
        }
        Ok(())
    }

    async fn display(&mut self, text: String) -> Result<(), MqttError> {
        self.publish(topic("display", "message"), json!({ "text": text }))
            .await
    }

    async fn weigh(&mut self, reading: &Reading) -> Result<(), MqttError> {
        let topic = topic("inventory", reading.ingredient);
        self.publish(topic, json!({ "level": reading.percent }))
            .await
    }
}

/// The steps of a drink that the robot knows.
fn cached(drink: &str) -> Option<VecDeque<Value>> {
    let steps = match drink {
        "espresso" => json!([
            { "do": "grind", "grams": 18, "size": "fine" },
            { "do": "pull", "shot": "espresso", "temperature": 200 },
            { "do": "dispense", "cup_ounces": 4, "station": 1 },
        ]),
        _ => return None,
    };
    Some(steps.as_array()?.iter().cloned().collect())
}

/// What a step is, as a barista says it.
fn in_words(step: &Value) -> String {
    let number = |name: &str| step.get(name).and_then(Value::as_u64).unwrap_or_default();
    match text(step, "do") {
        "grind" => format!("grind {}g {}", number("grams"), text(step, "size")),
        "pull" => format!("pull {} at {}°F", text(step, "shot"), number("temperature")),
        "steam" => format!(
            "steam {} milk to {}°F with {}",
            text(step, "milk"),
            number("temperature"),
            text(step, "texture")
        ),
        "pour" => format!("pour {} oz {}", number("ounces"), text(step, "where")),
        "dispense" => format!(
            "dispense {} oz cup at station {}",
            number("cup_ounces"),
            number("station")
        ),
        other => format!("cannot '{other}'"),
    }
}

/// What the sensors measure during a step.
fn telemetry(step: &Value) -> Option<Value> {
    match text(step, "do") {
        "grind" => Some(json!({ "grinder_rpm": 1_400 })),
        "pull" => Some(json!({ "extraction_bar": 9 })),
        "steam" => Some(json!({ "milk_temperature": step.get("temperature") })),
        _ => None,
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_as_a_barista_says_them() {
        let told = |step: Value| in_words(&step);
        assert_eq!(
            told(json!({ "do": "grind", "grams": 18, "size": "fine" })),
            "grind 18g fine"
        );
        assert_eq!(
            told(
                json!({ "do": "steam", "milk": "oat", "temperature": 140, "texture": "microfoam" })
            ),
            "steam oat milk to 140°F with microfoam"
        );
        assert_eq!(told(json!({ "do": "dance" })), "cannot 'dance'");
    }
}
