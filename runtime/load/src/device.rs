//! A device that asks: it publishes a request, and waits for the answer with its Correlation Data.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memchr::memmem;
use serde_json::json;
use tidegate_binding_mqtt::codec::Packet;

use crate::message::shown;
use crate::mqtt::Mqtt;
use crate::socket::BrokerAddress;

/// What all devices of a target share.
#[derive(Debug)]
pub(crate) struct Devices {
    broker: BrokerAddress,
    /// Topic of the target; that of a device, and `call` or `answer`, follow.
    topic: String,
    request: Bytes,
    /// What each answer must contain.
    expected: String,
}

impl Devices {
    /// Devices that call the tool of the upstream, which answers with `payload`.
    pub(crate) fn new(broker: &BrokerAddress, topic: &str, payload: &str) -> Arc<Self> {
        let request = json!({ "text": payload, "count": 1 });
        Arc::new(Self {
            broker: broker.clone(),
            topic: topic.to_owned(),
            request: request.to_string().into(),
            expected: payload.to_owned(),
        })
    }
}

/// One device.
#[derive(Debug)]
pub(crate) struct Device {
    all: Arc<Devices>,
    topic: String,
    mqtt: Option<Mqtt>,
    requests: u64,
}

impl Device {
    pub(crate) fn new(all: &Arc<Devices>) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            topic: format!("{}/{number}", all.topic),
            all: Arc::clone(all),
            mqtt: None,
            requests: 0,
        }
    }

    /// Connects and subscribes to its answers, unless already done.
    pub(crate) async fn connect(&mut self) -> Result<&mut Mqtt, String> {
        if self.mqtt.is_none() {
            let client = format!(
                "tidegate-bench-{}-{}",
                std::process::id(),
                self.topic.replace('/', "-")
            );
            let connected = Mqtt::connect(&self.all.broker, &client).await;
            let mut mqtt = connected.map_err(|error| error.to_string())?;
            // The delay of its own acknowledgements is no part of the measured time.
            mqtt.quickack = true;
            let answers = format!("{}/answer", self.topic);
            let subscribed = mqtt.subscribe_at(&answers, 1).await;
            subscribed.map_err(|error| error.to_string())?;
            self.mqtt = Some(mqtt);
        }
        self.mqtt.as_mut().ok_or_else(|| "no connection".to_owned())
    }

    /// Makes one request and waits for its answer.
    pub(crate) async fn call(&mut self) -> Result<(), String> {
        self.requests += 1;
        let correlation = Bytes::copy_from_slice(&self.requests.to_be_bytes());
        let topic = format!("{}/call", self.topic);
        let (all, number) = (Arc::clone(&self.all), self.requests);
        let mqtt = self.connect().await?;
        let told = |error: crate::mqtt::MqttError| error.to_string();
        let sent = mqtt.request(&topic, all.request.clone(), &correlation, number);
        sent.await.map_err(told)?;
        loop {
            let Packet::Publish(answer) = mqtt.next().await.map_err(told)? else {
                continue;
            };
            mqtt.acknowledge(&answer).await.map_err(told)?;
            // An answer to a request that was given up may still come.
            if answer.properties.correlation.as_ref() != Some(&correlation) {
                continue;
            }
            let payload = answer.payload.concat();
            if memmem::find(&payload, all.expected.as_bytes()).is_none() {
                return Err(format!("unexpected answer: {}", shown(&payload)));
            }
            return Ok(());
        }
    }
}
