//! `mcp_mqtt · proxy` alone, between a played `mcp · server` and a played `mqtt · client`.

use bytes::Bytes;
use tidegate_binding_mcp_mqtt::McpMqtt;
use tidegate_engine::BindingId;
use tidegate_engine::testing::Rig;
use tidegate_streams::mqtt::MqttBeginEx;
use tidegate_streams::{BeginEx, Frame};

/// Only the binding that parses the params of a call.
pub struct Toolkit {
    rig: Rig,
    caller: BindingId,
    proxy: BindingId,
    exit: BindingId,
}

impl Default for Toolkit {
    fn default() -> Self {
        let mut rig = Rig::new();
        let exit = rig.edge(1 << 30);
        let options = serde_json::from_str("{}").expect("defaults");
        let proxy = rig.attach(McpMqtt::new(&options, exit));
        let caller = rig.edge(1 << 30);
        rig.worker.start();
        Self {
            rig,
            caller,
            proxy,
            exit,
        }
    }
}

impl Toolkit {
    /// One operation from its params to the opened mqtt stream, which is returned; then the caller cancels.
    pub fn decode(&mut self, begin: BeginEx, params: &Bytes) -> MqttBeginEx {
        let (caller, proxy) = (self.caller, self.proxy);
        let stream = self.rig.open(caller, proxy, begin);
        self.rig.send(caller, stream, Frame::data(params.clone()));
        self.rig.turn(caller, |cx| cx.terminate(stream, None, None));
        let mut opened = self.rig.outputs(self.exit).into_iter();
        let opened = opened.find_map(|output| match output.frame {
            Frame::Begin(begin) => Some(begin),
            _ => None,
        });
        // Frames of the callee are ignored.
        self.rig.outputs(caller);
        match opened.map(tidegate_streams::Pooled::into_inner) {
            Some(BeginEx::Mqtt(begin)) => begin,
            other => panic!("an mqtt stream is opened: {other:?}"),
        }
    }

    /// Number of open streams; 0 between operations.
    pub fn open_streams(&self) -> usize {
        self.rig.worker.open_streams()
    }
}
