//! A server that is measured: how it is started, when it answers, and what it is asked.

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
use crate::gateway;
use crate::message::{Check, Message, is_final};
use crate::plan::{Cell, FLOOR, Nagle, OURS, Operation, Settings};
use crate::process;
use crate::stdio::Pipe;
use crate::targets::{MODERN, Peer, Url};
use crate::template::Placeholders;

/// How long a target may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon it is asked again while it refuses connections; tokio's timers have no finer step.
const POLL: Duration = Duration::from_millis(1);

/// Where publications go.
pub(crate) const TOPIC: &str = "bench/load/publish";
/// Where the retained message lies.
pub(crate) const RETAINED: &str = "bench/load/retained";
/// What the topics of updates start with; a number follows.
pub(crate) const UPDATES: &str = "bench/load/updates/";

/// What a target is to the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Ours,
    Floor,
    Peer,
}

/// What all targets of a cell have in common.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) cell: Cell,
    /// `host:port`
    pub(crate) broker: &'a str,
    /// Of the broker, where it is known.
    pub(crate) nagle: Option<Nagle>,
    pub(crate) payload: &'a str,
}

/// A target that answers.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) endpoint: Endpoint,
    pub(crate) call: Call,
    process: Option<Process>,
    /// From its start to its first answer; `None` where it was there before.
    pub(crate) start: Option<Duration>,
    /// Resident bytes before the load.
    pub(crate) idle: Option<u64>,
}

impl Target {
    /// Starts ours, or takes the endpoint that is given.
    pub(crate) async fn ours(scene: &Scene<'_>) -> Result<Self, LoadError> {
        let settings = scene.settings;
        let (process, url, began) = if let Some(url) = &settings.endpoint {
            (None, url.clone(), None)
        } else {
            let port = free_port().await?;
            let directory = Directory::new()?;
            let config = gateway::config(settings, scene.broker, &format!("127.0.0.1:{port}"))?;
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
        let endpoint = Endpoint::Http {
            url,
            headers: Arc::default(),
            version: MODERN.to_owned(),
        };
        let placeholders = scene.placeholders();
        let asked = Asked {
            version: MODERN,
            tool: settings.tool.as_deref(),
            arguments: settings.arguments.as_ref(),
            expect: None,
        };
        let call = asked.call(scene, &placeholders);
        Self::answering(OURS, Role::Ours, endpoint, call, process, began).await
    }

    /// Starts the floor.
    pub(crate) async fn floor(scene: &Scene<'_>) -> Result<Self, LoadError> {
        let directory = Directory::new()?;
        let file = directory
            .write("payload", scene.payload)?
            .display()
            .to_string();
        let program = env::current_exe()?.display().to_string();
        let qos = scene.cell.qos.unwrap_or_default().to_string();
        let mut command = vec![
            &program,
            "bench-floor",
            "--listen",
            "127.0.0.1:0",
            "--broker",
            scene.broker,
            "--operation",
            scene.cell.operation.word(),
            "--qos",
            &qos,
            "--topic",
            scene.topic(),
            "--payload-file",
            &file,
        ];
        // With Nagle's algorithm off nothing waits for it, and it is work.
        if scene.nagle != Some(Nagle::Off) {
            command.push("--quickack");
        }
        let began = Instant::now();
        let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
        let mut process = Process::start(&command, &BTreeMap::new(), directory, true)?;
        let mut line = String::new();
        if let Some(output) = process.child.stdout.take() {
            let mut output = BufReader::new(output);
            let told = timeout(START_TIMEOUT, output.read_line(&mut line)).await;
            told.map_err(|_| LoadError::Floor("it does not start".to_owned()))??;
        }
        let url = format!("http://{}/mcp", line.trim());
        let url = url
            .parse()
            .map_err(|_| LoadError::Floor(process.diagnosis()))?;
        let endpoint = Endpoint::Http {
            url,
            headers: Arc::default(),
            version: MODERN.to_owned(),
        };
        let asked = Asked {
            version: MODERN,
            tool: None,
            arguments: None,
            expect: None,
        };
        let call = asked.call(scene, &scene.placeholders());
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

    /// Starts a target of the targets file.
    pub(crate) async fn peer(peer: &Peer, scene: &Scene<'_>) -> Result<Self, LoadError> {
        let directory = Directory::new()?;
        let placeholders = scene
            .placeholders()
            .with("port", free_port().await?.to_string())
            .with("directory", directory.path().display().to_string());
        for (name, text) in &peer.files {
            directory.write(name, placeholders.fill(text))?;
        }
        let fill = |(name, value): (&String, &String)| (name.clone(), placeholders.fill(value));
        let environment = peer.environment.iter().map(fill).collect();
        let speaks = peer.url.is_none();
        let command = if speaks { &peer.stdio } else { &peer.start };
        let command: Vec<String> = command.iter().map(|part| placeholders.fill(part)).collect();
        let began = (!command.is_empty()).then(Instant::now);
        let mut process = None;
        if began.is_some() {
            process = Some(Process::start(&command, &environment, directory, speaks)?);
        }
        let endpoint = if let Some(url) = &peer.url {
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
        let asked = Asked {
            version: &peer.version,
            tool: peer.tool.as_deref(),
            arguments: peer.arguments.as_ref(),
            expect: peer.expect.as_deref(),
        };
        let call = asked.call(scene, &placeholders);
        Self::answering(&peer.name, Role::Peer, endpoint, call, process, began).await
    }

    /// Waits until a first call succeeds.
    async fn answering(
        name: &str,
        role: Role,
        endpoint: Endpoint,
        call: Call,
        mut process: Option<Process>,
        began: Option<Instant>,
    ) -> Result<Self, LoadError> {
        let asked = Instant::now();
        let mut caller = Caller::new(&endpoint, &call);
        while let Err(why) = caller.call().await {
            let ended = process.as_mut().is_some_and(Process::has_ended);
            // What was there before is expected to answer at once.
            if ended || began.is_none() || is_final(&why) || asked.elapsed() > START_TIMEOUT {
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

    /// What its process has used so far.
    pub(crate) fn usage(&self) -> Option<process::Usage> {
        process::usage(self.process.as_ref()?.pid()?)
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        process::resident(self.process.as_ref()?.pid()?)
    }

    pub(crate) async fn stop(self) {
        if let Some(process) = self.process {
            process.stop().await;
        }
    }
}

async fn greeted(peer: &Peer, process: &mut Option<Process>) -> Result<Arc<Pipe>, String> {
    let process = process.as_mut().ok_or("it has no command")?;
    let (input, output) = (process.child.stdin.take(), process.child.stdout.take());
    let (input, output) = input.zip(output).ok_or("it has no standard input")?;
    match timeout(START_TIMEOUT, Pipe::open(input, output, &peer.version)).await {
        Ok(Ok(pipe)) => Ok(pipe),
        Ok(Err(why)) => Err(format!("{why}. {}", process.diagnosis())),
        Err(_) => Err(format!("no greeting. {}", process.diagnosis())),
    }
}

impl Scene<'_> {
    const fn topic(&self) -> &'static str {
        match self.cell.operation {
            Operation::Publish => TOPIC,
            _ => RETAINED,
        }
    }

    fn placeholders(&self) -> Placeholders {
        let (host, port) = self
            .broker
            .rsplit_once(':')
            .unwrap_or((self.broker, "1883"));
        Placeholders::default()
            .with("broker", self.broker)
            .with("host", host.trim_matches(['[', ']']))
            .with("brokerPort", port)
            .with("topic", self.topic())
            .with("qos", self.cell.qos.unwrap_or_default().to_string())
            .with("payload", self.payload)
    }
}

/// What one target is asked.
struct Asked<'a> {
    version: &'a str,
    tool: Option<&'a str>,
    arguments: Option<&'a Value>,
    expect: Option<&'a str>,
}

impl Asked<'_> {
    fn call(&self, scene: &Scene<'_>, placeholders: &Placeholders) -> Call {
        // What is received or read names its topic; an answer without it is one without a message.
        let (tool, usual, expect) = match scene.cell.operation {
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
