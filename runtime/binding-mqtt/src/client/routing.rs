//! Assigns streams to connections and creates connections.

use std::num::NonZeroU16;
use std::sync::Arc;

use bytestring::ByteString;
use tidegate_engine::Context;
use tidegate_engine::streams::mqtt::MqttDelivery;

use super::accounts::{Account, Owner};
use super::binding::MqttClient;
use super::connection::{Connection, Env};
use super::counted::Counted;
use super::failure::Failure;
use super::held::{Held, Terms};
use super::publishing::shutting_down;
use super::quarantine::Namer;
use super::streams::Kind;
use super::strings::check_client_id;
use super::suspects::Purpose;
use crate::codec::ReasonCode;

/// Whose connection is created, and what it presents.
struct Holder {
    /// Under which the connections of its client or caller are found.
    key: ByteString,
    account: Option<Arc<Account>>,
}

impl Holder {
    /// The client identifier of the shared connection, without what makes it unique.
    fn client_id(&self) -> &ByteString {
        match &self.account {
            Some(account) => &account.client_id,
            None => &self.key,
        }
    }
}

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
        let holder = Holder {
            key: connection.client.clone(),
            account: connection.account.clone(),
        };
        let mut env = Env {
            cx: &mut *cx,
            streams: &mut self.streams,
            shared: &mut self.shared,
        };
        let trial = connection.is_suspect(&mut env, stream);
        let keys = self.clients.get(&holder.key).cloned().unwrap_or_default();
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
            _ if trial => self.additional_connection(holder, Purpose::Trial),
            Some(next) => Ok(next),
            None => self.additional_connection(holder, Purpose::Filters),
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
        holder: Holder,
        purpose: Purpose,
    ) -> Result<usize, Failure> {
        self.check_limit()?;
        let client_id = self.names.further(holder.client_id());
        Ok(self.connection(holder, client_id, purpose))
    }

    /// Creates a connection for a single counted subscription.
    fn counted_connection(&mut self, holder: Holder, limit: NonZeroU16) -> Result<usize, Failure> {
        let key = self.additional_connection(holder, Purpose::Trial)?;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.counted = Some(Counted::new(limit.get()));
        }
        Ok(key)
    }

    /// Creates the connection of a subscription whose caller acknowledges the messages.
    fn held_connection(
        &mut self,
        holder: Holder,
        client_id: Option<ByteString>,
        terms: Terms,
    ) -> Result<usize, Failure> {
        self.check_limit()?;
        let is_lasting = client_id.is_some() || self.shared.options.client_id.is_some();
        let client_id = client_id.unwrap_or_else(|| Terms::client_id(&self.shared.own));
        check_client_id(&client_id)?;
        self.shared.options.limits.check_client_id(&client_id)?;
        let keys = self.clients.values().flatten();
        let mut others = keys.filter_map(|key| self.connections.get(*key));
        if client_id == self.shared.own || others.any(|it| it.client_id == client_id) {
            let reason = format!(
                "Another connection of this gateway has the client identifier '{client_id}'; set one for \
                 this subscription alone (clientId)."
            );
            return Err(Failure::new(
                ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
                reason,
            ));
        }
        let key = self.connection(holder, client_id, Purpose::Held);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.held = Some(Box::new(Held::new(terms, is_lasting)));
        }
        Ok(key)
    }

    /// Creates the connection that the streams of a client share. Two callers may have accounts with the
    /// same client identifier: the broker would close the connection of one for that of the other, so
    /// the second one has a suffix.
    fn shared_connection(&mut self, holder: Holder) -> Result<usize, Failure> {
        self.check_limit()?;
        let client_id = holder.client_id().clone();
        let is_taken =
            holder.account.is_some() && self.names.is_of_another(&client_id, &holder.key);
        let client_id = if is_taken {
            self.names.further(&client_id)
        } else {
            client_id
        };
        Ok(self.connection(holder, client_id, Purpose::All))
    }

    fn check_limit(&self) -> Result<(), Failure> {
        let limit = self.shared.options.max_connections.size();
        if self.connections.len() >= limit {
            let reason = format!(
                "Connection limit reached: {limit} connections to the broker (maxConnections)."
            );
            return Err(Failure::new(ReasonCode::QUOTA_EXCEEDED, reason));
        }
        Ok(())
    }

    fn connection(&mut self, holder: Holder, client_id: ByteString, purpose: Purpose) -> usize {
        let key = self.connections.vacant_key();
        let Holder {
            key: client,
            account,
        } = holder;
        self.names.take(&client_id, &client);
        let mut connection = Connection::new(key, client.clone(), client_id, purpose, &self.shared);
        connection.account = account;
        self.connections.insert(connection);
        self.clients.entry(client).or_default().push(key);
        key
    }

    /// Removes a connection that is over.
    pub(super) fn remove_connection(&mut self, key: usize) -> Option<Connection> {
        let mut removed = self.connections.try_remove(key)?;
        self.names.free(&removed.name);
        let pending = std::mem::take(&mut removed.counted_pending);
        self.shared.pending = self.shared.pending.saturating_sub(pending);
        Some(removed)
    }

    /// The connection for a stream of this kind; created if there is none.
    pub(super) fn connection_for(
        &mut self,
        cx: &mut Context<'_>,
        owner: &Owner,
        kind: &Kind,
        client_id: Option<ByteString>,
    ) -> Result<usize, Failure> {
        let client = owner.key();
        let purpose = match kind {
            Kind::Subscribe(subscriber) if let Some(limit) = subscriber.limit() => {
                let holder = self.holder(cx, owner)?;
                return self.counted_connection(holder, limit);
            }
            Kind::Subscribe(subscriber) if let Some(terms) = subscriber.terms() => {
                let holder = self.holder(cx, owner)?;
                return self.held_connection(holder, client_id, terms);
            }
            Kind::Publish(it) if self.is_quarantined(cx, client, it.topic()) => Purpose::Quarantine,
            _ => Purpose::All,
        };
        if self.refuses(cx) {
            return Err(shutting_down());
        }
        if let Some(key) = self.known_connection(client, &|it| it.purpose == purpose) {
            return Ok(key);
        }
        let holder = self.holder(cx, owner)?;
        match purpose {
            Purpose::All => self.shared_connection(holder),
            _ => self.additional_connection(holder, purpose),
        }
    }

    /// Whether a shutdown refuses new streams. What was received on a subscription whose caller acknowledges
    /// is still answered, even if the subscription has ended.
    fn refuses(&self, cx: &Context<'_>) -> bool {
        cx.stopping() && !self.answers
    }

    /// A connection of a client for which `fits` holds.
    fn known_connection(
        &self,
        client: &ByteString,
        fits: &dyn Fn(&Connection) -> bool,
    ) -> Option<usize> {
        let mut keys = self.clients.get(client)?.iter().copied();
        keys.find(|key| self.connections.get(*key).is_some_and(fits))
    }

    fn holder(&self, cx: &Context<'_>, owner: &Owner) -> Result<Holder, Failure> {
        let account = match (owner, cx.identity()) {
            (Owner::Caller(_, entry), Some(caller)) => {
                let (options, own) = (&self.shared.options, &self.shared.own);
                Some(Arc::new(options.account(
                    caller,
                    *entry,
                    own,
                    cx.worker(),
                )?))
            }
            _ => None,
        };
        Ok(Holder {
            key: owner.key().clone(),
            account,
        })
    }

    fn is_quarantined(&mut self, cx: &mut Context<'_>, client: &str, topic: &str) -> bool {
        let quarantine = &mut self.shared.quarantine;
        !quarantine.is_empty(cx.now()) && {
            let namer = Namer::new(client);
            quarantine.holds(cx, &namer, namer.message(topic), topic)
        }
    }
}
