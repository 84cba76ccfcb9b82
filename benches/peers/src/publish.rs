//! The MCP server: one tool.

use std::sync::Arc;

use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use rumqttc::AsyncClient;
use schemars::JsonSchema;
use serde::Deserialize;

/// The arguments of `publish`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PublishArguments {
    /// The topic to publish to.
    topic: String,
    /// The message.
    payload: String,
    /// 0, at most once; 1, at least once; 2, exactly once.
    #[serde(default)]
    #[schemars(range(max = 2))]
    qos: u8,
}

/// The handler that all requests share.
#[derive(Clone)]
pub(crate) struct Publisher {
    client: AsyncClient,
    tools: Arc<ToolRouter<Self>>,
}

#[tool_router]
impl Publisher {
    pub(crate) fn new(client: AsyncClient) -> Self {
        Self {
            client,
            tools: Arc::new(Self::tool_router()),
        }
    }

    #[tool(description = "Publish a message to an MQTT topic")]
    async fn publish(
        &self,
        Parameters(PublishArguments {
            topic,
            payload,
            qos,
        }): Parameters<PublishArguments>,
    ) -> Result<String, String> {
        let qos = rumqttc::mqttbytes::qos(qos).ok_or("qos must be 0, 1 or 2")?;
        let sent = self
            .client
            .publish_tracked(topic, qos, false, payload)
            .await
            .map_err(|error| error.to_string())?;
        sent.wait_async().await.map_err(|error| error.to_string())?;
        Ok("published".to_owned())
    }
}

#[tool_handler(router = self.tools)]
impl ServerHandler for Publisher {}
