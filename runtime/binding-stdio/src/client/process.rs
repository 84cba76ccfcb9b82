//! A process: its stream, its standard input and output, and its end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_driver::Handle;
use tidegate_engine::{PendingData, StreamId};
use tidegate_streams::line::{LineBegin, LineOversized, LineReset};
use tidegate_streams::{AbortEx, Data, DataFlags, Frame, ResetEx};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::diagnostics;
use super::{Options, Shared};
use crate::lines::{Line, Lines};
use crate::write_part;

/// Variables of the environment that a program needs to run.
const PASSED: [&str; 10] = [
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TERM", "TZ", "TMPDIR",
];

/// How long the output of a process that has ended is still read: another process may have it open.
const DRAIN: Duration = Duration::from_millis(500);

/// A process, from the BEGIN of its stream until it has ended.
pub(crate) struct Process {
    stream: StreamId,
    input: RefCell<VecDeque<(Bytes, bool)>>,
    output: RefCell<PendingData>,
    /// There is input to write, or its end.
    written: Notify,
    /// Credit has arrived for queued output.
    credit: Notify,
    /// The stream has ended: the process is to end.
    ending: Cell<bool>,
    asked: Notify,
    over: Cell<bool>,
}

impl Process {
    pub(crate) fn new(stream: StreamId) -> Self {
        Self {
            stream,
            input: RefCell::default(),
            output: RefCell::default(),
            written: Notify::new(),
            credit: Notify::new(),
            ending: Cell::new(false),
            asked: Notify::new(),
            over: Cell::new(false),
        }
    }

    pub(crate) const fn stream(&self) -> StreamId {
        self.stream
    }

    /// Handles a frame of the stream.
    pub(crate) fn take(&self, frame: Frame) {
        match frame {
            Frame::Data(data) => {
                let fin = data.flags.is_fin();
                self.input.borrow_mut().push_back((data.payload, fin));
                self.written.notify_one();
            }
            Frame::Window(_) => self.credit.notify_one(),
            Frame::End(_) => self.end(),
            Frame::Abort(_) | Frame::Reset(_) => {
                self.over.set(true);
                self.end();
            }
            _ => {}
        }
    }

    fn end(&self) {
        self.ending.set(true);
        self.written.notify_one();
        self.credit.notify_one();
        self.asked.notify_one();
    }

    /// Starts the process, and passes lines on until it ends.
    pub(crate) async fn run(self: Rc<Self>, handle: Handle, shared: Rc<Shared>) {
        let waits = shared.backoff.borrow().wait().map(|(wait, reason)| {
            let seconds = wait.as_secs() + 1;
            format!("{reason}; it is started again in {seconds} s at the earliest")
        });
        if let Some(waits) = waits {
            return self.fail(&handle, &shared, &waits);
        }
        let began = Instant::now();
        let mut child = match start(&shared.options) {
            Ok(child) => child,
            Err(error) => {
                let command = &shared.options.command;
                let reason = format!("cannot start '{command}': {error}");
                return self.failed(&handle, &shared, Duration::ZERO, &reason);
            }
        };
        let group = Group::of(&child);
        shared.started.set(shared.started.get() + 1);
        // Keeps a stopping worker until the process has ended.
        let _hold = handle.hold();
        handle.turn(shared.edge, |cx| {
            cx.send(self.stream, Frame::begin(LineBegin {}));
        });
        let logging = child.stderr.take().map(|errors| {
            let log = diagnostics::log(shared.name.clone(), errors);
            tokio::task::spawn_local(log)
        });
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let writing = input.map(|input| {
            let write = Rc::clone(&self).write(handle.clone(), Rc::clone(&shared), input);
            tokio::task::spawn_local(write)
        });
        let mut reading = output.map(|output| {
            let read = Rc::clone(&self).read(handle.clone(), Rc::clone(&shared), output);
            tokio::task::spawn_local(read)
        });
        let ended = tokio::select! {
            status = child.wait() => Some(status),
            () = self.asked.notified() => None,
            // Without its output, the process is of no use.
            () = finished(&mut reading) => match timeout(DRAIN, child.wait()).await {
                Ok(status) => Some(status),
                Err(_) => Some(Err(io::Error::other("it closed its standard output"))),
            },
        };
        match ended {
            Some(status) => {
                if let Some(reading) = &mut reading {
                    let _ = timeout(DRAIN, reading).await;
                }
                let reason = format!("'{}' {}", shared.options.command, ending(&status));
                self.failed(&handle, &shared, began.elapsed(), &reason);
            }
            None => handle.turn(shared.edge, |cx| {
                if self.over.get() {
                    cx.terminate(self.stream, None, None);
                } else {
                    cx.end(self.stream, Frame::end());
                }
            }),
        }
        stop(&mut child, group, &shared.options).await;
        if let Some(mut logging) = logging {
            // What the process wrote last; a process that has left the group may keep it open.
            if timeout(DRAIN, &mut logging).await.is_err() {
                logging.abort();
            }
        }
        if let Some(reading) = reading {
            reading.abort();
        }
        if let Some(writing) = writing {
            writing.abort();
        }
    }

    /// Writes what arrives to standard input, and closes it at the end.
    async fn write(self: Rc<Self>, handle: Handle, shared: Rc<Shared>, mut input: ChildStdin) {
        loop {
            let next = self.input.borrow_mut().pop_front();
            let Some((part, fin)) = next else {
                if self.ending.get() {
                    return;
                }
                self.written.notified().await;
                continue;
            };
            let length = part.len();
            if let Err(error) = write_part(&mut input, &part, fin).await {
                // The end of the process says more.
                tracing::debug!(%error, "standard input of a process is closed");
                return;
            }
            handle.turn(shared.edge, |cx| cx.acknowledge(self.stream, length));
        }
    }

    /// Passes the lines of standard output on, as fast as they are consumed.
    async fn read(self: Rc<Self>, handle: Handle, shared: Rc<Shared>, output: ChildStdout) {
        let mut lines = Lines::new(output, shared.options.max_line_size);
        loop {
            match lines.next().await {
                Ok(Some(Line::Whole(payload))) => {
                    let data = Data::part(DataFlags::WHOLE, payload);
                    handle.turn(shared.edge, |cx| {
                        self.output.borrow_mut().send(cx, self.stream, data);
                    });
                    while !self.output.borrow().is_empty() && !self.ending.get() {
                        self.credit.notified().await;
                        handle.turn(shared.edge, |cx| {
                            self.output.borrow_mut().flush(cx, self.stream)
                        });
                    }
                }
                Ok(Some(Line::Oversized(length))) => {
                    let limit = lines.limit() as u64;
                    handle.turn(shared.edge, |cx| {
                        cx.send(self.stream, Frame::flush(LineOversized { length, limit }));
                    });
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, "cannot read the standard output of a process");
                    return;
                }
            }
        }
    }

    /// The process has ended by itself, or could not be started.
    fn failed(&self, handle: &Handle, shared: &Shared, ran: Duration, reason: &str) {
        shared.failed.set(shared.failed.get() + 1);
        shared.backoff.borrow_mut().failed(ran, reason);
        self.fail(handle, shared, reason);
    }

    /// Terminates the stream with the reason.
    pub(crate) fn fail(&self, handle: &Handle, shared: &Shared, reason: &str) {
        let reset = LineReset {
            reason: reason.into(),
        };
        handle.turn(shared.edge, |cx| {
            cx.terminate(
                self.stream,
                Some(ResetEx::Line(reset.clone())),
                Some(AbortEx::Line(reset)),
            );
        });
    }
}

fn start(options: &Options) -> io::Result<Child> {
    let mut command = Command::new(&options.command);
    command
        .args(&options.args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for name in PASSED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(&options.environment);
    if let Some(folder) = &options.working_directory {
        command.current_dir(folder);
    }
    // A group of its own: it ends as a whole, and a signal of the terminal goes to the gateway alone.
    #[cfg(unix)]
    command.process_group(0);
    command.spawn()
}

/// Waits until the output is read to its end.
async fn finished(reading: &mut Option<tokio::task::JoinHandle<()>>) {
    match reading {
        Some(handle) => {
            let _ = handle.await;
            *reading = None;
        }
        None => std::future::pending().await,
    }
}

/// How a process has ended, as a part of a sentence.
fn ending(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match status.code() {
            Some(code) => format!("ended with exit status {code}"),
            None => format!("ended ({status})"),
        },
        Err(error) => format!("was stopped: {error}"),
    }
}

/// Ends a process: it is waited for, asked to end, and killed, each after `stopTimeout`. What is left of
/// its group is killed once it has ended.
async fn stop(child: &mut Child, group: Group, options: &Options) {
    let within = Duration::from_millis(options.stop_timeout.get());
    if timeout(within, child.wait()).await.is_err() {
        group.send(Signal::Term);
        let _ = timeout(within, child.wait()).await;
    }
    group.send(Signal::Kill);
    let _ = child.kill().await;
}

/// A signal to the group of a process.
#[derive(Debug, Clone, Copy)]
enum Signal {
    Term,
    Kill,
}

/// The group of a process: itself, and what it has started. Its id is that of the process, which no other
/// one gets as long as any process of the group is there; with nothing left, there is no such group.
#[derive(Debug, Clone, Copy)]
struct Group {
    #[cfg(unix)]
    id: Option<rustix::process::Pid>,
}

impl Group {
    /// The group of a process that was just started: one that has been waited for has no id any more.
    #[cfg(unix)]
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            id: id.and_then(rustix::process::Pid::from_raw),
        }
    }

    #[cfg(unix)]
    fn send(self, signal: Signal) {
        use rustix::process::{Signal as Number, kill_process_group};
        let number = match signal {
            Signal::Term => Number::TERM,
            Signal::Kill => Number::KILL,
        };
        if let Some(id) = self.id {
            let _ = kill_process_group(id, number);
        }
    }

    #[cfg(not(unix))]
    const fn of(_: &Child) -> Self {
        Self {}
    }

    #[cfg(not(unix))]
    const fn send(self, _: Signal) {}
}
