//! Tokens of an authorization server: the grant `client_credentials` of OAuth 2.1.
//!
//! A token is kept until a tenth of its life, at most 30 s, is left. Requests that need one wait for the same
//! answer. After a failure, the authorization server is asked again at most once a second.

use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::body::Buffers;
use crate::connect::{Connector, Target, Via, reason};
use crate::credentials::{bearer, of_file};
use crate::options::ClientCredentials;

/// Timeout for a token, in addition to the time to connect.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer, in bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// Life of a token that does not state it.
const LIFE: Duration = Duration::from_mins(5);
/// Longest life that is believed.
const LIFE_MAX: Duration = Duration::from_hours(24);
/// Time between failed attempts.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    token: Option<(HeaderValue, Instant)>,
    failed: Option<(String, Instant)>,
}

/// The tokens of a client.
pub(crate) struct Tokens {
    client: ClientCredentials,
    connector: Rc<Connector>,
    state: Mutex<State>,
}

/// The answer of a token endpoint (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<f64>,
}

impl Tokens {
    pub(crate) fn new(client: ClientCredentials, connector: Rc<Connector>) -> Self {
        Self {
            client,
            connector,
            state: Mutex::default(),
        }
    }

    /// A token that is valid. The error says why there is none, without a secret.
    pub(crate) async fn current(&self) -> Result<HeaderValue, String> {
        let mut state = self.state.lock().await;
        let now = Instant::now();
        if let Some((token, until)) = &state.token
            && now < *until
        {
            return Ok(token.clone());
        }
        if let Some((why, at)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(why.clone());
        }
        let fetched = tokio::time::timeout(TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        match fetched {
            Ok((token, life)) => {
                let margin = (life / 10).min(Duration::from_secs(30));
                state.failed = None;
                state.token = Some((token.clone(), now + life.saturating_sub(margin)));
                Ok(token)
            }
            Err(why) => {
                let why = format!("no token from {}: {why}", self.client.token_url);
                state.failed = Some((why.clone(), Instant::now()));
                Err(why)
            }
        }
    }

    /// Forgets a token that was not accepted.
    pub(crate) async fn forget(&self, used: Option<&HeaderValue>) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().map(|(token, _)| token) == used {
            state.token = None;
        }
    }

    async fn fetch(&self) -> Result<(HeaderValue, Duration), String> {
        let uri: Uri = self.client.token_url.parse().map_err(|_| "invalid URL")?;
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let target = Target {
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            name: None,
        };
        let secret = match (&self.client.client_secret, &self.client.client_secret_file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(path)) => of_file(path, "file of 'clientSecretFile'").await?,
            (None, None) => String::new(),
        };
        let form = Bytes::from(self.form());
        let mut connection = self.connector.open(&target).await?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(if matches!(connection.via, Via::Proxy(_)) {
            self.client.token_url.as_str()
        } else {
            path
        });
        let authority = uri.authority().map_or("", |it| it.as_str());
        let request = request
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(CONTENT_LENGTH, form.len())
            .header(AUTHORIZATION, basic(&self.client.client_id, &secret)?)
            .body(Buffers::from(form))
            .map_err(|error| error.to_string())?;
        let response = connection.sender.send_request(request).await;
        let response = response.map_err(|error| reason(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        let body = body
            .map_err(|_| "its answer is too large or incomplete")?
            .to_bytes();
        if status != StatusCode::OK {
            return Err(match error_of(&body) {
                Some(error) => format!("it answered {status}, {error}"),
                None => format!("it answered {status}"),
            });
        }
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| "its answer is not that of a token endpoint")?;
        let is_bearer = answer.token_type.as_deref().unwrap_or("Bearer");
        if !is_bearer.eq_ignore_ascii_case("bearer") {
            return Err("its token is not of the type Bearer".to_owned());
        }
        let token = bearer(&answer.access_token).ok_or("its token cannot be a header")?;
        let life = answer
            .expires_in
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let life = life.map_or(LIFE, |seconds| {
            Duration::from_secs_f64(seconds.min(LIFE_MAX.as_secs_f64()))
        });
        Ok((token, life))
    }

    fn form(&self) -> String {
        let mut form = "grant_type=client_credentials".to_owned();
        if !self.client.scopes.is_empty() {
            form.push_str("&scope=");
            form.push_str(&encoded(&self.client.scopes.join(" ")));
        }
        if let Some(resource) = &self.client.resource {
            form.push_str("&resource=");
            form.push_str(&encoded(resource));
        }
        form
    }
}

/// The credentials of a client (RFC 6749, 2.3.1).
fn basic(id: &str, secret: &str) -> Result<HeaderValue, String> {
    let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    let value = HeaderValue::try_from(format!("Basic {pair}"));
    let mut value = value.map_err(|_| "invalid client credentials")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The error code in an answer, if it is one.
fn error_of(body: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = answer.get("error")?.as_str()?;
    let is_code = error
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_code && error.len() <= 64).then(|| error.to_owned())
}

/// A text in `application/x-www-form-urlencoded`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                    out.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(encoded("a b&c=ä~"), "a+b%26c%3D%C3%A4%7E");
        let value = basic("cl ient", "s:1").expect("a header");
        let pair = STANDARD.encode("cl+ient:s%3A1");
        assert_eq!(value, format!("Basic {pair}"));
    }

    #[test]
    fn only_an_error_code_is_shown() {
        let of = |body: &str| error_of(body.as_bytes());
        assert_eq!(
            of(r#"{"error":"invalid_client"}"#).as_deref(),
            Some("invalid_client")
        );
        assert_eq!(of(r#"{"error":"see https://evil"}"#), None);
        assert_eq!(of("no"), None);
    }
}
