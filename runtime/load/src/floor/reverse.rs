//! The floor of `reverse`: each message is answered with what the upstream answers a prepared call with. No JSON, no
//! MCP, no policy; one connection to the broker, and as many to the upstream as there are calls at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::json;
use tidegate_binding_mqtt::codec::{Packet, Publish};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::Floor;
use crate::LoadError;
use crate::message::{Message, Ready};
use crate::mqtt::Mqtt;
use crate::targets::Url;
use crate::upstream::{LEGACY, TOOL};
use crate::wire::Connection;

/// Most answers that wait to be written.
const ANSWERS_MAX: usize = 4_096;

/// The calls of the upstream.
pub(super) struct Calls {
    url: Url,
    ready: Ready,
    idle: RefCell<Vec<Connection>>,
}

impl Calls {
    pub(super) fn new(floor: &Floor) -> Result<Self, LoadError> {
        let upstream = floor.upstream.as_deref().unwrap_or_default();
        let url: Url = format!("http://{upstream}/mcp").parse()?;
        let text = String::from_utf8_lossy(&floor.payload);
        let arguments = json!({ "text": text, "count": 1 });
        let params = json!({ "name": TOOL, "arguments": arguments });
        let message = Message::request(LEGACY, "tools/call", params);
        Ok(Self {
            ready: message.post(&url, &BTreeMap::new(), None),
            url,
            idle: RefCell::default(),
        })
    }

    /// The body of the upstream's answer.
    async fn call(&self) -> Option<Bytes> {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle.filter(|it| !it.is_over()) {
            Some(connection) => connection,
            None => Connection::connect(&self.url.authority).await.ok()?,
        };
        let head = connection.exchange(&self.ready.front, &self.ready.tail);
        let head = head.await.ok()?;
        let body = Bytes::copy_from_slice(&connection.body);
        self.idle.borrow_mut().push(connection);
        (head.status == 200).then_some(body)
    }
}

/// Answers messages until the connection to the broker fails.
pub(super) async fn bridge(mut mqtt: Mqtt, calls: &Rc<Calls>) -> io::Result<()> {
    let (answers, mut answered) = mpsc::channel::<(Publish, Bytes)>(ANSWERS_MAX);
    let mut number = 0;
    loop {
        tokio::select! {
            packet = mqtt.next() => {
                if let Packet::Publish(request) = packet.map_err(io::Error::other)? {
                    let (calls, answers) = (Rc::clone(calls), answers.clone());
                    spawn_local(async move {
                        if let Some(body) = calls.call().await {
                            // It fails when the floor ends.
                            let _ = answers.send((request, body)).await;
                        }
                    });
                }
            }
            Some((request, body)) = answered.recv() => {
                number += 1;
                let topic = request.topic.strip_suffix("call").unwrap_or_default();
                let correlation = request.properties.correlation.clone().unwrap_or_default();
                let topic = format!("{topic}answer");
                let answer = mqtt.request(&topic, body, &correlation, number);
                answer.await.map_err(io::Error::other)?;
                mqtt.acknowledge(&request).await.map_err(io::Error::other)?;
            }
        }
    }
}
