//! `rmcp-publish`: an MCP server with one tool, `publish`, that forwards to an MQTT broker.
//!
//! It is what a Rust developer would write in an afternoon from the crates that one finds first: `rmcp`,
//! the official MCP SDK, behind `axum` as the SDK's examples have it, and `rumqttc` over one connection.
//! Nothing in it is tuned beyond the options that these crates offer, and nothing slows it down: it
//! answers when the broker has acknowledged at the `QoS` asked, as tidegate does, with Nagle's algorithm
//! off on both sides, the tool router built once, and publishes that wait together flushed together.
//! `tidegate bench` measures it beside tidegate; `scripts/bench-peers` starts it.
//!
//! With `--reverse` it is a bridge in the other direction (see [`bridge`]).

mod bridge;
mod broker;
mod publish;

use std::net::SocketAddr;

use axum::serve::ListenerExt as _;
use clap::{Parser, ValueEnum};
use rmcp::ServiceExt as _;
use rmcp::transport::stdio;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tracing_subscriber::filter::LevelFilter;

use crate::publish::Publisher;

/// An MCP server with one tool, `publish`, made of rmcp, axum and rumqttc.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  rmcp-publish --listen 127.0.0.1:7200 --broker 127.0.0.1:1883     the endpoint is http://127.0.0.1:7200/mcp
  rmcp-publish --stdio --broker 127.0.0.1:1883"
)]
struct Arguments {
    /// The address of the HTTP endpoint.
    #[arg(long, default_value = "127.0.0.1:7200")]
    listen: SocketAddr,
    /// Serve standard input and output instead of HTTP.
    #[arg(long, conflicts_with_all = ["listen", "mode"])]
    stdio: bool,
    /// Host and port of the MQTT broker.
    #[arg(long, default_value = "127.0.0.1:1883")]
    broker: broker::Address,
    /// How requests over HTTP are answered.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Bridge from requests below this topic to the tools of `--upstream`, instead of a server.
    #[arg(long, value_name = "TOPIC", requires = "upstream", conflicts_with_all = ["listen", "mode", "stdio"])]
    reverse: Option<String>,
    /// URL of the MCP server whose tool requests call.
    #[arg(long, value_name = "URL", requires = "reverse")]
    upstream: Option<String>,
    /// Threads of the runtime; with 1, everything runs on the main thread.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

/// The three ways in which rmcp serves streamable HTTP.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Mode {
    /// Sessions for clients of the revisions before 2026-07-28, answers as event streams: the SDK's default.
    Session,
    /// No sessions; each answer is an event stream of its own.
    StatelessSse,
    /// No sessions; each answer is one JSON body.
    #[default]
    StatelessJson,
}

impl Mode {
    fn config(self) -> StreamableHttpServerConfig {
        let config = StreamableHttpServerConfig::default();
        match self {
            Self::Session => config,
            Self::StatelessSse => config.with_legacy_session_mode(false),
            Self::StatelessJson => config
                .with_legacy_session_mode(false)
                .with_json_response(true),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    let mut runtime = if arguments.threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if arguments.threads > 1 {
        runtime.worker_threads(arguments.threads.into());
    }
    runtime.enable_all().build()?.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    if let (Some(topic), Some(upstream)) = (&arguments.reverse, &arguments.upstream) {
        return bridge::serve(&arguments.broker, topic, upstream).await;
    }
    let publisher = Publisher::new(broker::connect(&arguments.broker));
    if arguments.stdio {
        publisher.serve(stdio()).await?.waiting().await?;
        return Ok(());
    }
    let service = StreamableHttpService::new(
        move || Ok(publisher.clone()),
        LocalSessionManager::default().into(),
        arguments.mode.config(),
    );
    let router = axum::Router::new().nest_service("/mcp", service);
    let listener = tokio::net::TcpListener::bind(arguments.listen)
        .await?
        .tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::warn!("TCP_NODELAY: {error}");
            }
        });
    axum::serve(listener, router).await?;
    Ok(())
}
