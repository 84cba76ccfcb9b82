//! `url` and `command` of `mcp · client`: the bindings that the URL or the program of an MCP server stands
//! for.
//!
//! - `https://` and `http://`: http · client, with TLS or without
//! - a program: stdio · client

use serde_yaml::{Mapping, Value};
use tidegate_config::{Chain, Link, Shorthand};

use crate::broker_url::address_of;

/// The options.
pub(crate) const SHORTHANDS: &[Shorthand] = &[
    Shorthand {
        key: "url",
        about: "URL of the MCP endpoint of a server, instead of `exit`: `https://HOST/PATH`, or `http://HOST:PORT/PATH` \
                without TLS. It stands for the http · client that leads there, which `tidegate validate \
                --expanded` prints; `http` has further options of it, such as `authorization`.",
        links: &["http"],
        expand: url,
        stand_in: || Link {
            r#type: "http",
            options: vec![("host", "localhost".into())],
            defaults: Vec::new(),
        },
    },
    Shorthand {
        key: "command",
        about: "Program that is an MCP server on its standard input and output, instead of `exit`. It stands for \
                the stdio · client that starts it; `stdio` has further options of it, such as `args`.",
        links: &["stdio"],
        expand: command,
        stand_in: || Link {
            r#type: "stdio",
            options: vec![("command", "false".into())],
            defaults: Vec::new(),
        },
    },
];

/// What to write, for errors.
const FORMS: &str = "use https://HOST/PATH, or http://HOST:PORT/PATH";

/// The errors do not repeat the URL, which may contain a secret.
fn url(url: &str) -> Result<Chain, String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("not a URL; {FORMS}"))?;
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err(format!("unknown scheme of the URL; {FORMS}")),
    };
    if rest.contains('#') {
        return Err(
            "the URL has a fragment (#), which is not sent; remove it, or write %23".to_owned(),
        );
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if authority.contains('@') {
        return Err(
            "the URL contains credentials; remove them, and use 'authorization' of 'http'"
                .to_owned(),
        );
    }
    let (host, port) = address_of(authority, FORMS)?;
    let path = match target {
        "" => "/".to_owned(),
        target if target.starts_with('?') => format!("/{target}"),
        target => target.to_owned(),
    };
    let mut link = Link {
        r#type: "http",
        options: vec![("host", host.into())],
        defaults: Vec::new(),
    };
    if let Some(port) = port {
        link.options.push(("port", port.into()));
    }
    if is_tls {
        // It may be given, for its other options.
        link.defaults.push(("tls", Value::Mapping(Mapping::new())));
    }
    Ok(Chain {
        options: vec![("path", path)],
        links: vec![link],
        ..Chain::default()
    })
}

fn command(program: &str) -> Result<Chain, String> {
    if program.trim().is_empty() {
        return Err(
            "no program; use its name or path, and 'args' of 'stdio' for arguments".to_owned(),
        );
    }
    Ok(Chain {
        links: vec![Link {
            r#type: "stdio",
            options: vec![("command", program.into())],
            defaults: Vec::new(),
        }],
        ..Chain::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chain in short: `path=/mcp http{host:h,port:1} tls`.
    fn short(text: &str) -> String {
        let chain = url(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        let mut out: Vec<String> = chain
            .options
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        for link in &chain.links {
            let options = link.options.iter().map(|(key, value)| {
                let value = serde_json::to_value(value).expect("JSON").to_string();
                format!("{key}:{}", value.trim_matches('"'))
            });
            let options: Vec<String> = options.collect();
            out.push(format!("{}{{{}}}", link.r#type, options.join(",")));
            out.extend(link.defaults.iter().map(|(key, _)| (*key).to_owned()));
        }
        out.join(" ")
    }

    #[test]
    fn a_url_is_an_http_client_and_a_path() {
        for (url, expected) in [
            (
                "https://a.example/mcp",
                "path=/mcp http{host:a.example} tls",
            ),
            ("HTTPS://a.example", "path=/ http{host:a.example} tls"),
            (
                "http://127.0.0.1:8000/mcp?x=1",
                "path=/mcp?x=1 http{host:127.0.0.1,port:8000}",
            ),
            ("http://[::1]:8000?x", "path=/?x http{host:::1,port:8000}"),
        ] {
            assert_eq!(short(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_explained_without_its_text() {
        for (text, expected) in [
            ("secret", "not a URL"),
            ("mqtt://secret", "unknown scheme"),
            ("https://", "has no host"),
            ("https://secret:0/", "not 1 to 65535"),
            ("https://u:secret@b/", "credentials"),
            ("https://b/#secret", "fragment"),
        ] {
            let why = url(text).expect_err(text);
            assert!(why.contains(expected), "{text}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
        assert!(command(" ").is_err());
    }
}
