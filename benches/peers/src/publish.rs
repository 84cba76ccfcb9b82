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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::broker;

    const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];
    const SUCCESS: u8 = 0;
    const NOT_AUTHORIZED: u8 = 0x87;

    /// The next packet that a client sends: its first byte, and what is behind the length.
    async fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
        let first = stream.read_u8().await.unwrap();
        let length = stream.read_u8().await.unwrap();
        assert!(length < 0x80, "the packets of these tests are short");
        let mut rest = vec![0; length.into()];
        stream.read_exact(&mut rest).await.unwrap();
        (first, rest)
    }

    /// Publishes `payload` to `topic` at `qos` through a broker that acknowledges with `reason`.
    async fn publish_through_broker(qos: u8, reason: u8) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let publisher = Publisher::new(broker::connect(&address.parse().unwrap()));
        let arguments = PublishArguments {
            topic: "topic".to_owned(),
            payload: "payload".to_owned(),
            qos,
        };
        let call = tokio::spawn(async move { publisher.publish(Parameters(arguments)).await });

        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(packet(&mut stream).await.0, 0x10, "CONNECT");
        stream.write_all(&CONNACK).await.unwrap();
        let (first, publish) = packet(&mut stream).await;
        assert_eq!(first, 0x30 | qos << 1, "PUBLISH at the QoS asked");
        assert_eq!(&publish[..7], b"\0\x05topic");
        assert!(publish.ends_with(b"payload"));
        let [high, low] = [publish[7], publish[8]];
        match qos {
            0 => {}
            1 => stream
                .write_all(&[0x40, 3, high, low, reason])
                .await
                .unwrap(),
            _ => {
                stream
                    .write_all(&[0x50, 3, high, low, reason])
                    .await
                    .unwrap();
                if reason == SUCCESS {
                    assert_eq!(packet(&mut stream).await.0, 0x62, "PUBREL");
                    stream.write_all(&[0x70, 2, high, low]).await.unwrap();
                }
            }
        }
        call.await.unwrap()
    }

    #[tokio::test]
    async fn a_call_succeeds_when_the_broker_has_acknowledged() {
        for qos in 0..=2 {
            let answer = publish_through_broker(qos, SUCCESS).await;
            assert_eq!(answer.as_deref(), Ok("published"), "QoS {qos}");
        }
    }

    #[tokio::test]
    async fn a_call_fails_when_the_broker_refuses() {
        for qos in 1..=2 {
            let error = publish_through_broker(qos, NOT_AUTHORIZED)
                .await
                .unwrap_err();
            assert!(error.contains("NotAuthorized"), "QoS {qos}: {error}");
        }
    }

    #[tokio::test]
    async fn no_other_qos_is_taken() {
        let publisher = Publisher::new(broker::connect(&"127.0.0.1:1".parse().unwrap()));
        let arguments = PublishArguments {
            topic: "topic".to_owned(),
            payload: String::new(),
            qos: 3,
        };
        let answer = publisher.publish(Parameters(arguments)).await;
        assert_eq!(answer, Err("qos must be 0, 1 or 2".to_owned()));
    }
}
