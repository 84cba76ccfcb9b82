//! Assigns streams to connections and creates connections.

use std::num::NonZeroU16;

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::binding::MqttClient;
use super::connection::{Connection, Env};
use super::counted::Counted;
use super::failure::Failure;
use super::quarantine::Namer;
use super::streams::Kind;
use super::suspects::Purpose;
use crate::codec::ReasonCode;

impl MqttClient {
    /// Removes a connection from the table of its client, so that new streams do not use it.
    pub(super) fn unregister(&mut self, key: usize) {
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

    /// Moves a stream, whose filters cannot share the connection `from`, to the client's next
    /// connection, or to a new one.
    pub(super) fn move_stream(&mut self, cx: &mut Context<'_>, from: usize, stream: usize) {
        let Some(connection) = self.connections.get(from) else {
            return;
        };
        let client = connection.client.clone();
        let mut env = Env {
            cx: &mut *cx,
            streams: &mut self.streams,
            shared: &mut self.shared,
        };
        let trial = connection.is_suspect(&mut env, stream);
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
            _ if trial => self.additional_connection(client, Purpose::Trial),
            Some(next) => Ok(next),
            None => self.additional_connection(client, Purpose::Filters),
        };
        match next {
            Ok(next) => self.with(cx, next, |connection, env| connection.add(env, stream)),
            Err(failure) => {
                if let Some(mut stream) = self.streams.remove(stream) {
                    stream.clear_deadline(cx);
                    let reset = failure.reset(MqttDelivery::None);
                    cx.terminate(stream.id, Some(reset), None);
                }
            }
        }
    }

    /// Creates a further connection of a client, with a suffix to the client identifier.
    fn additional_connection(
        &mut self,
        client: ByteString,
        purpose: Purpose,
    ) -> Result<usize, Failure> {
        let named = |name: &str| self.connections.iter().any(|(_, it)| it.client_id == name);
        let mut number = 2;
        let mut client_id = format!("{client}_{number}");
        while named(&client_id) {
            number += 1;
            client_id = format!("{client}_{number}");
        }
        self.connection(client, client_id.into(), purpose)
    }

    /// Creates a connection for a single counted subscription.
    fn counted_connection(
        &mut self,
        client: ByteString,
        limit: NonZeroU16,
    ) -> Result<usize, Failure> {
        let key = self.additional_connection(client, Purpose::Trial)?;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.counted = Some(Counted::new(limit.get()));
        }
        Ok(key)
    }

    /// Creates a connection, unless the limit is reached.
    fn connection(
        &mut self,
        client: ByteString,
        client_id: ByteString,
        purpose: Purpose,
    ) -> Result<usize, Failure> {
        let limit = self.shared.options.max_connections.size();
        if self.connections.len() >= limit {
            let reason = format!(
                "Connection limit reached: {limit} connections to the broker (maxConnections)."
            );
            return Err(Failure::new(ReasonCode::QUOTA_EXCEEDED, reason));
        }
        let key = self.connections.vacant_key();
        let connection = Connection::new(key, client.clone(), client_id, purpose, &self.shared);
        self.connections.insert(connection);
        self.clients.entry(client).or_default().push(key);
        Ok(key)
    }

    /// The connection of a client for a stream of this kind; created if there is none.
    pub(super) fn connection_for(
        &mut self,
        cx: &mut Context<'_>,
        client: &ByteString,
        kind: &Kind,
    ) -> Result<usize, Failure> {
        let purpose = match kind {
            Kind::Subscribe(subscriber) if let Some(limit) = subscriber.limit() => {
                return self.counted_connection(client.clone(), limit);
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
            None => self.additional_connection(client.clone(), purpose),
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
