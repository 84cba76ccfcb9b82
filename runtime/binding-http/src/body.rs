//! Buffers a whole request body, with a size limit, before a stream is opened for it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tidegate_json::{Gather, Parts};
use tokio::time::sleep;

use crate::HttpServer;
use crate::refusal::Refusal;

/// Bytes of an oversized body that are still read and discarded, so that the client reads the
/// response.
const DISCARDED_MAX: usize = 64 * 1024 * 1024;

/// Time a body may still take when the engine stops: enough for a client that is sending, without
/// blocking the stop for one that is silent.
const STOP_GRACE: Duration = Duration::from_secs(1);

const TOO_LARGE: Refusal = Refusal(
    StatusCode::PAYLOAD_TOO_LARGE,
    "Body too large (maxBodySize).",
);
const TIMED_OUT: Refusal = Refusal(
    StatusCode::REQUEST_TIMEOUT,
    "Timeout while receiving the body (bodyTimeout).",
);
/// The client has disconnected and will not receive this.
const INCOMPLETE: Refusal = Refusal(StatusCode::BAD_REQUEST, "Incomplete body.");
const STOPPING: Refusal = Refusal(
    StatusCode::SERVICE_UNAVAILABLE,
    "The gateway is stopping and the body was incomplete; retry the request.",
);

/// Applies the time limits to a body that did not arrive with its head: `bodyTimeout` in total, and
/// [`STOP_GRACE`] when the engine stops.
pub(crate) async fn with_timeout<T>(
    edge: &HttpServer,
    gathering: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
) -> Result<T, Refusal> {
    let mut stopping = edge.stopping.subscribe();
    let stop = async {
        let _ = stopping.wait_for(|stopping| *stopping).await;
        sleep(STOP_GRACE).await;
    };
    tokio::select! {
        biased;
        gathered = gathering => gathered,
        () = sleep(Duration::from_millis(edge.options.body_timeout)) => Err(TIMED_OUT),
        () = stop => Err(STOPPING),
    }
}

/// Reads the whole body. `expects_continue`: the client waits for `100 Continue` before sending it.
pub(crate) async fn gather(
    mut body: Incoming,
    limit: usize,
    expects_continue: bool,
) -> Result<Parts, Refusal> {
    let announced = body.size_hint().lower();
    let mut too_large = usize::try_from(announced).map_or(true, |announced| announced > limit);
    if too_large && expects_continue {
        return Err(TOO_LARGE);
    }
    let mut parts = Gather::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| INCOMPLETE)?.into_data() else {
            continue;
        };
        length += data.len();
        if too_large || length > limit {
            too_large = true;
            parts = Gather::new();
            if length > DISCARDED_MAX {
                break;
            }
        } else {
            parts.push(data);
        }
    }
    if too_large {
        Err(TOO_LARGE)
    } else {
        Ok(parts.take())
    }
}

/// Reads a body of at most `limit` bytes and forgets it, so that the connection can be used for the next
/// request. Fails if that would take more.
pub(crate) async fn discard(
    mut body: Incoming,
    limit: usize,
    expects_continue: bool,
) -> Result<(), Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit || (expects_continue && announced > 0) {
        return Err(TOO_LARGE);
    }
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame
            .map_err(|_| INCOMPLETE)?
            .data_ref()
            .map_or(0, Bytes::len);
        if length > limit {
            return Err(TOO_LARGE);
        }
    }
    Ok(())
}
