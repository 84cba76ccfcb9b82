//! Checks the message framing of a request (RFC 9112, section 6).
//!
//! hyper refuses, with a bare 400, a `Transfer-Encoding` that does not end in `chunked` or comes
//! with HTTP/1.0, and a `Content-Length` that is not one number. This refuses what hyper would
//! accept. hyper drops `Content-Length` when there is a `Transfer-Encoding`, so it is searched in
//! the received head; if that is not available, hyper closes the connection after the response, as
//! required.

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, StatusCode};

use crate::refusal::Refusal;

/// Checks a request with `Transfer-Encoding`: only a single `chunked` is allowed. `head` is the
/// received head, as far as it is available.
pub(crate) fn check(headers: &HeaderMap, head: &[u8]) -> Result<(), Refusal> {
    let mut count = 0;
    for field in headers.get_all(TRANSFER_ENCODING) {
        for coding in field.as_bytes().split(|byte| *byte == b',') {
            if !coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal(
                    StatusCode::NOT_IMPLEMENTED,
                    "Unsupported transfer coding; only 'chunked' is supported.",
                ));
            }
            count += 1;
        }
    }
    if count > 1 {
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            "The transfer coding 'chunked' is applied more than once.",
        ));
    }
    if has_content_length(head) {
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            "Both Transfer-Encoding and Content-Length are present; send one of them.",
        ));
    }
    Ok(())
}

fn has_content_length(head: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    head.trim_ascii_start()
        .split(|byte| *byte == b'\n')
        .take_while(|line| !matches!(line, [] | [b'\r']))
        .filter_map(|line| line.get(..NAME.len()))
        .any(|name| name.eq_ignore_ascii_case(NAME))
}
