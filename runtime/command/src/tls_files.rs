//! The files of each `tls · client`: read before the workers start, shared by them, and watched by the
//! first one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_binding_tls::{Options, ReloadFailed, Reloaded, TlsClient};
use tidegate_config::{Config, Declared};
use tidegate_driver::{Handle, StartError};
use tidegate_engine::BindingId;
use tidegate_tls::{Current, Reload, Unusable};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::factory::{AttachError, Machine, Site};

/// The files of each `tls · client`, by binding name.
#[derive(Clone, Default)]
pub struct TlsFiles(Arc<BTreeMap<String, Arc<Current<Options>>>>);

impl TlsFiles {
    /// Reads the files of all bindings. The error names the binding.
    pub(crate) fn load(config: &Config) -> Result<Self, StartError> {
        let clients = config.bindings.iter().filter(|binding| {
            (binding.r#type.as_str(), binding.kind.as_str()) == ("tls", "client")
        });
        let loaded = clients.map(|binding| {
            let failed = |why: String| StartError::Edge(format!("{}: {why}", binding.name));
            let options = binding
                .options()
                .map_err(|error| failed(error.to_string()))?;
            let current = Current::load(options).map_err(|why| failed(why.to_string()))?;
            Ok((binding.name.clone(), Arc::new(current)))
        });
        Ok(Self(Arc::new(loaded.collect::<Result<_, StartError>>()?)))
    }
}

/// Makes a binding for a scenario.
pub(crate) fn make(declared: &Declared<'_, BindingId>) -> Result<Machine, String> {
    let fault = |error: &dyn std::fmt::Display| error.to_string();
    let options: Options = declared.options().map_err(|error| fault(&error))?;
    let exit = declared.exit().map_err(|error| fault(&error))?;
    let current = Current::load(options.clone()).map_err(|why| fault(&why))?;
    Ok(Box::new(TlsClient::new(options, Arc::new(current), exit)))
}

/// Attaches a binding to a worker. The first worker watches its files.
pub(crate) fn attach(
    declared: &Declared<'_, BindingId>,
    site: &mut Site<'_>,
) -> Result<BindingId, AttachError> {
    let (options, exit) = (declared.options()?, declared.exit()?);
    let Some(current) = site.tls_files.0.get(declared.name()).cloned() else {
        let why = format!("{}: its files were not read", declared.name());
        return Err(StartError::Edge(why).into());
    };
    let client = TlsClient::new(options, Arc::clone(&current), exit);
    let id = site.assembly.attach(client);
    if site.assembly.worker() == 0 {
        let handle = site.assembly.handle();
        site.assembly.spawn(watch(handle, id, current));
    }
    Ok(id)
}

async fn watch(handle: Handle, id: BindingId, current: Arc<Current<Options>>) {
    let mut reload = Reload::new(current);
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
            report(&handle, id, outcome);
        }
    }
}

fn report(handle: &Handle, id: BindingId, outcome: Result<(), Unusable>) {
    handle.turn(id, |cx| match outcome {
        Ok(()) => cx.event(&Reloaded {}),
        Err(why) => {
            let reason = why.to_string().into();
            cx.event(&ReloadFailed { reason });
        }
    });
}
