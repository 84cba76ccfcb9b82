//! Reloads the files of `tls` when they have changed ([`tidegate_tls::Reload`]).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_tls::{Reload, Unusable};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::Certificates;
use crate::HttpServer;
use crate::events::{CertificatesFailed, CertificatesReloaded};

/// Watches the files until the engine stops. One worker does, for all.
pub(crate) async fn watch(edge: Rc<HttpServer>, certificates: Arc<Certificates>) {
    let mut stopping = edge.stopping.subscribe();
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = reload(&edge, &certificates) => {}
    }
}

async fn reload(edge: &HttpServer, certificates: &Arc<Certificates>) {
    let mut reload = Reload::new(Arc::clone(&certificates.current));
    let mut after = Duration::ZERO;
    loop {
        sleep(after).await;
        // A file system may block.
        let compared = spawn_blocking(move || {
            let step = reload.step();
            (reload, step)
        });
        let Ok((next, step)) = compared.await else {
            return;
        };
        (reload, after) = (next, step.after);
        if let Some(outcome) = step.report {
            report(edge, outcome);
        }
    }
}

fn report(edge: &HttpServer, outcome: Result<(), Unusable>) {
    edge.handle.turn(edge.id, |cx| match outcome {
        Ok(()) => cx.event(&CertificatesReloaded {}),
        Err(why) => {
            let reason = why.to_string().into();
            cx.event(&CertificatesFailed { reason });
        }
    });
}

/// Compares the files as [`watch`] does, without waiting; whether other ones are in use now.
#[cfg(test)]
pub(crate) fn reload_now(certificates: &Arc<Certificates>) -> Result<bool, String> {
    let mut reload = Reload::new(Arc::clone(&certificates.current));
    let changing = reload.step();
    let last = match changing.report {
        None => reload.step(),
        Some(_) => changing,
    };
    match last.report {
        None => Ok(false),
        Some(Ok(())) => Ok(true),
        Some(Err(why)) => Err(why.to_string()),
    }
}
