//! Reloads the files of `tls` when they have changed.
//!
//! The contents are compared every few seconds, which also finds what a notification would miss: files
//! behind a symbolic link, as in a mounted Kubernetes secret, and bind mounts. A certificate and its
//! key are often replaced one after the other, so changed files are used when they have stopped
//! changing. Files that cannot be used are reported once.

use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::files::Files;
use super::{Certificates, Current, Unusable};
use crate::HttpServer;
use crate::events::{CertificatesFailed, CertificatesReloaded};

/// How often the files are compared.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long changed files must stay the same.
const SETTLED: Duration = Duration::from_millis(300);

/// Changed files, and what they make.
type Changed = (Files, Result<Arc<ServerConfig>, Unusable>);

/// Watches the files until the engine stops. One worker does, for all.
pub(crate) async fn watch(edge: Rc<HttpServer>, certificates: Arc<Certificates>) {
    let mut stopping = edge.stopping.subscribe();
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = reload(&edge, &certificates) => {}
    }
}

async fn reload(edge: &HttpServer, certificates: &Arc<Certificates>) {
    let mut reported = None;
    let mut previous = None;
    loop {
        let waits = previous.is_some();
        sleep(if waits { SETTLED } else { INTERVAL }).await;
        // A file system may block.
        let (shared, last) = (Arc::clone(certificates), previous.take());
        let Ok(step) = spawn_blocking(move || compare(&shared, last.as_ref())).await else {
            continue;
        };
        match step {
            Step::Same => reported = None,
            Step::Changing(files) => previous = Some(files),
            Step::Settled(changed) => match certificates.take(*changed) {
                Ok(()) => {
                    reported = None;
                    edge.handle
                        .turn(edge.id, |cx| cx.event(&CertificatesReloaded {}));
                }
                Err(why) => report(edge, &mut reported, why),
            },
            Step::Unreadable(why) => report(edge, &mut reported, why),
        }
    }
}

fn report(edge: &HttpServer, reported: &mut Option<Unusable>, why: Unusable) {
    if reported.as_ref() != Some(&why) {
        let reason = why.to_string().into();
        edge.handle
            .turn(edge.id, |cx| cx.event(&CertificatesFailed { reason }));
        *reported = Some(why);
    }
}

enum Step {
    /// The files are those in use.
    Same,
    /// They differ from those in use and from the last ones.
    Changing(Files),
    /// They differ from those in use, and have stopped changing.
    Settled(Box<Changed>),
    Unreadable(Unusable),
}

fn compare(certificates: &Certificates, last: Option<&Files>) -> Step {
    let files = match Files::read(&certificates.options) {
        Ok(files) => files,
        Err(why) => return Step::Unreadable(why),
    };
    if certificates.uses(&files) {
        return Step::Same;
    }
    if last != Some(&files) {
        return Step::Changing(files);
    }
    let config = files.config(&certificates.options);
    Step::Settled(Box::new((files, config)))
}

impl Certificates {
    fn uses(&self, files: &Files) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.files == *files
    }

    fn take(&self, (files, config): Changed) -> Result<(), Unusable> {
        let config = config?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Current { config, files };
        Ok(())
    }
}

/// Compares the files as [`watch`] does, without waiting; whether other ones are in use now.
#[cfg(test)]
pub(crate) fn reload_now(certificates: &Arc<Certificates>) -> Result<bool, String> {
    let mut last = None;
    loop {
        match compare(certificates, last.as_ref()) {
            Step::Same => return Ok(false),
            Step::Changing(files) => last = Some(files),
            Step::Settled(changed) => {
                return match certificates.take(*changed) {
                    Ok(()) => Ok(true),
                    Err(why) => Err(why.to_string()),
                };
            }
            Step::Unreadable(why) => return Err(why.to_string()),
        }
    }
}
