//! How a request tells where its body ends (RFC 9112, section 6).
//!
//! hyper refuses, with a bare 400, a `Transfer-Encoding` that does not end in `chunked` or comes with
//! HTTP/1.0, and a `Content-Length` that is not one number. What it would let through is refused here.
//! Beside `Transfer-Encoding` it drops `Content-Length`, so that this is looked for in the head as it
//! came; where that is not known, hyper closes the connection after the answer, as it must be.

use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, StatusCode};

use crate::refusal::Refusal;

/// Checks a request that has a `Transfer-Encoding`: nothing but `chunked`, and that once. `head` is the
/// request's head as it came, as far as it is known.
pub(crate) fn check(headers: &HeaderMap, head: &[u8]) -> Result<(), Refusal> {
    let mut count = 0;
    for field in headers.get_all(TRANSFER_ENCODING) {
        for coding in field.as_bytes().split(|byte| *byte == b',') {
            if !coding.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal(
                    StatusCode::NOT_IMPLEMENTED,
                    "Only the transfer coding 'chunked' is supported.",
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
            "There are both Transfer-Encoding and Content-Length; send one.",
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
