//! The opening handshake (RFC 6455, 4.1): the request, and the check of its response.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use thiserror::Error;

use crate::options::Options;

/// Largest head of a response, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Most header fields of a response.
const FIELDS_MAX: usize = 64;
/// Longest text of the server that an error repeats, in characters.
const SHOWN_MAX: usize = 120;
/// What the key is hashed with (RFC 6455, 1.3).
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why there is no WebSocket, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refused {
    #[error("the answer is not HTTP; check that the port is a WebSocket listener")]
    NotHttp,
    #[error(
        "the head of the answer is larger than 16 KiB or has more than 64 fields; check that the port is a \
         WebSocket listener"
    )]
    TooLarge,
    #[error("HTTP status 404; check 'path' of ws · client")]
    NotFound,
    #[error("HTTP status {0}; check the credentials in 'headers' of ws · client")]
    Credentials(u16),
    #[error("HTTP status {0}, a redirect, which is not followed; connect to where it leads")]
    Redirect(u16),
    #[error(
        "HTTP status {0} instead of 101; check that 'path' of ws · client is that of a WebSocket listener"
    )]
    Status(u16),
    #[error("status 101 without an upgrade to WebSocket (Upgrade, Connection)")]
    NoUpgrade,
    #[error(
        "the answer belongs to another request (Sec-WebSocket-Accept); check for a proxy that caches it"
    )]
    Accept,
    #[error("it did not agree to the subprotocol '{0}'; check 'path' of ws · client")]
    Subprotocol(String),
    #[error("it agreed on the extension '{0}', which was not offered")]
    Extension(String),
}

/// The key of a handshake, which is not a secret.
#[derive(Debug, Clone)]
pub(crate) struct Key(String);

impl Key {
    pub(crate) fn of(random: [u8; 16]) -> Self {
        Self(STANDARD.encode(random))
    }

    /// What the server must answer.
    fn accept(&self) -> String {
        let keyed = [self.0.as_bytes(), SUFFIX].concat();
        STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &keyed))
    }
}

/// The request. `remote` is the peer as the exit names it.
pub(crate) fn request(options: &Options, remote: &str, is_redirected: bool, key: &Key) -> Bytes {
    let configured = options.host.as_deref().filter(|_| !is_redirected);
    let host = configured.unwrap_or_else(|| authority(remote));
    let mut head = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {}\r\n",
        options.path, key.0, options.subprotocol
    );
    for (name, value) in options.headers.iter() {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into()
}

/// The peer as in the field Host. The exit does not know the scheme, so both default ports are left out.
fn authority(remote: &str) -> &str {
    if remote.starts_with("unix:") {
        return "localhost";
    }
    let plain = remote.strip_suffix(":80");
    plain
        .or_else(|| remote.strip_suffix(":443"))
        .unwrap_or(remote)
}

/// The response, as it arrives.
#[derive(Debug, Default)]
pub(crate) struct Response(BytesMut);

impl Response {
    /// Adds bytes. Returns those behind the head once it is complete and agrees.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        options: &Options,
        key: &Key,
    ) -> Result<Option<Bytes>, Refused> {
        let room = HEAD_MAX.saturating_sub(self.0.len());
        let (head, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.0.extend_from_slice(head);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(&self.0) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.0.len() < HEAD_MAX => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Refused::TooLarge);
            }
            Err(_) => return Err(Refused::NotHttp),
        };
        check(&response, options, key)?;
        let mut behind = self.0.split_off(length);
        behind.extend_from_slice(rest);
        Ok(Some(behind.freeze()))
    }
}

fn check(
    response: &httparse::Response<'_, '_>,
    options: &Options,
    key: &Key,
) -> Result<(), Refused> {
    match response.code.unwrap_or_default() {
        101 => {}
        404 => return Err(Refused::NotFound),
        code @ (401 | 403) => return Err(Refused::Credentials(code)),
        code @ 300..=399 => return Err(Refused::Redirect(code)),
        code => return Err(Refused::Status(code)),
    }
    let has_token = |name: &str, token: &str| {
        values(response, name).any(|value| {
            let mut tokens = value.split(',').map(str::trim);
            tokens.any(|it| it.eq_ignore_ascii_case(token))
        })
    };
    if !has_token("upgrade", "websocket") || !has_token("connection", "upgrade") {
        return Err(Refused::NoUpgrade);
    }
    let mut accepts = values(response, "sec-websocket-accept");
    if accepts.next() != Some(&key.accept()) || accepts.next().is_some() {
        return Err(Refused::Accept);
    }
    let mut subprotocols = values(response, "sec-websocket-protocol");
    if subprotocols.next() != Some(&options.subprotocol) || subprotocols.next().is_some() {
        return Err(Refused::Subprotocol(options.subprotocol.clone()));
    }
    match values(response, "sec-websocket-extensions").next() {
        Some(extension) => Err(Refused::Extension(shown(extension))),
        None => Ok(()),
    }
}

/// The values of a field that are text.
fn values<'r>(
    response: &'r httparse::Response<'_, '_>,
    name: &str,
) -> impl Iterator<Item = &'r str> {
    let fields = response.headers.iter();
    fields
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .filter_map(|field| std::str::from_utf8(field.value).ok())
        .map(str::trim)
}

/// Text of the server for an error, without control characters.
fn shown(text: &str) -> String {
    text.chars()
        .take(SHOWN_MAX)
        .flat_map(char::escape_debug)
        .collect()
}

impl From<&Refused> for ByteString {
    fn from(refused: &Refused) -> Self {
        refused.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        // The example of RFC 6455, 1.2.
        Key("dGhlIHNhbXBsZSBub25jZQ==".to_owned())
    }

    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

    fn answer(text: &str) -> Result<Option<Bytes>, Refused> {
        Response::default().push(text.as_bytes(), &Options::default(), &key())
    }

    #[test]
    fn the_example_of_the_specification_is_answered_as_it_says() {
        assert_eq!(key().accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer(GOOD), Ok(Some(Bytes::new())));
    }

    #[test]
    fn a_response_may_come_in_any_parts_with_frames_behind_it() {
        let whole = [GOOD, "frames"].concat();
        for cut in 0..whole.len() {
            let (first, second) = whole.as_bytes().split_at(cut);
            let mut response = Response::default();
            let early = response.push(first, &Options::default(), &key());
            let early = early.expect("a good answer");
            let rest = if let Some(rest) = early {
                [&rest[..], second].concat()
            } else {
                let rest = response.push(second, &Options::default(), &key());
                rest.expect("a good answer").expect("a whole one").to_vec()
            };
            assert_eq!(rest, b"frames");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let cases = [
            ("\x20\x02\x00\x05".to_owned(), Refused::NotHttp),
            ("SSH-2.0-OpenSSH\r\n".to_owned(), Refused::NotHttp),
            (
                "HTTP/1.1 404 Not Found\r\n\r\n".to_owned(),
                Refused::NotFound,
            ),
            (
                "HTTP/1.1 403 Forbidden\r\n\r\n".to_owned(),
                Refused::Credentials(403),
            ),
            (
                "HTTP/1.1 302 Found\r\n\r\n".to_owned(),
                Refused::Redirect(302),
            ),
            ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), Refused::Status(200)),
            (
                GOOD.replace("Upgrade: websocket", "Upgrade: h2c"),
                Refused::NoUpgrade,
            ),
            (GOOD.replace(", Upgrade", ""), Refused::NoUpgrade),
            (GOOD.replace("s3p", "x3p"), Refused::Accept),
            (
                GOOD.replace(": mqtt", ": other"),
                Refused::Subprotocol("mqtt".to_owned()),
            ),
            (
                GOOD.replace(
                    "\r\n\r\n",
                    "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                ),
                Refused::Extension("permessage-deflate".to_owned()),
            ),
            (
                format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_MAX)),
                Refused::TooLarge,
            ),
            (
                format!(
                    "HTTP/1.1 200 OK\r\n{}\r\n",
                    "A: b\r\n".repeat(FIELDS_MAX + 1)
                ),
                Refused::TooLarge,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(answer(&text), Err(expected), "{text:.80}");
        }
        let without = GOOD.replace("Sec-WebSocket-Protocol: mqtt\r\n", "");
        assert_eq!(
            answer(&without),
            Err(Refused::Subprotocol("mqtt".to_owned()))
        );
    }

    #[test]
    fn the_host_is_the_peer_without_a_default_port() {
        for (remote, expected) in [
            ("broker:8083", "broker:8083"),
            ("broker:443", "broker"),
            ("broker:80", "broker"),
            ("[::1]:80", "[::1]"),
            ("unix:/run/broker.sock", "localhost"),
        ] {
            assert_eq!(authority(remote), expected);
        }
    }
}
