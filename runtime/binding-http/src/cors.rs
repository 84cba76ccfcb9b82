//! Cross-origin requests of browsers (`accessControl`; the CORS protocol of the Fetch standard).
//!
//! Who may send requests is decided by `origin.rs`. Here browsers are told so: in the answer to a
//! preflight request, which never reaches a binding and needs no credentials, and in headers of every
//! response to an allowed origin.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};

use crate::client::Port;
use crate::options::Options;
use crate::origin;

/// The headers of responses.
pub(crate) struct Cors {
    methods: HeaderValue,
    headers: HeaderValue,
    exposed: HeaderValue,
    max_age: HeaderValue,
    credentials: bool,
}

impl Cors {
    /// `None` without `accessControl`.
    pub(crate) fn of(options: &Options) -> Option<Self> {
        let control = options.access_control.as_ref()?;
        // The names were checked with the options.
        let list = |names: &[String]| HeaderValue::from_str(&names.join(", ")).ok();
        Some(Self {
            methods: list(&control.methods)?,
            headers: list(&control.headers)?,
            exposed: list(&control.exposed_headers)?,
            max_age: control.max_age.into(),
            credentials: control.credentials,
        })
    }

    /// Adds what lets a page of this origin read the response.
    pub(crate) fn expose(
        &self,
        origin: &HeaderValue,
        options: &Options,
        port: Port,
        response: &mut HeaderMap,
    ) {
        response.append(VARY, HeaderValue::from_name(ORIGIN));
        if !origin::is_allowed(origin, options, port) {
            return;
        }
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            let allowed = HeaderValue::from_static("true");
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
        }
        if !self.exposed.is_empty() {
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        }
    }

    /// Adds the answer to a preflight request.
    pub(crate) fn preflight(&self, response: &mut HeaderMap) {
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, &self.methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, &self.headers),
            (ACCESS_CONTROL_MAX_AGE, &self.max_age),
        ] {
            response.insert(name, value.clone());
        }
        for name in [
            ACCESS_CONTROL_REQUEST_METHOD,
            ACCESS_CONTROL_REQUEST_HEADERS,
        ] {
            response.append(VARY, HeaderValue::from_name(name));
        }
    }
}

/// Whether a browser asks if it may send another request.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
