//! Redirects: followed where they lead to the same server.

use http::header::LOCATION;
use http::{HeaderMap, StatusCode, Uri};

/// Most redirects of a request.
pub(crate) const MAX: usize = 3;

/// The path that a response redirects to; `None` if it does not, or to another server. `origin`: scheme and
/// authority of the server. Only redirects that keep method and body are followed.
pub(crate) fn path(
    status: StatusCode,
    headers: &HeaderMap,
    scheme: &str,
    authority: &str,
) -> Option<String> {
    if !matches!(
        status,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    ) {
        return None;
    }
    let location = headers.get(LOCATION)?.to_str().ok()?;
    if location.starts_with('/') && !location.starts_with("//") {
        let uri: Uri = location.parse().ok()?;
        return uri.path_and_query().map(ToString::to_string);
    }
    let uri: Uri = location.parse().ok()?;
    let same_scheme = uri.scheme_str() == Some(scheme);
    let implied = if scheme == "https" { ":443" } else { ":80" };
    let given = uri.authority()?.as_str();
    let given = given.strip_suffix(implied).unwrap_or(given);
    let same = same_scheme && given.eq_ignore_ascii_case(authority);
    same.then(|| uri.path_and_query().map(ToString::to_string))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_redirect_to_the_same_server_is_followed() {
        let follow = |status: u16, location: &str, scheme: &str, authority: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().expect("a header"));
            let status = StatusCode::from_u16(status).expect("a status");
            path(status, &headers, scheme, authority)
        };
        for (location, expected) in [
            ("/mcp/", Some("/mcp/")),
            ("/mcp/?a=b", Some("/mcp/?a=b")),
            ("https://a.example/x", Some("/x")),
            ("https://A.example:443/x", Some("/x")),
            ("http://a.example/x", None),
            ("https://b.example/x", None),
            ("https://a.example:444/x", None),
            ("https://a.example@b.example/x", None),
            ("//b.example/x", None),
            ("mcp/", None),
        ] {
            let found = follow(307, location, "https", "a.example");
            assert_eq!(found.as_deref(), expected, "{location}");
        }
        assert_eq!(follow(302, "/x", "http", "a"), None);
        assert_eq!(
            follow(308, "http://a:80/x", "http", "a").as_deref(),
            Some("/x")
        );
    }
}
