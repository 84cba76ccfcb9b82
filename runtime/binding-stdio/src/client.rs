//! `stdio · client`: a child process for each line stream.
//!
//! Each message of the stream is a line of the process's standard input; each line of its standard output
//! is a message of the reply. What it writes to standard error is logged.
//!
//! - The process gets the variables of the environment that a program needs to run (`PATH`, `HOME` and a
//!   few more), and those of `environment`. The others of the gateway, which may be secrets, stay here.
//! - A process that ends by itself, or cannot be started, resets its stream with the reason. After the
//!   second failure in a row, further starts wait: streams are refused until then.
//! - The END of the stream closes its standard input. A process that is still there after `stopTimeout`
//!   gets SIGTERM, and SIGKILL after the same time again; both go to all processes of its group.
//!
//! Bounds: `maxLineSize`, beyond which a line is skipped and reported by a FLUSH; the credit of the stream
//! for what it does not read; 4 KiB of a line of standard error, and 100 such lines a second.

mod backoff;
mod diagnostics;
mod options;
mod process;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tidegate_driver::{Assembly, Edge, Handle, caught};
use tidegate_engine::MeterKind::Counter;
use tidegate_engine::{At, BindingId, Meter, StreamId};
use tidegate_streams::{Frame, FrameKind};

use backoff::Backoff;
pub use options::Options;
use process::Process;

/// Credit of a stream to its process, in bytes.
const WINDOW: u32 = 256 * 1024;

/// What the processes of a worker share.
pub(crate) struct Shared {
    pub(crate) edge: BindingId,
    /// The name of the binding, for logs.
    pub(crate) name: String,
    pub(crate) options: Options,
    pub(crate) backoff: RefCell<Backoff>,
    pub(crate) started: Cell<u64>,
    pub(crate) failed: Cell<u64>,
}

/// The edge `stdio · client`.
struct StdioClient {
    shared: Rc<Shared>,
    handle: Handle,
    state: Rc<RefCell<BTreeMap<StreamId, Rc<Process>>>>,
}

/// Attaches the edge to a worker.
pub fn attach(assembly: &mut Assembly, name: &str, options: Options) -> BindingId {
    let (id, _) = assembly.attach_edge(WINDOW, |edge, handle| {
        let shared = Shared {
            edge,
            name: name.to_owned(),
            options,
            backoff: RefCell::default(),
            started: Cell::new(0),
            failed: Cell::new(0),
        };
        Rc::new(StdioClient {
            shared: Rc::new(shared),
            handle,
            state: Rc::default(),
        })
    });
    id
}

impl StdioClient {
    /// Runs a process in a task, and removes it when the task ends.
    fn run(&self, process: &Rc<Process>) {
        let (handle, state) = (self.handle.clone(), Rc::clone(&self.state));
        let shared = Rc::clone(&self.shared);
        let running = Rc::clone(process);
        let run = Rc::clone(process).run(handle.clone(), Rc::clone(&shared));
        tokio::task::spawn_local(async move {
            if caught(run).await.is_err() {
                running.fail(&handle, &shared, "internal error in tidegate");
            }
            state.borrow_mut().remove(&running.stream());
        });
    }
}

impl Edge for StdioClient {
    fn on_output(&self, at: At, frame: Frame) {
        if frame.kind() == FrameKind::Begin {
            let process = Rc::new(Process::new(at.stream));
            self.run(&process);
            self.state.borrow_mut().insert(at.stream, process);
            return;
        }
        let process = self.state.borrow().get(&at.stream).cloned();
        if let Some(process) = process {
            process.take(frame);
        }
    }

    fn report(&self, meter: &mut dyn Meter) {
        meter.gauge("stdio.client.processes", self.state.borrow().len());
        for (outcome, count) in [
            ("started", self.shared.started.get()),
            ("failed", self.shared.failed.get()),
        ] {
            let labels = [("outcome", outcome)];
            meter.record(Counter, "stdio.client.starts", &labels, count);
        }
    }
}
