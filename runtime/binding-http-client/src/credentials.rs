//! What requests are authorized with: fixed headers, and a token that may change.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::connect::Connector;
use crate::oauth::Tokens;
use crate::options::Options;

/// How long a token of a file is used before the file is read again.
const FILE_FRESH: Duration = Duration::from_secs(10);
/// Largest file with a token, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// Where the token comes from.
enum Source {
    None,
    /// It does not change.
    Fixed(HeaderValue),
    File {
        path: PathBuf,
        read: RefCell<Option<(HeaderValue, Instant)>>,
    },
    Server(Box<Tokens>),
}

/// What the requests of a worker are authorized with.
pub(crate) struct Credentials {
    headers: HeaderMap,
    source: Source,
}

impl Credentials {
    pub(crate) fn new(options: &Options, connector: Rc<Connector>) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            // Both were checked when the config was read.
            let name = HeaderName::try_from(name.as_str());
            if let (Ok(name), Ok(mut value)) = (name, HeaderValue::try_from(value.as_str())) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let authorization = options.authorization.clone().unwrap_or_default();
        let source = if let Some(token) = &authorization.bearer {
            bearer(token).map_or(Source::None, Source::Fixed)
        } else if let Some(path) = authorization.file {
            Source::File {
                path,
                read: RefCell::default(),
            }
        } else if let Some(client) = authorization.client_credentials {
            Source::Server(Box::new(Tokens::new(client, connector)))
        } else {
            Source::None
        };
        Self { headers, source }
    }

    /// The value of `Authorization` for the next request. The error says why there is none.
    pub(crate) async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        match &self.source {
            Source::None => Ok(None),
            Source::Fixed(value) => Ok(Some(value.clone())),
            Source::File { path, read } => {
                let known = read.borrow().clone();
                if let Some((value, at)) = known
                    && at.elapsed() < FILE_FRESH
                {
                    return Ok(Some(value));
                }
                let value = Box::pin(of_file(path, "file of 'authorization'")).await?;
                let value = bearer(&value).ok_or("the token in the file is not a valid token")?;
                read.replace(Some((value.clone(), Instant::now())));
                Ok(Some(value))
            }
            Source::Server(tokens) => Box::pin(tokens.current()).await.map(Some),
        }
    }

    /// A token was not accepted: whether there is another one now.
    pub(crate) async fn is_renewed(&self, used: Option<&HeaderValue>) -> bool {
        match &self.source {
            Source::None | Source::Fixed(_) => return false,
            Source::File { read, .. } => {
                read.take();
            }
            Source::Server(tokens) => tokens.forget(used).await,
        }
        let renewed = self.authorization().await;
        renewed.is_ok_and(|renewed| renewed.as_ref() != used)
    }

    /// Adds the headers to a request.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap, token: Option<&HeaderValue>) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.clone());
        }
    }
}

/// The value of `Authorization` with a token.
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The secret in a file, without white space around it.
pub(crate) async fn of_file(path: &Path, what: &str) -> Result<String, String> {
    let shown = path.display();
    let failed = |why: String| format!("cannot read the {what} ({shown}): {why}");
    let size = tokio::fs::metadata(path).await;
    let size = size.map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_MAX {
        return Err(failed(format!("larger than {FILE_MAX} bytes")));
    }
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| failed(error.to_string()))?;
    Ok(text.trim().to_owned())
}
