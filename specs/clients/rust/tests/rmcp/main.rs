//! The official Rust SDK over HTTP and stdio, legacy and modern, against mosquitto.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

mod parts;

use std::sync::Arc;

use parts::{Broker, Gateway, PATIENCE, config, tidegate};
use rmcp::model::{
    CallToolRequestParams, ProtocolVersion, ReadResourceRequestParams,
    ResourceUpdatedNotificationParam, ServerNotification, SubscribeRequestParams,
    SubscriptionFilter, UnsubscribeRequestParams,
};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

const KITCHEN: &str = "mqtt://sensors/temperature/kitchen";

#[derive(Clone)]
struct Agent {
    updates: mpsc::UnboundedSender<String>,
}

impl ClientHandler for Agent {
    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        let _ = self.updates.send(params.uri);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Era {
    Legacy,
    Modern,
}

impl Era {
    fn mode(self) -> ClientLifecycleMode {
        match self {
            Self::Legacy => ClientLifecycleMode::Initialize,
            Self::Modern => ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        }
    }
}

type Running = RunningService<RoleClient, Agent>;

struct Stage {
    broker: Broker,
    client: Arc<Running>,
    updates: mpsc::UnboundedReceiver<String>,
    _gateway: Option<Gateway>,
    _config: Option<tempfile::NamedTempFile>,
}

async fn stage(transport: &str, era: Era) -> Stage {
    let broker = Broker::start().await;
    let (sender, updates) = mpsc::unbounded_channel();
    let agent = Agent { updates: sender };
    let (client, gateway, file) = if transport == "http" {
        let gateway = Gateway::start(broker.port).await;
        let transport = StreamableHttpClientTransport::from_uri(gateway.url.clone());
        let client = agent.serve_with_lifecycle(transport, era.mode()).await;
        (client.expect("connected"), Some(gateway), None)
    } else {
        let file = config("stdio", broker.port);
        let mut command = Command::new(tidegate());
        command.args(["start", "--config"]).arg(file.path());
        let transport = TokioChildProcess::new(command).expect("started");
        let client = agent.serve_with_lifecycle(transport, era.mode()).await;
        (client.expect("connected"), None, Some(file))
    };
    Stage {
        broker,
        client: Arc::new(client),
        updates,
        _gateway: gateway,
        _config: file,
    }
}

fn call(name: &'static str, arguments: &Value) -> CallToolRequestParams {
    let arguments = arguments.as_object().cloned().expect("an object");
    CallToolRequestParams::new(name).with_arguments(arguments)
}

async fn walk(transport: &str, era: Era) {
    let mut stage = stage(transport, era).await;
    let client = Arc::clone(&stage.client);

    let tools = client.list_all_tools().await.expect("listed");
    let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
    let expected = ["publish", "receive", "read", "query", "list_topics"];
    assert_eq!(names, expected);

    let (_subscriber, mut seen) = stage.broker.subscriber("commands/#").await;
    for qos in 0..3 {
        for retain in [false, true] {
            let arguments = json!({
                "topic": "commands/lamp/set", "payload": format!("at {qos}"), "qos": qos, "retain": retain
            });
            let result = client
                .call_tool(call("publish", &arguments))
                .await
                .expect("called");
            assert_ne!(result.is_error, Some(true), "{result:?}");
            let line = seen.line("commands/lamp/set").await;
            assert_eq!(
                line,
                format!("commands/lamp/set|{qos}|{}|at {qos}", u8::from(retain))
            );
        }
    }

    let arguments = json!({ "topic": "sensors/temperature/+", "limit": 1, "timeout": 15000 });
    let receiving = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.call_tool(call("receive", &arguments)).await }
    });
    stage.broker.log.line("sensors/temperature/+ (QoS 1)").await;
    stage
        .broker
        .publish("sensors/temperature/kitchen", "21.5", &["-r"])
        .await;
    let received = timeout(PATIENCE, receiving)
        .await
        .expect("in time")
        .expect("ran")
        .expect("called");
    let message = received.structured_content.expect("structured")["messages"][0].clone();
    assert_eq!(message["topic"], "sensors/temperature/kitchen");
    assert_eq!(message["payload"], "21.5");

    let read = client
        .read_resource(ReadResourceRequestParams::new(KITCHEN))
        .await
        .expect("read");
    let contents = serde_json::to_value(&read.contents).expect("JSON");
    assert_eq!(contents[0]["text"], "21.5");

    let empty = ReadResourceRequestParams::new("mqtt://sensors/temperature/none");
    let error = client
        .read_resource(empty)
        .await
        .expect_err("nothing there")
        .to_string();
    let text = "No message received on topic 'sensors/temperature/none' within 300ms";
    assert!(error.contains(text), "{error}");

    match era {
        Era::Modern => listen(&client, &stage.broker).await,
        Era::Legacy => subscribe(&client, &stage.broker, &mut stage.updates).await,
    }
    stage.broker.log.line("Received UNSUBSCRIBE").await;
}

async fn listen(client: &Running, broker: &Broker) {
    let mut filter = SubscriptionFilter::default();
    filter.resource_subscriptions = Some(vec![KITCHEN.to_owned()]);
    let mut subscription = client.listen(filter).await.expect("acknowledged");
    let mut updates = 0;
    // The retained reading is the first update.
    while updates < 3 {
        let update = timeout(PATIENCE, subscription.next())
            .await
            .expect("in time")
            .expect("open");
        if let Some(ServerNotification::ResourceUpdatedNotification(update)) = update {
            assert_eq!(update.params.uri, KITCHEN);
            updates += 1;
            broker
                .publish("sensors/temperature/kitchen", &updates.to_string(), &[])
                .await;
        }
    }
    subscription.cancel().await.expect("cancelled");
}

#[expect(deprecated, reason = "legacy revisions subscribe by request")]
async fn subscribe(
    client: &Running,
    broker: &Broker,
    updates: &mut mpsc::UnboundedReceiver<String>,
) {
    client
        .subscribe(SubscribeRequestParams::new(KITCHEN))
        .await
        .expect("subscribed");
    for payload in ["1", "2"] {
        broker
            .publish("sensors/temperature/kitchen", payload, &[])
            .await;
        let update = timeout(PATIENCE, updates.recv()).await.expect("in time");
        assert_eq!(update.as_deref(), Some(KITCHEN));
    }
    client
        .unsubscribe(UnsubscribeRequestParams::new(KITCHEN))
        .await
        .expect("unsubscribed");
}

#[tokio::test]
async fn modern_over_http() {
    walk("http", Era::Modern).await;
}

#[tokio::test]
async fn legacy_over_http() {
    walk("http", Era::Legacy).await;
}

#[tokio::test]
async fn modern_over_stdio() {
    walk("stdio", Era::Modern).await;
}

#[tokio::test]
async fn legacy_over_stdio() {
    walk("stdio", Era::Legacy).await;
}
