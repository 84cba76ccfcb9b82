//! A request's body, gathered whole and in bounded memory before a stream is opened for it.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use smallvec::SmallVec;
use tokio::time::sleep;

use crate::HttpServer;
use crate::refusal::Refusal;

/// How much of a body that is too large is read on, so that the client gets to read the answer.
const DISCARDED_MAX: usize = 64 * 1024 * 1024;
/// After how many parts of a body the small ones are gathered.
const PARTS_MAX: usize = 64;
/// A part of fewer bytes is small.
const SMALL: usize = 4 * 1024;
/// How many bytes are gathered to one part.
const GATHERED: usize = 64 * 1024;

/// A body in parts; nearly always one or two.
pub(crate) type Parts = SmallVec<[Bytes; 2]>;

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
    let mut parts = Gathered::default();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BROKEN)?.into_data() else {
            continue;
        };
        length += data.len();
        if too_large || length > limit {
            too_large = true;
            parts = Gathered::default();
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
        Ok(parts.finish())
    }
}

/// A body's parts, in the buffers in which they were read; but a body that comes in very many small
/// ones costs no more memory than another: those are gathered.
#[derive(Default)]
struct Gathered {
    whole: Parts,
    small: BytesMut,
}

impl Gathered {
    fn push(&mut self, part: Bytes) {
        if self.whole.len() >= PARTS_MAX && part.len() < SMALL {
            self.small.extend_from_slice(&part);
            if self.small.len() >= GATHERED {
                self.whole.push(self.small.split().freeze());
            }
        } else if !part.is_empty() {
            self.settle();
            self.whole.push(part);
        }
    }

    fn settle(&mut self) {
        if !self.small.is_empty() {
            self.whole.push(self.small.split().freeze());
        }
    }

    fn finish(mut self) -> Parts {
        self.settle();
        self.whole
    }
}
