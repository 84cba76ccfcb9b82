//! The metadata of a protected resource (RFC 9728): where clients get tokens.
//!
//! It is served at the path of the public URL, at the path of the endpoint, which may differ behind a
//! reverse proxy, and at the root, because clients try them in turn. It needs no credentials, and pages of
//! all origins may read it. Everything in it is from the config, nothing from a request.

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use tidegate_guard::jwt::Url;
use tidegate_json::write::push_string;

use crate::activity::ActiveRequest;
use crate::options::Resource;
use crate::refusal::Refusal;
use crate::response::ResponseBody;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

const UNSUPPORTED: Refusal = Refusal(
    StatusCode::METHOD_NOT_ALLOWED,
    "Method not allowed; use GET, HEAD or OPTIONS.",
);

/// The page and where it is.
pub(crate) struct Metadata {
    url: String,
    paths: Vec<String>,
    page: Bytes,
}

impl Metadata {
    /// `issuer` is that of the guard, `endpoint` the path of the endpoint.
    pub(super) fn new(resource: &Resource, issuer: &str, endpoint: &str) -> Self {
        let url = resource.url.as_str();
        let path = url
            .parse()
            .map_or_else(|_| "/".to_owned(), |url: Uri| url.path().to_owned());
        // RFC 9728, section 3.1: between host and path; a slash alone is left out.
        let origin = url.strip_suffix(&path).unwrap_or(url);
        let of = |path: &str| format!("{WELL_KNOWN}{}", if path == "/" { "" } else { path });
        Self {
            url: format!("{origin}{}", of(&path)),
            paths: vec![of(&path), of(endpoint), WELL_KNOWN.to_owned()],
            page: page(resource, issuer),
        }
    }

    /// The URL of the page.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether the page is at a path, with or without a slash at its end.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        if !path.starts_with(WELL_KNOWN) {
            return false;
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut paths = self.paths.iter();
        paths.any(|known| known.strip_suffix('/').unwrap_or(known) == path)
    }

    /// Answers a request for the page.
    pub(crate) fn answer(&self, method: &Method, active: ActiveRequest) -> Response<ResponseBody> {
        let mut response = match *method {
            // hyper sends the head only in answer to HEAD.
            Method::GET | Method::HEAD => {
                let mut response = Response::new(ResponseBody::of_bytes(self.page.clone(), active));
                let headers = response.headers_mut();
                set(headers, CONTENT_TYPE, "application/json");
                set(headers, CACHE_CONTROL, "public, max-age=300");
                response
            }
            Method::OPTIONS => {
                let mut response = Response::new(ResponseBody::of_text("", active));
                *response.status_mut() = StatusCode::NO_CONTENT;
                let headers = response.headers_mut();
                set(headers, ALLOW, "GET, HEAD, OPTIONS");
                set(headers, ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS");
                set(headers, ACCESS_CONTROL_ALLOW_HEADERS, "*");
                set(headers, ACCESS_CONTROL_MAX_AGE, "3600");
                response
            }
            _ => {
                let mut response = UNSUPPORTED.answer(active);
                set(response.headers_mut(), ALLOW, "GET, HEAD, OPTIONS");
                response
            }
        };
        set(response.headers_mut(), ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        response
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

fn page(resource: &Resource, issuer: &str) -> Bytes {
    let mut page = BytesMut::new();
    page.extend_from_slice(b"{\"resource\":");
    push_string(&mut page, resource.url.as_str());
    let servers = resource.authorization_servers.iter().map(Url::as_str);
    let own = resource.authorization_servers.is_empty().then_some(issuer);
    list(&mut page, "authorization_servers", servers.chain(own));
    let scopes = resource.scopes.iter().map(String::as_str);
    list(&mut page, "scopes_supported", scopes);
    list(
        &mut page,
        "bearer_methods_supported",
        ["header"].into_iter(),
    );
    let documentation = resource.documentation.as_ref().map(Url::as_str);
    for (key, value) in [
        ("resource_name", resource.name.as_deref()),
        ("resource_documentation", documentation),
    ] {
        if let Some(value) = value {
            page.extend_from_slice(format!(",\"{key}\":").as_bytes());
            push_string(&mut page, value);
        }
    }
    page.extend_from_slice(b"}");
    page.freeze()
}

/// Adds a member with texts, unless there are none.
fn list<'a>(page: &mut BytesMut, key: &str, values: impl Iterator<Item = &'a str>) {
    let mut separator = format!(",\"{key}\":[");
    for value in values {
        page.extend_from_slice(separator.as_bytes());
        push_string(page, value);
        ",".clone_into(&mut separator);
    }
    if separator == "," {
        page.extend_from_slice(b"]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(json: &str) -> Metadata {
        let resource = serde_json::from_str(json).expect("a resource");
        Metadata::new(&resource, "https://id.example/", "/mcp")
    }

    #[test]
    fn it_is_found_at_the_path_of_the_url_of_the_endpoint_and_at_the_root() {
        for (url, expected, at) in [
            (
                "https://a.example/mcp",
                "https://a.example/.well-known/oauth-protected-resource/mcp",
                &["/mcp", "/mcp/"][..],
            ),
            (
                "https://a.example/x/mcp",
                "https://a.example/.well-known/oauth-protected-resource/x/mcp",
                &["/x/mcp", "/mcp"],
            ),
            (
                "https://a.example",
                "https://a.example/.well-known/oauth-protected-resource",
                &["", "/mcp"],
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/oauth-protected-resource",
                &["", "/"],
            ),
        ] {
            let metadata = metadata(&format!(r#"{{ "url": "{url}" }}"#));
            assert_eq!(metadata.url(), expected);
            for path in at.iter().chain(&[""]) {
                assert!(
                    metadata.is_at(&format!("{WELL_KNOWN}{path}")),
                    "{url} {path}"
                );
            }
            assert!(!metadata.is_at("/.well-known/oauth-protected-resource/other"));
            assert!(!metadata.is_at("/.well-known/oauth-protected-resourcex"));
        }
    }

    #[test]
    fn the_page_has_what_the_config_says() {
        let page = metadata(r#"{ "url": "https://a.example/mcp" }"#).page;
        assert_eq!(
            page,
            r#"{"resource":"https://a.example/mcp","authorization_servers":["https://id.example/"],"bearer_methods_supported":["header"]}"#
        );
        let page = metadata(
            r#"{ "url": "https://a.example/mcp", "authorizationServers": ["https://x.example", "https://y.example"],
                 "scopes": ["a", "b"], "name": "Plant \"1\"", "documentation": "https://a.example/doc" }"#,
        )
        .page;
        assert_eq!(
            page,
            r#"{"resource":"https://a.example/mcp","authorization_servers":["https://x.example","https://y.example"],"scopes_supported":["a","b"],"bearer_methods_supported":["header"],"resource_name":"Plant \"1\"","resource_documentation":"https://a.example/doc"}"#
        );
    }
}
