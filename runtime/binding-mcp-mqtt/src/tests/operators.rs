//! What operators see: figures, and an event for each call where somebody listens.

use tidegate_engine::Measures;
use tidegate_streams::Severity;
use tidegate_streams::mcp::{McpResourcesRead, McpToolsList};

use super::*;

impl House {
    /// The operations that are counted, and the other figures that are not 0.
    fn figures(&self) -> Vec<String> {
        let mut measures = Measures::default();
        self.rig.worker.report(&mut measures);
        let own = measures
            .iter()
            .filter(|it| it.binding == "binding" && it.value > 0);
        own.map(|it| it.to_string().replace("binding/mcp_mqtt.", ""))
            .collect()
    }

    fn events(&mut self) -> Vec<String> {
        let worker = &mut self.rig.worker;
        let events = std::iter::from_fn(|| worker.poll_event());
        events
            .inspect(|event| assert_ne!(event.trace, 0, "{event:?}"))
            .map(|event| event.message)
            .collect()
    }

    fn publishes(&mut self, topic: &str) -> (StreamId, StreamId) {
        let arguments = format!(r#"{{"topic":"{topic}","payload":"on","qos":1}}"#);
        let call = self.call("publish", &arguments);
        (call, self.opened_publish().0)
    }
}

#[test]
fn how_operations_come_out_is_counted_and_told() {
    let mut house = house(r#"{"publish":["a/#"]}"#);
    house.rig.worker.listen_from(Severity::Debug);
    // One that is done, one that may have been delivered, one that was not, one that is cancelled.
    let (done, mqtt) = house.publishes("a/done");
    house.rig.advance(Duration::from_millis(7));
    house.reply(mqtt, Frame::begin(MqttPublish::default()));
    house.reply(mqtt, Frame::end());
    house.answer(done);
    for delivery in [MqttDelivery::Possible, MqttDelivery::None] {
        let (call, mqtt) = house.publishes("a/lost");
        house.refuse(mqtt, lost(delivery));
        house.answer(call);
    }
    let (cancelled, _) = house.publishes("a/cancelled");
    house
        .rig
        .turn(house.caller, |cx| cx.terminate(cancelled, None, None));
    // One that no pattern allows.
    let refused = house.call("publish", r#"{"topic":"b","payload":"on"}"#);
    house.answer(refused);
    // A read for which nothing comes, a list, and a tool that there is not.
    let read = house.open(McpResourcesRead {
        uri: "mqtt://news".into(),
        ..McpResourcesRead::default()
    });
    house.rig.frames(house.caller, cancelled);
    house.rig.outputs(house.exit).clear();
    house.rig.advance(Duration::from_secs(61));
    let list = house.open(McpToolsList::default());
    house.answer(list);
    let unknown = house.open(McpToolsCall {
        name: "shout".into(),
        ..McpToolsCall::default()
    });
    house.refusal(unknown);
    assert_eq!(
        house.figures(),
        [
            "requests.refused=1",
            "operations{operation=publish,outcome=ok}=1",
            "operations{operation=publish,outcome=error}=2",
            "operations{operation=publish,outcome=unconfirmed}=1",
            "operations{operation=publish,outcome=cancelled}=1",
            "operations{operation=list,outcome=ok}=1",
        ],
        "the read waits for the mqtt stream"
    );
    house
        .rig
        .turn(house.caller, |cx| cx.terminate(read, None, None));
    assert_eq!(
        house.events(),
        [
            "publish 'a/done': ok in 7 ms",
            "publish 'a/lost': unconfirmed in 0 ms",
            "publish 'a/lost': error in 0 ms",
            "publish 'a/cancelled': cancelled in 0 ms",
            "publish '': error in 0 ms",
            "read 'news': cancelled in 61000 ms",
        ]
    );
}

#[test]
fn a_timer_works_for_its_call() {
    let mut house = house("{}");
    house.rig.worker.listen_from(Severity::Debug);
    let receive = house.call("receive", r#"{"topic":"t","timeout":1000}"#);
    let mqtt = house.confirmed();
    house.rig.advance(Duration::from_secs(1));
    house.ended(mqtt);
    house.answer(receive);
    assert_eq!(house.events(), ["receive 't': ok in 1000 ms"]);
    assert_eq!(
        house.figures(),
        ["operations{operation=receive,outcome=ok}=1"]
    );
    house.rig.assert_idle();
}
