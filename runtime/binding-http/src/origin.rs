//! Access checks against pages of other sites and DNS rebinding.
//!
//! Every request is checked independently.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::uri::Authority;
use http::{HeaderValue, StatusCode, Uri, Version};

use crate::client::Port;
use crate::options::Options;
use crate::refusal::Refusal;

/// The parts of a request head that identify the requested host and the requesting site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestHost<'a> {
    pub(crate) version: Version,
    pub(crate) target: &'a Uri,
    pub(crate) host: Field<'a>,
    pub(crate) origin: Field<'a>,
}

/// A header that may occur once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Field<'a> {
    #[default]
    Absent,
    Once(&'a HeaderValue),
    Repeated,
}

impl<'a> Field<'a> {
    /// Records another occurrence.
    pub(crate) fn add(&mut self, value: &'a HeaderValue) {
        *self = match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }
}

/// Checks whether a request may be served.
pub(crate) fn check(
    request: &RequestHost<'_>,
    options: &Options,
    port: Port,
) -> Result<(), Refusal> {
    check_origin(request.origin, options, port)?;
    if let Some(host) = host(request)? {
        check_host(host, options, port)?;
    }
    Ok(())
}

fn check_origin(origin: Field<'_>, options: &Options, port: Port) -> Result<(), Refusal> {
    let origin = match origin {
        Field::Absent => return Ok(()),
        Field::Once(origin) => origin,
        Field::Repeated => {
            return Err(forbidden("Duplicate Origin header."));
        }
    };
    if is_allowed(origin, options, port) {
        return Ok(());
    }
    Err(forbidden("Origin not allowed; see allowedOrigins."))
}

/// Whether pages of an origin may send requests.
pub(crate) fn is_allowed(origin: &HeaderValue, options: &Options, port: Port) -> bool {
    let origin = origin.as_bytes();
    let shared = options.access_control.as_ref();
    is_listed(&options.allowed_origins, origin)
        || (port == Port::Loopback && is_loopback(host_of_origin(origin)))
        || shared.is_some_and(|it| is_listed(&it.origins, b"*") || is_listed(&it.origins, origin))
}

/// The requested host: from an absolute target, which the header must match, or from the header
/// (RFC 9112, section 3.2). HTTP/1.0 may omit both.
fn host<'a>(request: &RequestHost<'a>) -> Result<Option<&'a [u8]>, Refusal> {
    let header = match request.host {
        Field::Once(host) => Some(host.as_bytes()),
        Field::Absent if request.version < Version::HTTP_11 => None,
        // HTTP/2 has it in the target.
        Field::Absent
            if request.version == Version::HTTP_2 && request.target.authority().is_some() =>
        {
            None
        }
        Field::Absent => {
            return Err(malformed("Missing Host header."));
        }
        Field::Repeated => {
            return Err(malformed("Duplicate Host header."));
        }
    };
    let Some(target) = request.target.authority().map(Authority::as_str) else {
        return Ok(header);
    };
    let scheme = request.target.scheme_str();
    if !scheme.is_none_or(|scheme| matches!(scheme, "http" | "https")) {
        return Err(malformed(
            "Unsupported scheme in the request target; use http or https.",
        ));
    }
    if header.is_some_and(|header| !header.eq_ignore_ascii_case(target.as_bytes())) {
        return Err(malformed(
            "Host header and request target name different hosts.",
        ));
    }
    Ok(Some(target.as_bytes()))
}

fn check_host(host: &[u8], options: &Options, port: Port) -> Result<(), Refusal> {
    if port != Port::Loopback && options.allowed_hosts.is_empty() {
        let valid = !host.contains(&b'@') && Authority::try_from(host).is_ok();
        return if valid {
            Ok(())
        } else {
            Err(malformed(
                "Invalid Host header; use a host with an optional port.",
            ))
        };
    }
    let name = without_port(host);
    let allowed = (port == Port::Loopback && is_loopback(name))
        || is_listed(&options.allowed_hosts, host)
        || is_listed(&options.allowed_hosts, name);
    if allowed {
        return Ok(());
    }
    Err(forbidden("Host not allowed; see allowedHosts."))
}

const fn forbidden(sentence: &'static str) -> Refusal {
    Refusal(StatusCode::FORBIDDEN, sentence)
}

const fn malformed(sentence: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, sentence)
}

fn is_listed(list: &[String], value: &[u8]) -> bool {
    list.iter()
        .any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(value))
}

/// `http://localhost:8080` -> `localhost`. Empty for schemes other than http and https, whose host
/// does not identify the site.
fn host_of_origin(origin: &[u8]) -> &[u8] {
    let host = origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"));
    without_port(host.unwrap_or_default())
}

fn without_port(host: &[u8]) -> &[u8] {
    let digits = host.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let rest = host.len() - digits.count();
    host.get(..rest)
        .and_then(|rest| rest.strip_suffix(b":"))
        .unwrap_or(host)
}

/// Whether a host, as written in a URL, is a loopback address of this machine.
fn is_loopback(host: &[u8]) -> bool {
    if host == b"127.0.0.1" || host.eq_ignore_ascii_case(b"localhost") {
        return true;
    }
    let host = str::from_utf8(host).unwrap_or_default();
    match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(host) => host.parse().is_ok_and(|it: Ipv6Addr| it.is_loopback()),
        None => host.parse().is_ok_and(|it: Ipv4Addr| it.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{AccessControl, Address, Listen};

    fn options() -> Options {
        let listen = Listen::on(Address::Tcp(([127, 0, 0, 1], 0).into()));
        Options {
            allowed_origins: vec!["https://app.example".to_owned()],
            ..Options::listening(listen)
        }
    }

    fn verdict(host: &str, origin: Option<&str>, options: &Options, port: Port) -> bool {
        let host = host.parse().expect("a header");
        let origin: Option<HeaderValue> = origin.map(|it| it.parse().expect("a header"));
        let request = RequestHost {
            version: Version::HTTP_11,
            target: &Uri::from_static("/mcp"),
            host: Field::Once(&host),
            origin: origin.as_ref().map_or(Field::Absent, Field::Once),
        };
        check(&request, options, port).is_ok()
    }

    #[test]
    fn other_origins_and_hosts_are_refused() {
        let options = options();
        for (host, origin, expected) in [
            ("127.0.0.1:7114", None, true),
            ("localhost", None, true),
            ("[::1]:7114", None, true),
            ("127.1.2.3:7114", None, true),
            ("128.0.0.1", None, false),
            ("evil.example", None, false),
            ("localhost.evil.example:7114", None, false),
            ("localhost", Some("http://localhost:8080"), true),
            ("localhost", Some("http://127.0.0.1"), true),
            ("localhost", Some("http://[::1]:1"), true),
            ("localhost", Some("https://app.example"), true),
            ("localhost", Some("https://evil.example"), false),
            ("localhost", Some("https://localhost.evil.example"), false),
            ("localhost", Some("null"), false),
            ("localhost", Some("foo://localhost"), false),
            ("localhost", Some("http://[localhost]"), false),
            (
                "localhost",
                Some("http://localhost http://evil.example"),
                false,
            ),
            ("[localhost]", None, false),
            ("[::1", None, false),
            ("::1", None, false),
            ("", None, false),
        ] {
            assert_eq!(
                verdict(host, origin, &options, Port::Loopback),
                expected,
                "{host} {origin:?}"
            );
        }
    }

    #[test]
    fn off_loopback_only_the_lists_apply() {
        let mut options = options();
        for port in [Port::Network, Port::Unix] {
            options.allowed_hosts.clear();
            assert!(verdict("any.example", None, &options, port));
            let page = Some("http://localhost");
            assert!(!verdict("any.example", page, &options, port));
            options.allowed_hosts = vec!["gate.example".to_owned()];
            assert!(verdict("gate.example:8443", None, &options, port));
            assert!(!verdict("any.example", None, &options, port));
        }
    }

    #[test]
    fn origins_of_access_control_are_allowed_too() {
        let mut options = options();
        for (origins, other) in [(vec!["https://b.example"], false), (vec!["*"], true)] {
            options.access_control = Some(AccessControl {
                origins: origins.into_iter().map(str::to_owned).collect(),
                ..AccessControl::default()
            });
            let verdict = |origin| verdict("any.example", Some(origin), &options, Port::Network);
            assert!(verdict("https://app.example") && verdict("https://b.example"));
            assert_eq!(verdict("https://c.example"), other);
        }
    }

    #[test]
    fn the_target_of_http_2_names_the_host() {
        let options = options();
        for (target, expected) in [
            ("https://localhost:7114/mcp", true),
            ("https://evil.example/mcp", false),
            ("/mcp", false),
        ] {
            let request = RequestHost {
                version: Version::HTTP_2,
                target: &target.parse().expect("a target"),
                host: Field::Absent,
                origin: Field::Absent,
            };
            let checked = check(&request, &options, Port::Loopback);
            assert_eq!(checked.is_ok(), expected, "{target}");
        }
    }
}
