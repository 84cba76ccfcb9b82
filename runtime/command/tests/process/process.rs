//! The process under test, its standard streams and its config.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;

/// Longest wait for an expected event.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// A config with one worker, in a file that is removed when the test ends.
pub(crate) struct Config(PathBuf);

impl Config {
    pub(crate) fn new(text: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("process-{}-{number}.yaml", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }

    /// `http · server` with a broker.
    pub(crate) fn http(listen: u16, broker: u16) -> Self {
        Self::new(&format!(
            "name: process
workers: 1
shutdownTimeout: 600000
bindings:
  http0:
    {{ type: http, kind: server, options: {{ listen: 127.0.0.1:{listen} }}, exit: mcp_server0 }}
{}",
            behind("mcp_server0", broker)
        ))
    }

    /// `http · server` with the embedded broker; topics below `a` may be published to. `more` is added
    /// at the end.
    pub(crate) fn with_broker(more: &str) -> Self {
        let broker = free_port();
        Self::new(&format!(
            "name: process
workers: 1
bindings:
  http0:
    {{ type: http, kind: server, options: {{ listen: 127.0.0.1:0 }}, exit: mcp_server0 }}
{}  broker0: {{ type: mqtt, kind: broker, options: {{ listen: 127.0.0.1:{broker} }} }}
{more}",
            behind("mcp_server0", broker).replace("publish: [ \"#\" ]", "publish: [ \"a/#\" ]")
        ))
    }

    /// `stdio · server` with a broker that refuses connections.
    pub(crate) fn stdio(shutdown_timeout: u32) -> Self {
        Self::new(&format!(
            "name: process
workers: 1
shutdownTimeout: {shutdown_timeout}
bindings:
  stdio0: {{ type: stdio, kind: server, exit: mcp_server0 }}
{}",
            behind("mcp_server0", free_port())
        ))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a path of ASCII")
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The bindings from the MCP server to the broker, with timeouts of ten minutes.
fn behind(server: &str, broker: u16) -> String {
    format!(
        "  {server}:
    {{ type: mcp, kind: server, options: {{ timeout: 600000 }}, exit: mcp_mqtt0 }}
  mcp_mqtt0:
    type: mcp_mqtt
    kind: proxy
    options: {{ subscribe: [ \"#\" ], publish: [ \"#\" ] }}
    exit: mqtt_client0
  mqtt_client0:
    type: mqtt
    kind: client
    options: {{ connectTimeout: 600000, reconnect: {{ min: 1, max: 1 }} }}
    exit: tcp_client0
  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {broker} }} }}
"
    )
}

/// A port without a listener.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("its address").port()
}

/// A broker that accepts connections and never responds.
pub(crate) struct SilentBroker(TcpListener);

impl SilentBroker {
    pub(crate) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().expect("its address").port()
    }

    /// Waits for the first byte of a client; connections that close without one are ignored.
    pub(crate) fn called(&self) -> TcpStream {
        loop {
            let (mut socket, _) = self.0.accept().expect("a client");
            socket.set_read_timeout(Some(TIMEOUT)).expect("it is open");
            if socket.read(&mut [0]).expect("a client sends") > 0 {
                return socket;
            }
        }
    }
}

/// A full pipe: writing blocks until it is read.
pub(crate) fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let size = rustix::pipe::fcntl_getpipe_size(&writer).expect("a pipe's size");
    let mut filling = vec![b'.'; size];
    filling[size - 1] = b'\n';
    writer.write_all(&filling).expect("it takes that much");
    (reader, writer)
}

/// A pipe without a reader.
pub(crate) fn closed_pipe() -> PipeWriter {
    std::io::pipe().expect("a pipe").1
}

/// A file on which every write fails with `ENOSPC`.
pub(crate) fn full_file() -> File {
    let file = File::options().write(true).open("/dev/full");
    file.expect("/dev/full can be opened")
}

/// The lines of a stream.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// The next line; `None` at the end of the stream.
    pub(crate) fn next(&self) -> Option<String> {
        match self.0.recv_timeout(TIMEOUT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {TIMEOUT:?}"),
        }
    }

    /// Skips to the next line that contains `what`.
    pub(crate) fn with(&self, what: &str) -> String {
        loop {
            let line = self.next();
            let line = line.unwrap_or_else(|| panic!("the stream ended before '{what}'"));
            if line.contains(what) {
                return line;
            }
        }
    }

    /// All remaining lines.
    pub(crate) fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A running process, killed on drop.
pub(crate) struct Process {
    pid: Pid,
    ended: Receiver<ExitStatus>,
    has_ended: bool,
    pub(crate) input: Option<ChildStdin>,
    output: Option<Lines>,
    errors: Option<Lines>,
}

impl Process {
    /// Starts tidegate; piped streams can be read as lines.
    pub(crate) fn start(arguments: &[&str], output: Stdio, errors: Stdio) -> Self {
        let mut command = Command::new(TIDEGATE);
        command.args(arguments);
        Self::spawn(command, output, errors)
    }

    /// Runs tidegate to its end; returns the exit code and the lines of standard output.
    pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, Vec<String>) {
        let mut process = Self::start(arguments, Stdio::piped(), Stdio::piped());
        let code = process.ended();
        (code, process.output().rest())
    }

    pub(crate) fn spawn(mut command: Command, output: Stdio, errors: Stdio) -> Self {
        let child = command
            .env_remove("TIDEGATE_LOG")
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn();
        // The command holds the writing ends of the pipes.
        drop(command);
        let mut child = child.expect("tidegate can be run");
        let pid = Pid::from_child(&child);
        let input = child.stdin.take();
        let output = child.stdout.take().map(Lines::of);
        let errors = child.stderr.take().map(Lines::of);
        let (tell, ended) = channel();
        std::thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _ = tell.send(status);
            }
        });
        Self {
            pid,
            ended,
            has_ended: false,
            input,
            output,
            errors,
        }
    }

    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn output(&self) -> &Lines {
        self.output.as_ref().expect("standard output is piped")
    }

    pub(crate) fn errors(&self) -> &Lines {
        self.errors.as_ref().expect("standard error is piped")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("it is running");
    }

    /// Waits for the end; returns the exit code, `None` if killed by a signal.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let status = self.ended.recv_timeout(TIMEOUT);
        let status = status.unwrap_or_else(|_| panic!("still running after {TIMEOUT:?}"));
        self.has_ended = true;
        status.code()
    }

    /// Connects to the printed listen address.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address()).expect("it listens")
    }

    /// The printed listen address.
    pub(crate) fn address(&self) -> SocketAddr {
        let line = self.output().with("listening   http://");
        let (_, address) = line.split_once("http://").expect("a URL");
        let address = address.trim_end_matches("/mcp");
        address.parse().expect("an address")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended && self.ended.try_recv().is_err() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

/// Connects as soon as the port accepts connections, for a process whose output is not readable.
pub(crate) fn connect_once_it_listens(port: u16) -> Client {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let started = std::time::Instant::now();
    loop {
        match Client::connect(address) {
            Ok(client) => return client,
            Err(error) if started.elapsed() > TIMEOUT => panic!("no listener: {error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}
