//! The edge between each `mcp · proxy` with `pins` and its files: read before the workers start, and
//! compared by the first worker once a second.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_binding_mcp::proxy;
use tidegate_binding_mcp::proxy::{
    McpProxy, Options, Route,
    events::{PinsReloadFailed, PinsReloaded},
    pins::Pins,
};
use tidegate_config::{Config, Declared, MakeError};
use tidegate_driver::{Handle, StartError};
use tidegate_engine::BindingId;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::factory::{AttachError, Machine, Site};
use crate::pin_files::{PinFileError, accepted, read, waiting_path, write_waiting};

/// How often files are compared.
const INTERVAL: Duration = Duration::from_secs(1);

/// The pins of a binding, on all workers.
struct Shared {
    pins: Arc<Pins>,
    /// Other definitions are accepted.
    changed: watch::Sender<()>,
}

/// The pins of each `mcp · proxy` that has some, by binding name.
#[derive(Clone, Default)]
pub struct AllPins(Arc<BTreeMap<String, Arc<Shared>>>);

impl AllPins {
    /// Reads the files of all bindings. The error names the binding.
    pub(crate) fn load(config: &Config) -> Result<Self, StartError> {
        let mut all = BTreeMap::new();
        for (name, options) in pinned(config) {
            let failed = |why: PinFileError| StartError::Edge(format!("{name}: {why}"));
            let path = &options.pins_file;
            let pins = read(path).and_then(|pins| accepted(&pins, &name, path));
            let pins = Pins::new(pins.map_err(failed)?);
            let shared = Shared {
                pins: Arc::new(pins),
                changed: watch::Sender::new(()),
            };
            all.insert(name.clone(), Arc::new(shared));
        }
        Ok(Self(Arc::new(all)))
    }
}

/// Each `mcp · proxy` with pins, and its options.
pub(crate) fn pinned(config: &Config) -> impl Iterator<Item = (String, Options)> {
    let proxies = config
        .bindings
        .iter()
        .filter(|binding| (binding.r#type.as_str(), binding.kind.as_str()) == ("mcp", "proxy"));
    proxies.filter_map(|binding| {
        let options = binding.options::<Options>().ok()?;
        options.pins?;
        Some((binding.name.clone(), options))
    })
}

fn proxy(declared: &Declared<'_, BindingId>, pins: Arc<Pins>) -> Result<McpProxy, MakeError> {
    let routes = declared.routes::<proxy::Condition>()?.into_iter();
    let routes = routes.map(|route| Route {
        rule: route.rule,
        exit: route.exit,
    });
    let proxy = McpProxy::new(declared.options()?, routes.collect());
    Ok(proxy.with_pins(pins))
}

/// Makes a binding for a scenario, in which no definition is accepted.
pub(crate) fn make(declared: &Declared<'_, BindingId>) -> Result<Machine, String> {
    let proxy = proxy(declared, Arc::default()).map_err(|error| error.to_string())?;
    Ok(Box::new(proxy))
}

/// Attaches a binding to a worker. The first worker compares its files.
pub(crate) fn attach(
    declared: &Declared<'_, BindingId>,
    site: &mut Site<'_>,
) -> Result<BindingId, AttachError> {
    let shared = site.pins.0.get(declared.name()).cloned();
    let pins = shared.as_ref().map(|shared| Arc::clone(&shared.pins));
    let options: Options = declared.options()?;
    let proxy = proxy(declared, pins.unwrap_or_default())?;
    let id = site.assembly.attach(proxy);
    let Some(shared) = shared else { return Ok(id) };
    let handle = site.assembly.handle();
    let changed = shared.changed.subscribe();
    site.assembly.spawn(tell(handle.clone(), id, changed));
    if site.assembly.worker() == 0 {
        let watch = Watch {
            binding: declared.name().to_owned(),
            path: options.pins_file,
            shared,
            failed: None,
        };
        site.assembly.spawn(run(handle, id, watch));
    }
    Ok(id)
}

/// Tells the binding of a worker that other definitions are accepted.
async fn tell(handle: Handle, id: BindingId, mut changed: watch::Receiver<()>) {
    while changed.changed().await.is_ok() {
        handle.turn(id, McpProxy::pins_changed);
    }
}

/// The files of a binding.
struct Watch {
    binding: String,
    path: PathBuf,
    shared: Arc<Shared>,
    /// The last fault, so that it is reported once.
    failed: Option<String>,
}

impl Watch {
    /// Writes the definitions that wait, and takes the accepted ones if they have changed. Returns what
    /// is to be reported.
    fn step(&mut self) -> Option<Result<(), String>> {
        let outcome = self.exchange();
        match outcome {
            Ok(replaced) => {
                self.failed = None;
                replaced.then_some(Ok(()))
            }
            Err(error) => {
                let reason = error.to_string();
                let is_new = self.failed.as_ref() != Some(&reason);
                self.failed = Some(reason.clone());
                is_new.then_some(Err(reason))
            }
        }
    }

    fn exchange(&self) -> Result<bool, PinFileError> {
        if let Some(waiting) = self.shared.pins.waiting() {
            let written = write_waiting(&waiting_path(&self.path), &self.binding, waiting);
            if written.is_err() {
                self.shared.pins.retry();
            }
            written?;
        }
        let now = accepted(&read(&self.path)?, &self.binding, &self.path)?;
        let is_other = *self.shared.pins.accepted() != now;
        if is_other {
            self.shared.pins.replace(now);
            self.shared.changed.send_replace(());
        }
        Ok(is_other)
    }
}

async fn run(handle: Handle, id: BindingId, mut watch: Watch) {
    loop {
        sleep(INTERVAL).await;
        // A file system may block.
        let compared = spawn_blocking(move || {
            let report = watch.step();
            (watch, report)
        });
        let Ok((next, report)) = compared.await else {
            return;
        };
        watch = next;
        if let Some(outcome) = report {
            handle.turn(id, |cx| match outcome {
                Ok(()) => cx.event(&PinsReloaded {}),
                Err(reason) => cx.event(&PinsReloadFailed {
                    reason: reason.into(),
                }),
            });
        }
    }
}
