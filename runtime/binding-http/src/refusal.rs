//! A request that is answered by the edge itself, with a sentence.

use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use hyper::Response;

use crate::activity::ActiveRequest;
use crate::response::ResponseBody;

/// Why a request does not reach the callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) &'static str);

impl Refusal {
    /// The response. Behind a request that breaks the protocol the connection is closed: what follows
    /// may not be what it seems.
    pub(crate) fn answer(self, active: ActiveRequest) -> Response<ResponseBody> {
        let Self(status, sentence) = self;
        let mut response = Response::new(ResponseBody::of_text(sentence, active));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED
        ) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
