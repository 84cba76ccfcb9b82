//! Which connection a stream is on, and which are made for it.

use std::num::NonZeroU16;

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::binding::MqttClient;
use super::connection::{Connection, Work};
use super::counted::Counted;
use super::failure::Failure;
use super::quarantine::Namer;
use super::streams::Kind;
use super::suspects::Purpose;
use crate::codec::ReasonCode;

impl MqttClient {
    /// New streams of its client do not find the connection any more.
    pub(super) fn forget(&mut self, key: usize) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if let Some(keys) = self.clients.get_mut(&connection.client) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.clients.remove(&connection.client);
            }
        }
    }

    /// A stream's filters cannot be on the connection `from`: it goes to the next one of its client,
    /// or to a new one.
    pub(super) fn move_on(&mut self, cx: &mut Context<'_>, from: usize, stream: usize) {
        let Some(connection) = self.connections.get(from) else {
            return;
        };
        let client = connection.client.clone();
        let mut w = Work {
            cx: &mut *cx,
            streams: &mut self.streams,
            shared: &mut self.shared,
        };
        let trial = connection.is_suspect(&mut w, stream);
        let keys = self.clients.get(&client).cloned().unwrap_or_default();
        let behind = keys
            .iter()
            .position(|key| *key == from)
            .map_or(0, |at| at + 1);
        let limit = self.shared.options.max_streams.size();
        let next = keys.iter().skip(behind).copied().find(|key| {
            let connection = self.connections.get(*key);
            let open = |it: &Connection| it.purpose == Purpose::Filters && it.streams.len() < limit;
            connection.is_some_and(open)
        });
        let next = match next {
            _ if trial => self.beside(client, Purpose::Trial),
            Some(next) => Ok(next),
            None => self.beside(client, Purpose::Filters),
        };
        match next {
            Ok(next) => self.with(cx, next, |connection, w| connection.add(w, stream)),
            Err(failure) => {
                if let Some(mut stream) = self.streams.remove(stream) {
                    stream.clear_deadline(cx);
                    let reset = failure.reset(MqttDelivery::None);
                    cx.terminate(stream.id, Some(reset), None);
                }
            }
        }
    }

    /// A new connection beside those that a client has.
    fn beside(&mut self, client: ByteString, purpose: Purpose) -> Result<usize, Failure> {
        let named = |name: &str| self.connections.iter().any(|(_, it)| it.client_id == name);
        let mut number = 2;
        let mut client_id = format!("{client}_{number}");
        while named(&client_id) {
            number += 1;
            client_id = format!("{client}_{number}");
        }
        self.connection(client, client_id.into(), purpose)
    }

    /// A new connection for one stream alone, whose messages are counted.
    fn counting(&mut self, client: ByteString, limit: NonZeroU16) -> Result<usize, Failure> {
        let key = self.beside(client, Purpose::Trial)?;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.counted = Some(Counted::new(limit.get()));
        }
        Ok(key)
    }

    /// A new connection, unless there are too many.
    fn connection(
        &mut self,
        client: ByteString,
        client_id: ByteString,
        purpose: Purpose,
    ) -> Result<usize, Failure> {
        let limit = self.shared.options.max_connections.size();
        if self.connections.len() >= limit {
            let reason = format!(
                "There are {limit} connections to the broker already, the limit (maxConnections)."
            );
            return Err(Failure::new(ReasonCode::QUOTA_EXCEEDED, reason));
        }
        let key = self.connections.vacant_key();
        let connection = Connection::new(key, client.clone(), client_id, purpose, &self.shared);
        self.connections.insert(connection);
        self.clients.entry(client).or_default().push(key);
        Ok(key)
    }

    /// The connection of a client for a stream of this kind, made known if it is not.
    pub(super) fn connection_for(
        &mut self,
        cx: &mut Context<'_>,
        client: &ByteString,
        kind: &Kind,
    ) -> Result<usize, Failure> {
        let purpose = match kind {
            Kind::Subscribe(subscriber) if let Some(limit) = subscriber.limit() => {
                return self.counting(client.clone(), limit);
            }
            Kind::Publish(it) if self.is_quarantined(cx, client, it.topic()) => Purpose::Quarantine,
            _ => Purpose::All,
        };
        let keys = self.clients.get(client);
        let known = keys.and_then(|keys| {
            let mut keys = keys.iter().copied();
            let fits = |it: &Connection| it.purpose == purpose;
            keys.find(|key| self.connections.get(*key).is_some_and(fits))
        });
        match known {
            Some(key) => Ok(key),
            None if purpose == Purpose::All => {
                self.connection(client.clone(), client.clone(), purpose)
            }
            None => self.beside(client.clone(), purpose),
        }
    }

    fn is_quarantined(&mut self, cx: &mut Context<'_>, client: &str, topic: &str) -> bool {
        let quarantine = &mut self.shared.quarantine;
        !quarantine.is_empty(cx.now()) && {
            let namer = Namer::new(client);
            quarantine.holds(cx, &namer, namer.message(topic), topic)
        }
    }
}
