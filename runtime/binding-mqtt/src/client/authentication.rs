//! Enhanced authentication (MQTT 5.0, 4.12): both sides prove in AUTH packets that they know a secret.
//!
//! A method is a variant of [`Method`] and an [`Exchange`]. The broker's proof in CONNACK is checked
//! before the connection is used.

use std::fmt;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_engine::Context;

use super::connection::{Connection, Env};
use super::credentials::Password;
use super::failure::Failure;
use super::options::Name;
use super::packets;
use super::scram::Scram;
use crate::codec::{Auth, Connack, ReasonCode, Version};

/// The methods, by their names in MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Method {
    /// SCRAM (RFC 5802, RFC 7677).
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
}

/// Enhanced authentication, which requires MQTT 5: the password is not sent to the broker, and the
/// broker proves that it knows it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Authentication {
    /// Method.
    #[schemars(example = Method::ScramSha256)]
    method: Method,
    /// User name for the method.
    username: Name,
    /// Password for the method: text, `{ base64: … }` or `{ file: … }`.
    pub(super) password: Password,
}

/// One exchange. An error is a reason in words.
pub(super) trait Exchange: fmt::Debug {
    /// The broker's data of an AUTH. Returns that of the answer.
    fn next(&mut self, data: &[u8]) -> Result<Bytes, String>;

    /// The broker accepted the connection, with this data: checks its proof.
    fn finish(&mut self, data: &[u8]) -> Result<(), String>;
}

impl Authentication {
    /// The name of the method in MQTT.
    pub(super) const fn method(&self) -> &'static str {
        match self.method {
            Method::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// Begins an exchange. Returns the data for CONNECT.
    pub(super) fn begin(
        &self,
        cx: &mut Context<'_>,
        password: &Bytes,
        version: Version,
    ) -> Result<(Box<dyn Exchange>, Bytes), String> {
        if version != Version::V5 {
            return Err(
                "'authentication' requires MQTT 5, but 'version: 3.1.1' is set.".to_owned(),
            );
        }
        match self.method {
            Method::ScramSha256 => {
                let mut nonce = String::new();
                cx.random_letters(&mut nonce, 24);
                let (scram, first) = Scram::begin(self.username.text(), password.clone(), &nonce);
                Ok((Box::new(scram), first))
            }
        }
    }
}

impl Connection {
    /// AUTH before CONNACK.
    pub(super) fn on_auth(&mut self, env: &mut Env<'_, '_>, auth: &Auth) {
        let method = self.authentication(env.shared);
        let method = method.map(Authentication::method);
        let (Some(method), Some(exchange)) = (method, &mut self.exchange) else {
            let what = "AUTH without an authentication method in CONNECT";
            return self.protocol_error(env, ReasonCode::PROTOCOL_ERROR, what);
        };
        let properties = &auth.properties;
        if auth.reason != ReasonCode::CONTINUE_AUTHENTICATION
            || properties.authentication_method.as_deref() != Some(method)
        {
            let what = "AUTH that does not continue the authentication";
            return self.protocol_error(env, ReasonCode::PROTOCOL_ERROR, what);
        }
        let data = properties.authentication_data.as_deref();
        match exchange.next(data.unwrap_or_default()) {
            Ok(answer) => {
                let packet = packets::auth(&mut self.packets, method, answer);
                self.send(env.cx, [packet]);
            }
            Err(why) => self.not_authenticated(env, &why),
        }
    }

    /// Checks the proof of a broker that accepted the connection. Returns whether the connection can be
    /// used.
    pub(super) fn is_authenticated(&mut self, env: &mut Env<'_, '_>, connack: &Connack) -> bool {
        let Some(mut exchange) = self.exchange.take() else {
            return true;
        };
        let data = connack.properties.authentication_data.as_deref();
        match exchange.finish(data.unwrap_or_default()) {
            Ok(()) => true,
            Err(why) => {
                self.not_authenticated(env, &why);
                false
            }
        }
    }

    fn not_authenticated(&mut self, env: &mut Env<'_, '_>, why: &str) {
        let reason = format!("{} failed the authentication: {why}.", self.broker());
        let mut failure = Failure::new(ReasonCode::NOT_AUTHORIZED, reason);
        failure.denied = true;
        failure.credentials = true;
        self.lost(env, &failure, None);
    }
}
