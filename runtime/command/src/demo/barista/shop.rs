//! The people's side of the tour: the till that publishes orders, the display that customers see, and the staff
//! who are told to restock.

use tokio::sync::mpsc;

use super::journal::{Event, Journal};
use super::mqtt::{Mqtt, MqttError, Received};
use super::robot::{NAME, order_topic};

/// The topic of restocking alerts.
pub(super) fn restock_topic() -> String {
    format!("ai/cloud/inventory/{NAME}/restock")
}

/// What customers read.
pub(super) fn display_topic() -> String {
    format!("ai/local/display/{NAME}/message")
}

/// Publishes orders and shows messages until the connection fails, or nobody orders any more.
pub(super) async fn run(
    mut mqtt: Mqtt,
    mut orders: mpsc::Receiver<String>,
    journal: Journal,
) -> Result<(), MqttError> {
    loop {
        tokio::select! {
            packet = mqtt.next() => {
                let packet = packet?;
                if let Some(Received::Message { topic, text }) = mqtt.take(packet).await? {
                    let who = if topic == display_topic() { "display" } else { "staff" };
                    journal.add(who, Event::Received { topic, text });
                }
            }
            order = orders.recv() => {
                let Some(text) = order else {
                    return Ok(());
                };
                let topic = order_topic();
                mqtt.publish(&topic, &text, None, None).await?;
                journal.add("till", Event::Sent { topic, text });
            }
        }
    }
}
