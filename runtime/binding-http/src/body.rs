//! A request's body, gathered whole and in bounded memory before a stream is opened for it.

use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tidegate_json::{Gather, Parts};
use tokio::time::sleep;

use crate::HttpServer;
use crate::refusal::Refusal;

/// How much of a body that is too large is read on, so that the client gets to read the answer.
const DISCARDED_MAX: usize = 64 * 1024 * 1024;

/// How long a body may still take when the engine stops: a client that is sending it gets its answer,
/// and one that is silent does not hold the stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

const TOO_LARGE: Refusal = Refusal(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.");
const LATE: Refusal = Refusal(StatusCode::REQUEST_TIMEOUT, "The body took too long.");
/// Nobody is there to read it.
const BROKEN: Refusal = Refusal(StatusCode::BAD_REQUEST, "The body broke off.");
const STOPPING: Refusal = Refusal(
    StatusCode::SERVICE_UNAVAILABLE,
    "The gateway is stopping, and the body had not come; send the request again.",
);

/// A body that did not come with its head: it has `bodyTimeout` as a whole, and little time where the
/// engine stops.
pub(crate) async fn within_its_time(
    edge: &HttpServer,
    gathering: Pin<&mut impl Future<Output = Result<Parts, Refusal>>>,
) -> Result<Parts, Refusal> {
    let mut stopping = edge.stopping.subscribe();
    let stop = async {
        let _ = stopping.wait_for(|stopping| *stopping).await;
        sleep(STOP_GRACE).await;
    };
    tokio::select! {
        biased;
        gathered = gathering => gathered,
        () = sleep(Duration::from_millis(edge.options.body_timeout)) => Err(LATE),
        () = stop => Err(STOPPING),
    }
}

/// The whole body. `asks` tells that the client waits to be told to go on, before it sends it.
pub(crate) async fn gather(mut body: Incoming, limit: usize, asks: bool) -> Result<Parts, Refusal> {
    let announced = body.size_hint().lower();
    let mut too_large = usize::try_from(announced).map_or(true, |announced| announced > limit);
    if too_large && asks {
        return Err(TOO_LARGE);
    }
    let mut parts = Gather::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BROKEN)?.into_data() else {
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
