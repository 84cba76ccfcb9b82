//! The bridge in the other direction: requests of devices call tools of an MCP server, and its results are their
//! answers. What a Rust developer would write in an afternoon: a task for each message, one connection to the
//! broker, and the client of rmcp. It has none of what `mqtt_mcp · proxy` promises: no checks, no templates, no
//! limits, nothing remembered, and no acknowledgement that waits for the answer.

use anyhow::Context as _;
use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{Peer, RoleClient};
use rmcp::transport::StreamableHttpClientTransport;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{Packet, Publish, PublishProperties};
use rumqttc::{AsyncClient, Event};

use crate::broker::{self, Address};

/// The tool that is called.
const TOOL: &str = "echo";

/// Answers the requests on `TOPIC/+/call` on `TOPIC/+/answer`.
pub(crate) async fn serve(broker: &Address, topic: &str, upstream: &str) -> anyhow::Result<()> {
    let transport = StreamableHttpClientTransport::from_uri(upstream.to_owned());
    let upstream = ().serve(transport).await.context("the MCP server")?;
    let (client, mut events) = AsyncClient::new(broker::options(broker), broker::QUEUE);
    client
        .subscribe(format!("{topic}/+/call"), QoS::AtLeastOnce)
        .await?;
    loop {
        let event = events.poll().await.context("the broker")?;
        if let Event::Incoming(Packet::Publish(request)) = event {
            let (client, tools) = (client.clone(), upstream.peer().clone());
            tokio::spawn(async move {
                if let Err(error) = answer(&client, &tools, &request).await {
                    tracing::warn!("request: {error}");
                }
            });
        }
    }
}

async fn answer(
    client: &AsyncClient,
    tools: &Peer<RoleClient>,
    request: &Publish,
) -> anyhow::Result<()> {
    let arguments = serde_json::from_slice(&request.payload)?;
    let call = CallToolRequestParams::new(TOOL).with_arguments(arguments);
    let result = tools.call_tool(call).await?;
    let topic = std::str::from_utf8(&request.topic)?;
    let device = topic
        .strip_suffix("/call")
        .context("no topic of requests")?;
    let properties = PublishProperties {
        correlation_data: request
            .properties
            .as_ref()
            .and_then(|it| it.correlation_data.clone()),
        content_type: Some("application/json".to_owned()),
        ..PublishProperties::default()
    };
    let payload = serde_json::to_vec(&result)?;
    let topic = format!("{device}/answer");
    client
        .publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties)
        .await?;
    Ok(())
}
