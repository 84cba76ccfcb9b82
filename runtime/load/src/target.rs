//! A measured server: how it is started, when it is ready, and which call it gets.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{Instant, sleep, timeout};

use crate::LoadError;
use crate::caller::{Call, Caller, Endpoint};
use crate::child::{Directory, Process, free_port};
use crate::device::Devices;
use crate::gateway::{self, TOOLKIT};
use crate::message::{Check, Message, is_final};
use crate::plan::{Cell, FLOOR, Nagle, OURS, Operation, Settings, UPSTREAM};
use crate::process;
use crate::socket::BrokerAddress;
use crate::stdio::Pipe;
use crate::targets::{MODERN, Peer, Url};
use crate::template::Placeholders;
use crate::upstream::{LAST_TOOL, LEGACY, TOOL};

/// Longest time until a target responds.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Retry interval while it refuses connections; the resolution of tokio timers.
const POLL: Duration = Duration::from_millis(1);

/// Topic of publications.
pub(crate) const TOPIC: &str = "bench/load/publish";
/// Topic of the retained message.
pub(crate) const RETAINED: &str = "bench/load/retained";
/// Prefix of the topics of updates; a number follows.
pub(crate) const UPDATES: &str = "bench/load/updates/";

/// Prefix of the topics of devices; the name of the target follows.
const REVERSE: &str = "bench/reverse/";
/// Time for an answer to a device while a target starts: a request that comes before its subscription is lost.
const FIRST_ANSWER: Duration = Duration::from_millis(300);

/// Role of a target in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Ours,
    Floor,
    Peer,
}

/// Everything that the targets of a cell share.
#[derive(Debug, Clone)]
pub(crate) struct CellContext<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) cell: Cell,
    pub(crate) broker: &'a BrokerAddress,
    /// Setting of the broker, if known.
    pub(crate) nagle: Option<Nagle>,
    pub(crate) payload: &'a str,
    /// Host and port of the upstream, for proxied operations.
    pub(crate) upstream: Option<String>,
}

/// A running target.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) endpoint: Endpoint,
    pub(crate) call: Call,
    process: Option<Process>,
    /// Time from start to first response; `None` if it was already running.
    pub(crate) start: Option<Duration>,
    /// Resident memory before the load, in bytes.
    pub(crate) idle: Option<u64>,
}

impl Target {
    /// Starts tidegate, or uses the given endpoint.
    pub(crate) async fn ours(context: &CellContext<'_>) -> Result<Self, LoadError> {
        let settings = context.settings;
        let (process, url, began) = if let Some(url) = &settings.endpoint {
            (None, url.clone(), None)
        } else {
            let port = free_port().await?;
            let directory = Directory::new()?;
            let listen = format!("127.0.0.1:{port}");
            let config = match &context.upstream {
                Some(upstream) if context.cell.operation == Operation::Reverse => {
                    let topic = format!("{REVERSE}{OURS}");
                    gateway::reverse_config(settings, context.broker, upstream, &topic)?
                }
                Some(upstream) => gateway::proxy_config(settings, upstream, &listen),
                None => gateway::config(settings, context.broker, &listen)?,
            };
            let config = directory.write("gateway.yaml", config)?;
            let program = env::current_exe()?.display().to_string();
            let config = config.display().to_string();
            let command = [
                &program,
                "start",
                "--config",
                &config,
                "--log-level",
                "warn",
            ];
            let began = Instant::now();
            let command = command.map(str::to_owned);
            let process = Process::start(&command, &BTreeMap::new(), directory, false)?;
            (Some(process), local(port), Some(began))
        };
        let version = context.version();
        let http = Endpoint::Http {
            url,
            headers: Arc::default(),
            version: version.to_owned(),
        };
        let endpoint = context.devices(OURS).unwrap_or(http);
        let placeholders = context.placeholders();
        let echo = format!("{TOOLKIT}__{TOOL}");
        let proxied = (context.cell.operation == Operation::Proxy).then_some(echo.as_str());
        let spec = CallSpec {
            version,
            tool: settings.tool.as_deref().or(proxied),
            arguments: settings.arguments.as_ref(),
            expect: None,
        };
        let call = spec.call(context, &placeholders);
        Self::answering(OURS, Role::Ours, endpoint, call, process, began).await
    }

    /// Starts the upstream.
    pub(crate) async fn upstream(context: &CellContext<'_>) -> Result<Self, LoadError> {
        let directory = Directory::new()?;
        let file = directory.write("payload", context.payload)?;
        let command = [
            env::current_exe()?.display().to_string(),
            "bench-upstream".to_owned(),
            "--payload-file".to_owned(),
            file.display().to_string(),
        ];
        let began = Instant::now();
        let mut process = Process::start(&command, &BTreeMap::new(), directory, true)?;
        let url = printed_url(&mut process).await?;
        let endpoint = Endpoint::Http {
            url,
            headers: Arc::default(),
            version: LEGACY.to_owned(),
        };
        let spec = CallSpec {
            version: LEGACY,
            tool: None,
            arguments: None,
            expect: None,
        };
        let call = spec.call(context, &context.placeholders());
        let (process, began) = (Some(process), Some(began));
        Self::answering(UPSTREAM, Role::Floor, endpoint, call, process, began).await
    }

    /// Starts the floor.
    pub(crate) async fn floor(context: &CellContext<'_>) -> Result<Self, LoadError> {
        let directory = Directory::new()?;
        let file = directory
            .write("payload", context.payload)?
            .display()
            .to_string();
        let program = env::current_exe()?.display().to_string();
        let qos = context.cell.qos.unwrap_or_default().to_string();
        let topic = match context.cell.operation {
            Operation::Updates => format!("{UPDATES}+"),
            Operation::Reverse => format!("{REVERSE}{FLOOR}"),
            _ => context.topic().to_owned(),
        };
        let mut command = vec![
            &program,
            "bench-floor",
            "--listen",
            "127.0.0.1:0",
            "--broker",
            &context.broker.address,
            "--operation",
            context.cell.operation.word(),
            "--qos",
            &qos,
            "--topic",
            &topic,
            "--payload-file",
            &file,
        ];
        let trust = context.broker.trust.as_ref();
        let trust = trust.map(|file| file.display().to_string());
        if let Some(trust) = &trust {
            command.extend(["--trust", trust]);
        }
        if let Some(upstream) = &context.upstream {
            command.extend(["--upstream", upstream]);
        }
        // Without Nagle's algorithm immediate acknowledgements only cost CPU time.
        if context.nagle != Some(Nagle::Off) {
            command.push("--quickack");
        }
        let began = Instant::now();
        let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
        let mut process = Process::start(&command, &BTreeMap::new(), directory, true)?;
        let url = printed_url(&mut process).await?;
        let http = Endpoint::Http {
            url,
            headers: Arc::default(),
            version: MODERN.to_owned(),
        };
        let endpoint = context.devices(FLOOR).unwrap_or(http);
        let spec = CallSpec {
            version: MODERN,
            tool: None,
            arguments: None,
            expect: None,
        };
        let call = spec.call(context, &context.placeholders());
        if context.cell.operation == Operation::Updates {
            // It answers listeners only, and has subscribed when it prints its address.
            let mut target = Self {
                name: FLOOR.to_owned(),
                role: Role::Floor,
                endpoint,
                call,
                process: Some(process),
                start: Some(began.elapsed()),
                idle: None,
            };
            target.idle = target.resident();
            return Ok(target);
        }
        Self::answering(
            FLOOR,
            Role::Floor,
            endpoint,
            call,
            Some(process),
            Some(began),
        )
        .await
    }

    /// Starts a target from the targets file.
    pub(crate) async fn peer(peer: &Peer, context: &CellContext<'_>) -> Result<Self, LoadError> {
        let directory = Directory::new()?;
        let mut placeholders = context.placeholders();
        if context.cell.operation == Operation::Reverse {
            placeholders = placeholders.with("topic", format!("{REVERSE}{}", peer.name));
        }
        let placeholders = placeholders
            .with("port", free_port().await?.to_string())
            .with("directory", directory.path().display().to_string());
        for (name, text) in &peer.files {
            directory.write(name, placeholders.fill(text))?;
        }
        let fill = |(name, value): (&String, &String)| (name.clone(), placeholders.fill(value));
        let environment = peer.environment.iter().map(fill).collect();
        let devices = context.devices(&peer.name);
        let speaks = peer.url.is_none() && devices.is_none();
        let command = if speaks { &peer.stdio } else { &peer.start };
        let command: Vec<String> = command.iter().map(|part| placeholders.fill(part)).collect();
        let began = (!command.is_empty()).then(Instant::now);
        let mut process = None;
        if began.is_some() {
            process = Some(Process::start(&command, &environment, directory, speaks)?);
        }
        let endpoint = if let Some(devices) = devices {
            devices
        } else if let Some(url) = &peer.url {
            Endpoint::Http {
                url: placeholders.fill(url).parse()?,
                headers: Arc::new(peer.headers.iter().map(fill).collect()),
                version: peer.version.clone(),
            }
        } else {
            let pipe = greeted(peer, &mut process).await;
            Endpoint::Stdio(pipe.map_err(|why| LoadError::Target {
                name: peer.name.clone(),
                why,
            })?)
        };
        let spec = CallSpec {
            version: &peer.version,
            tool: peer.tool.as_deref(),
            arguments: peer.arguments.as_ref(),
            expect: peer.expect.as_deref(),
        };
        let call = spec.call(context, &placeholders);
        Self::answering(&peer.name, Role::Peer, endpoint, call, process, began).await
    }

    /// Waits for the first successful call.
    async fn answering(
        name: &str,
        role: Role,
        endpoint: Endpoint,
        call: Call,
        mut process: Option<Process>,
        began: Option<Instant>,
    ) -> Result<Self, LoadError> {
        let started = Instant::now();
        let mut caller = Caller::new(&endpoint, &call);
        let is_devices = matches!(endpoint, Endpoint::Devices(_));
        let first = async |caller: &mut Caller| {
            if !is_devices {
                return caller.call().await;
            }
            let answered = timeout(FIRST_ANSWER, caller.call()).await;
            answered.unwrap_or_else(|_| Err("no answer".to_owned()))
        };
        while let Err(why) = first(&mut caller).await {
            let ended = process.as_mut().is_some_and(Process::has_ended);
            // A running endpoint must respond to the first call.
            if ended || began.is_none() || is_final(&why) || started.elapsed() > START_TIMEOUT {
                let words = process.as_mut().map(Process::diagnosis).unwrap_or_default();
                return Err(LoadError::Target {
                    name: name.to_owned(),
                    why: format!("{why}\n{words}").trim_end().to_owned(),
                });
            }
            sleep(POLL).await;
        }
        let start = began.map(|began| began.elapsed());
        let mut target = Self {
            name: name.to_owned(),
            role,
            endpoint,
            call,
            process,
            start,
            idle: None,
        };
        target.idle = target.resident();
        Ok(target)
    }

    /// Host and port, over HTTP.
    pub(crate) fn authority(&self) -> Option<String> {
        match &self.endpoint {
            Endpoint::Http { url, .. } => Some(url.authority.clone()),
            Endpoint::Stdio(_) | Endpoint::Devices(_) => None,
        }
    }

    /// Processor time used so far.
    pub(crate) fn usage(&self) -> Option<process::Usage> {
        process::usage(self.process.as_ref()?.pid()?)
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        process::resident(self.process.as_ref()?.pid()?)
    }

    pub(crate) async fn stop(self) {
        if let Some(process) = self.process {
            process.stop().await;
        }
    }
}

/// The URL of a process that prints where it listens.
async fn printed_url(process: &mut Process) -> Result<Url, LoadError> {
    let mut line = String::new();
    if let Some(output) = process.child.stdout.take() {
        let mut output = BufReader::new(output);
        let line_read = timeout(START_TIMEOUT, output.read_line(&mut line)).await;
        line_read
            .map_err(|_| LoadError::Floor("no listen address printed in time".to_owned()))??;
    }
    let url = format!("http://{}/mcp", line.trim());
    url.parse()
        .map_err(|_| LoadError::Floor(process.diagnosis()))
}

async fn greeted(peer: &Peer, process: &mut Option<Process>) -> Result<Arc<Pipe>, String> {
    let process = process.as_mut().ok_or("missing command")?;
    let (input, output) = (process.child.stdin.take(), process.child.stdout.take());
    let (input, output) = input.zip(output).ok_or("standard input is not piped")?;
    match timeout(START_TIMEOUT, Pipe::open(input, output, &peer.version)).await {
        Ok(Ok(pipe)) => Ok(pipe),
        Ok(Err(why)) => Err(format!("{why}. {}", process.diagnosis())),
        Err(_) => Err(format!(
            "no response to initialize. {}",
            process.diagnosis()
        )),
    }
}

impl CellContext<'_> {
    /// The devices of a target, for `reverse`.
    fn devices(&self, target: &str) -> Option<Endpoint> {
        (self.cell.operation == Operation::Reverse).then(|| {
            let topic = format!("{REVERSE}{target}");
            Endpoint::Devices(Devices::new(self.broker, &topic, self.payload))
        })
    }

    const fn topic(&self) -> &'static str {
        match self.cell.operation {
            Operation::Publish => TOPIC,
            _ => RETAINED,
        }
    }

    /// Protocol version of the calls of tidegate.
    const fn version(&self) -> &'static str {
        if self.cell.operation.has_upstream() {
            LEGACY
        } else {
            MODERN
        }
    }

    fn placeholders(&self) -> Placeholders {
        let (host, port) = self.broker.parts().unwrap_or(("localhost", 1883));
        Placeholders::default()
            .with("broker", &self.broker.address)
            .with("host", host)
            .with("brokerPort", port.to_string())
            .with("topic", self.topic())
            .with("qos", self.cell.qos.unwrap_or_default().to_string())
            .with("payload", self.payload)
            .with("upstream", self.upstream.as_deref().unwrap_or_default())
    }
}

/// The call of a target: version, tool, arguments, expected text.
struct CallSpec<'a> {
    version: &'a str,
    tool: Option<&'a str>,
    arguments: Option<&'a Value>,
    expect: Option<&'a str>,
}

impl CallSpec<'_> {
    fn call(&self, context: &CellContext<'_>, placeholders: &Placeholders) -> Call {
        // Messages contain their topic; a response without it contains no message.
        let (tool, usual, expect) = match context.cell.operation {
            Operation::Publish => {
                let arguments =
                    json!({ "topic": "{{topic}}", "payload": "{{payload}}", "qos": "{{qos}}" });
                ("publish", arguments, None)
            }
            Operation::Receive => {
                let arguments = json!({ "topic": "{{topic}}", "limit": 1, "timeout": 5_000 });
                ("receive", arguments, Some(RETAINED))
            }
            Operation::Read | Operation::Updates => {
                ("", json!({ "uri": "mqtt://{{topic}}" }), Some(RETAINED))
            }
            Operation::Proxy | Operation::Reverse => (
                TOOL,
                json!({ "text": "{{payload}}", "count": 1 }),
                Some(context.payload),
            ),
            Operation::List => {
                let message = Message::request(self.version, "tools/list", json!({}));
                let check = Check::new(Some(self.expect.unwrap_or(LAST_TOOL)));
                return Call { message, check };
            }
        };
        let arguments = placeholders.fill_json(self.arguments.unwrap_or(&usual));
        let message = if tool.is_empty() {
            Message::request(self.version, "resources/read", arguments)
        } else {
            let tool = self.tool.unwrap_or(tool);
            let params = json!({ "name": tool, "arguments": arguments });
            Message::request(self.version, "tools/call", params)
        };
        let expect = match self.expect {
            Some(expect) => Some(placeholders.fill(expect)),
            None if self.arguments.is_none() => expect.map(str::to_owned),
            None => None,
        };
        Call {
            message,
            check: Check::new(expect.as_deref()),
        }
    }
}

fn local(port: u16) -> Url {
    Url {
        authority: format!("127.0.0.1:{port}"),
        path: "/mcp".to_owned(),
    }
}
