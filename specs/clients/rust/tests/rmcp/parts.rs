//! Real parts for the tests: a mosquitto and a tidegate, each on a free port of its own.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The binary under test, which stands beside the test's own folder in the target directory.
pub(crate) fn tidegate() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("target/debug/deps/test");
    let binary = folder.join("tidegate");
    assert!(
        binary.exists(),
        "build it first: cargo build -p tidegate ({})",
        binary.display()
    );
    binary
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// The lines that a process prints, as they come.
pub(crate) struct Output {
    lines: mpsc::UnboundedReceiver<String>,
}

impl Output {
    fn of(readers: Vec<Lines<BufReader<Box<dyn AsyncRead + Unpin + Send>>>>) -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        for mut reader in readers {
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Ok(Some(line)) = reader.next_line().await {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { lines }
    }

    /// The next line that contains `word`.
    pub(crate) async fn line(&mut self, word: &str) -> String {
        let mut seen = Vec::new();
        let found = timeout(PATIENCE, async {
            while let Some(line) = self.lines.recv().await {
                if line.contains(word) {
                    return Some(line);
                }
                seen.push(line);
            }
            None
        });
        let found = found.await.ok().flatten();
        found.unwrap_or_else(|| panic!("no line with {word:?} in {seen:#?}"))
    }
}

fn spawn(command: &mut Command) -> (Child, Output) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program is installed");
    let boxed = |reader: Box<dyn AsyncRead + Unpin + Send>| BufReader::new(reader).lines();
    let stdout = boxed(Box::new(child.stdout.take().expect("piped")));
    let stderr = boxed(Box::new(child.stderr.take().expect("piped")));
    (child, Output::of(vec![stdout, stderr]))
}

/// A mosquitto.
pub(crate) struct Broker {
    pub(crate) port: u16,
    pub(crate) log: Output,
    _child: Child,
    _config: NamedTempFile,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let port = free_port();
        let mut config = NamedTempFile::new().expect("a temporary file");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type all\n\
             user root\n"
        );
        config.write_all(text.as_bytes()).expect("written");
        let program = [
            "/usr/sbin/mosquitto",
            "/usr/local/sbin/mosquitto",
            "mosquitto",
        ];
        let program = program
            .iter()
            .find(|path| Path::new(path).exists())
            .unwrap_or(&"mosquitto");
        let (child, mut log) = spawn(Command::new(program).arg("-c").arg(config.path()));
        log.line("running").await;
        Self {
            port,
            log,
            _child: child,
            _config: config,
        }
    }

    /// Publishes and waits until the broker has it.
    pub(crate) async fn publish(&self, topic: &str, payload: &str, options: &[&str]) {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args([
            "-V", "5", "-q", "1", "-p", &port, "-t", topic, "-m", payload,
        ]);
        let status = command
            .args(options)
            .status()
            .await
            .expect("mosquitto_pub is installed");
        assert!(status.success());
    }

    /// A subscriber that is known to be subscribed.
    pub(crate) async fn subscriber(&mut self, topic: &str) -> (Child, Output) {
        let port = self.port.to_string();
        let identity = format!("subscriber-{}", self.port);
        let mut command = Command::new("mosquitto_sub");
        command.args([
            "-V", "5", "-q", "2", "-p", &port, "-i", &identity, "-t", topic,
        ]);
        command.args(["--retain-as-published", "-F", "%t|%q|%r|%p"]);
        let subscriber = spawn(&mut command);
        self.log
            .line(&format!("Sending SUBACK to {identity}"))
            .await;
        subscriber
    }
}

/// A config for one broker.
pub(crate) fn config(transport: &str, port: u16) -> NamedTempFile {
    let edge = match transport {
        "stdio" => "stdio0: { type: stdio, kind: server, exit: mcp_server0 }",
        _ => {
            "http0: { type: http, kind: server, options: { listen: 127.0.0.1:0 }, exit: mcp_server0 }"
        }
    };
    let text = format!(
        "name: test
bindings:
  {edge}
  mcp_server0: {{ type: mcp, kind: server, exit: mcp_mqtt0 }}
  mcp_mqtt0:
    type: mcp_mqtt
    kind: proxy
    options: {{ subscribe: [ sensors/temperature/+ ], publish: [ commands/+/set ], readTimeout: 300 }}
    exit: mqtt_client0
  mqtt_client0: {{ type: mqtt, kind: client, exit: tcp_client0 }}
  tcp_client0: {{ type: tcp, kind: client, options: {{ host: 127.0.0.1, port: {port} }} }}
"
    );
    let mut file = tempfile::Builder::new()
        .suffix(".yaml")
        .tempfile()
        .expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// A `tidegate start` over HTTP.
pub(crate) struct Gateway {
    pub(crate) url: String,
    _output: Output,
    _child: Child,
    _config: NamedTempFile,
}

impl Gateway {
    pub(crate) async fn start(port: u16) -> Self {
        let config = config("http", port);
        let mut command = Command::new(tidegate());
        let (child, mut output) = spawn(command.args(["start", "--config"]).arg(config.path()));
        let line = output.line("http://").await;
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        let url = url.expect("the endpoint's address").to_owned();
        Self {
            url,
            _output: output,
            _child: child,
            _config: config,
        }
    }
}
