//! `url` of `mqtt · client`: the bindings that a URL of a broker stands for.
//!
//! - `mqtt://` and `tcp://`: tcp · client
//! - `mqtts://`, `ssl://` and `tls://`: tls · client, tcp · client
//! - `ws://`: ws · client, tcp · client
//! - `wss://`: ws · client, tls · client, tcp · client
//! - `unix:`: tcp · client with a path

use tidegate_config::{Chain, Link, Shorthand};

/// The option.
pub(crate) const SHORTHAND: Shorthand = Shorthand {
    key: "url",
    about: "URL of the broker, instead of `exit`: `mqtt://HOST:PORT` (port 1883), `mqtts://HOST:PORT` with TLS \
            (8883), `ws://HOST:PORT/PATH` over WebSocket (80), `wss://HOST:PORT/PATH` over WebSocket with TLS (443) \
            or `unix:PATH`. It stands for the bindings that lead there, which `tidegate validate --expanded` prints. \
            It may contain the user name and the password (`mqtt://USER:PASSWORD@HOST`).",
    links: &["ws", "tls"],
    expand,
    stand_in: || Link {
        r#type: "tcp",
        options: vec![("host", "localhost".into())],
        defaults: Vec::new(),
    },
};

/// What to write, for errors.
const FORMS: &str = "use mqtt://HOST:PORT, mqtts://HOST:PORT, ws://HOST:PORT/PATH, wss://HOST:PORT/PATH or \
                     unix:PATH";

/// A scheme: its bindings before the last one, and its port.
fn scheme(name: &str) -> Option<(&'static [&'static str], u16)> {
    Some(match name {
        "mqtt" | "tcp" => (&[], 1883),
        "mqtts" | "ssl" | "tls" => (&["tls"], 8883),
        "ws" => (&["ws"], 80),
        "wss" => (&["ws", "tls"], 443),
        _ => return None,
    })
}

/// The errors do not repeat the URL, which may contain a password.
fn expand(url: &str) -> Result<Chain, String> {
    if let Some(path) = url.strip_prefix("unix:") {
        return unix(path);
    }
    let (name, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("not a URL; {FORMS}"))?;
    let (bindings, default_port) = scheme(&name.to_ascii_lowercase())
        .ok_or_else(|| format!("unknown scheme of the URL; {FORMS}"))?;
    if rest.contains('#') {
        return Err(
            "the URL has a fragment (#), which is not sent; remove it, or write %23".to_owned(),
        );
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    let (host, port) = address_of(address, FORMS)?;
    let mut chain = Chain {
        secrets: &["password"],
        ..Chain::default()
    };
    if let Some(user) = user {
        credentials(user, &mut chain)?;
    }
    // The rest of a password with '/' or '?' must not become a path, and its beginning not a port.
    if user.is_none() && target.contains('@') {
        return Err(
            "the URL has an '@' behind its path; write '/' and '?' of a password as %2F and %3F, and '@' of a \
             path as %40"
                .to_owned(),
        );
    }
    let over_websocket = bindings.contains(&"ws");
    if over_websocket && target.contains('?') {
        // A query may be a signature, as with AWS IoT Core.
        chain.secrets = &["password", "path"];
    }
    if !over_websocket && !matches!(target, "" | "/") {
        return Err(format!(
            "{name}:// has no path; remove it, or use ws:// or wss://"
        ));
    }
    for binding in bindings {
        let options = match *binding {
            "ws" if target.starts_with('?') => vec![("path", format!("/{target}").into())],
            // An empty path is that of the option's default.
            "ws" if !target.is_empty() => vec![("path", target.into())],
            _ => Vec::new(),
        };
        chain.links.push(Link {
            r#type: binding,
            options,
            defaults: Vec::new(),
        });
    }
    let port = port.unwrap_or(default_port);
    chain.links.push(Link {
        r#type: "tcp",
        options: vec![("host", host.into()), ("port", port.into())],
        defaults: Vec::new(),
    });
    Ok(chain)
}

fn unix(path: &str) -> Result<Chain, String> {
    // `unix:///run/x` has an empty host.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err("unix: has no path; use e.g. unix:/run/mosquitto/mqtt.sock".to_owned());
    }
    Ok(Chain {
        links: vec![Link {
            r#type: "tcp",
            options: vec![("unix", path.into())],
            defaults: Vec::new(),
        }],
        ..Chain::default()
    })
}

/// Host and port of an address; `forms` is what to write instead of one without a host.
pub(crate) fn address_of(address: &str, forms: &str) -> Result<(String, Option<u16>), String> {
    let bracketed = address.strip_prefix('[').and_then(|it| it.split_once(']'));
    let (host, port) = match (bracketed, address.split_once(':')) {
        (Some((host, "")), _) => (host, None),
        (Some((host, port)), _) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
        (None, Some((host, port))) => (host, Some(port)),
        (None, None) => (address, None),
    };
    if host.is_empty() {
        return Err(format!("the URL has no host; {forms}"));
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("the port of the URL is not 1 to 65535".to_owned()),
            Ok(port) => Some(port),
        },
    };
    Ok((host.to_owned(), port))
}

fn credentials(user: &str, chain: &mut Chain) -> Result<(), String> {
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (user, None),
    };
    let decode = |text: &str| {
        decoded(text).ok_or_else(|| {
            "the user name or the password of the URL is not valid; write characters other than letters and \
             digits as %XX"
                .to_owned()
        })
    };
    if !name.is_empty() {
        chain.options.push(("username", decode(name)?));
    }
    if let Some(password) = password {
        chain.options.push(("password", decode(password)?));
    }
    Ok(())
}

/// Text without percent-encoding (RFC 3986, 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chain in short: `ws{path:/a} tls tcp{host:h,port:1}`, behind options of the client.
    fn short(url: &str) -> String {
        let chain = expand(url).unwrap_or_else(|why| panic!("{url}: {why}"));
        let mut out: Vec<String> = chain
            .options
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        for link in &chain.links {
            let options: Vec<String> = link
                .options
                .iter()
                .map(|(key, value)| {
                    let value = serde_json::to_value(value).expect("JSON");
                    format!("{key}:{}", value.to_string().trim_matches('"'))
                })
                .collect();
            out.push(format!("{}{{{}}}", link.r#type, options.join(",")));
        }
        out.join(" ")
    }

    #[test]
    fn each_scheme_is_a_chain() {
        for (url, expected) in [
            ("mqtt://broker", "tcp{host:broker,port:1883}"),
            ("MQTT://broker:1884/", "tcp{host:broker,port:1884}"),
            ("tcp://[::1]:1884", "tcp{host:::1,port:1884}"),
            ("mqtt://[::1]", "tcp{host:::1,port:1883}"),
            ("mqtts://broker", "tls{} tcp{host:broker,port:8883}"),
            ("ssl://broker:1", "tls{} tcp{host:broker,port:1}"),
            ("ws://broker", "ws{} tcp{host:broker,port:80}"),
            ("ws://broker/", "ws{path:/} tcp{host:broker,port:80}"),
            (
                "ws://broker:8083/a?b=c",
                "ws{path:/a?b=c} tcp{host:broker,port:8083}",
            ),
            ("ws://broker?b=c", "ws{path:/?b=c} tcp{host:broker,port:80}"),
            (
                "wss://broker/mqtt",
                "ws{path:/mqtt} tls{} tcp{host:broker,port:443}",
            ),
            ("unix:/run/mqtt.sock", "tcp{unix:/run/mqtt.sock}"),
            ("unix:///run/mqtt.sock", "tcp{unix:/run/mqtt.sock}"),
            ("unix:mqtt.sock", "tcp{unix:mqtt.sock}"),
        ] {
            assert_eq!(short(url), expected, "{url}");
        }
    }

    #[test]
    fn credentials_are_options_of_the_client() {
        for (url, expected) in [
            ("mqtt://gate@b", "username=gate tcp{host:b,port:1883}"),
            (
                "mqtt://gate:p%40s%3As@b",
                "username=gate password=p@s:s tcp{host:b,port:1883}",
            ),
            ("mqtt://:word@b", "password=word tcp{host:b,port:1883}"),
            (
                "mqtt://a@b:c@d",
                "username=a@b password=c tcp{host:d,port:1883}",
            ),
        ] {
            assert_eq!(short(url), expected, "{url}");
        }
    }

    #[test]
    fn a_query_may_be_a_secret_and_is_not_printed() {
        let secrets = |url| expand(url).expect("valid").secrets;
        assert_eq!(secrets("wss://b/mqtt"), ["password"]);
        assert_eq!(secrets("wss://b/mqtt?signature=1"), ["password", "path"]);
    }

    #[test]
    fn what_is_no_url_of_a_broker_is_explained_without_its_text() {
        for (url, expected) in [
            ("secret", "not a URL"),
            ("secret:1883", "not a URL"),
            ("http://secret", "unknown scheme"),
            ("mqtt://", "has no host"),
            ("mqtt://secret@", "has no host"),
            ("mqtt://secret:0", "not 1 to 65535"),
            ("mqtt://secret:65536", "not 1 to 65535"),
            ("mqtt://[::1]secret", "not 1 to 65535"),
            ("mqtt://b/secret", "mqtt:// has no path"),
            ("ws://b/a#secret", "fragment"),
            ("ws://gate:12/secret@b/mqtt", "as %2F and %3F"),
            ("mqtt://gate:12?secret@b", "as %2F and %3F"),
            ("mqtt://secret%@b", "write characters"),
            ("mqtt://secret%ff@b", "write characters"),
            ("unix:", "has no path"),
        ] {
            let why = expand(url).expect_err(url);
            assert!(why.contains(expected), "{url}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
