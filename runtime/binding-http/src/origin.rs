//! Who may ask: the protection against pages of other sites and against DNS rebinding.

use http::HeaderMap;
use http::header::{HOST, ORIGIN};

use crate::options::{Options, is_loopback};

/// Whether a request may be served, or why not.
pub(crate) fn check(
    headers: &HeaderMap,
    options: &Options,
    on_loopback: bool,
) -> Result<(), &'static str> {
    let listed = |list: &[String], value: &str| {
        list.iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(value))
    };
    if let Some(origin) = headers.get(ORIGIN) {
        let allowed = origin.to_str().is_ok_and(|origin| {
            listed(&options.allowed_origins, origin)
                || (on_loopback && is_loopback(host_of_origin(origin)))
        });
        if !allowed {
            return Err("This origin may not use this endpoint; see allowedOrigins.");
        }
    }
    let checked = on_loopback || !options.allowed_hosts.is_empty();
    if let Some(host) = headers.get(HOST).filter(|_| checked) {
        let allowed = host.to_str().is_ok_and(|host| {
            let name = without_port(host);
            listed(&options.allowed_hosts, host)
                || listed(&options.allowed_hosts, name)
                || (on_loopback && is_loopback(name))
        });
        if !allowed {
            return Err("This endpoint is not known under this host; see allowedHosts.");
        }
    }
    Ok(())
}

/// `http://localhost:8080` -> `localhost`
fn host_of_origin(origin: &str) -> &str {
    without_port(origin.split_once("://").map_or("", |(_, rest)| rest))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Listen;

    fn options() -> Options {
        Options {
            listen: Listen(([127, 0, 0, 1], 0).into()),
            path: "/mcp".to_owned(),
            max_body_size: 1,
            max_connections: 1,
            header_timeout: 1,
            body_timeout: 1,
            allowed_origins: vec!["https://app.example".to_owned()],
            allowed_hosts: vec![],
        }
    }

    fn verdict(host: &str, origin: Option<&str>, options: &Options, on_loopback: bool) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().expect("a header"));
        }
        check(&headers, options, on_loopback).is_ok()
    }

    #[test]
    fn pages_of_other_sites_and_other_names_are_refused() {
        let options = options();
        for (host, origin, expected) in [
            ("127.0.0.1:7114", None, true),
            ("localhost", None, true),
            ("[::1]:7114", None, true),
            ("evil.example", None, false),
            ("localhost.evil.example:7114", None, false),
            ("localhost", Some("http://localhost:8080"), true),
            ("localhost", Some("http://127.0.0.1"), true),
            ("localhost", Some("http://[::1]:1"), true),
            ("localhost", Some("https://app.example"), true),
            ("localhost", Some("https://evil.example"), false),
            ("localhost", Some("https://localhost.evil.example"), false),
            ("localhost", Some("null"), false),
        ] {
            assert_eq!(
                verdict(host, origin, &options, true),
                expected,
                "{host} {origin:?}"
            );
        }
    }

    #[test]
    fn elsewhere_than_on_loopback_the_lists_decide() {
        let mut options = options();
        assert!(verdict("any.example", None, &options, false));
        assert!(!verdict(
            "any.example",
            Some("http://localhost"),
            &options,
            false
        ));
        options.allowed_hosts = vec!["gate.example".to_owned()];
        assert!(verdict("gate.example:8443", None, &options, false));
        assert!(!verdict("any.example", None, &options, false));
    }
}
