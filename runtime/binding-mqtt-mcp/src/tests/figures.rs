//! The figures that operators see. Each is the consequence of messages, as an operator would cause it.

use tidegate_engine::Measures;

use super::*;

impl Plant {
    /// The counters and gauges that are not 0.
    fn figures(&self) -> Vec<String> {
        let mut measures = Measures::default();
        self.rig.worker.report(&mut measures);
        let own = measures
            .iter()
            .filter(|it| it.name.starts_with("mqtt_mcp.") && it.value > 0);
        own.filter(|it| it.histogram.is_none())
            .map(|it| it.to_string().replace("binding/mqtt_mcp.", ""))
            .collect()
    }

    /// The number of measured durations by outcome, and their sum in milliseconds.
    fn durations(&self, name: &str) -> Vec<String> {
        let mut measures = Measures::default();
        self.rig.worker.report(&mut measures);
        let found = measures.iter().filter(|it| it.name == name);
        let found = found.filter_map(|it| {
            let sum = it.histogram.as_ref()?.sum().as_millis();
            let outcome = it.labels.first().map_or("", |(_, value)| value);
            Some(format!("{outcome}: {} in {sum} ms", it.value))
        });
        found.collect()
    }

    fn has(&self, figure: &str) -> bool {
        self.figures().iter().any(|it| it == figure)
    }

    fn wait(&mut self, millis: u64) {
        self.rig.advance(Duration::from_millis(millis));
        self.play(Exit::IsSilent, false);
    }
}

/// A request of `get_a`, which nothing refuses.
fn request(correlation: u8) -> Sent {
    Sent {
        topic: "devices/d1/call",
        payload: br#"{"tool":"get_a","arguments":{}}"#.to_vec(),
        reply: Some("devices/d1/answers/1".to_owned()),
        correlation: Some(vec![correlation]),
        expiry: -1,
        timestamp: None,
        retained: false,
        exit: Exit::Answers,
        refuses: false,
    }
}

fn rpc(method: &str, params: Json, is_notification: bool) -> Sent {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
    if !is_notification {
        message["id"] = json!(1);
    }
    Sent {
        topic: "mcp/d1/call",
        payload: message.to_string().into_bytes(),
        expiry: 60,
        ..request(9)
    }
}

#[test]
fn requests_steps_and_answers_are_counted_by_outcome() {
    let mut plant = Plant::new();
    plant.send(&request(1));
    let refused = Sent {
        exit: Exit::Refuses,
        ..request(2)
    };
    plant.send(&refused);
    let not_allowed = Sent {
        payload: br#"{"tool":"delete","arguments":{}}"#.to_vec(),
        ..request(3)
    };
    plant.send(&not_allowed);
    let silent = Sent {
        exit: Exit::IsSilent,
        ..request(4)
    };
    plant.send(&silent);
    plant.wait(1_200);
    let expected = [
        "requests.remembered=3",
        "requests{outcome=done}=1",
        "requests{outcome=rejected}=1",
        "requests{outcome=timedOut}=1",
        "requests{outcome=unknown}=1",
        "steps{outcome=ok}=1",
        "steps{outcome=timedOut}=1",
        "steps{outcome=unknown}=1",
        "answers{result=published}=4",
        "progress{result=published}=1",
    ];
    assert_eq!(plant.figures(), expected);
    let requests = [
        "done: 1 in 0 ms",
        "rejected: 1 in 0 ms",
        "timedOut: 1 in 1200 ms",
        "unknown: 1 in 0 ms",
    ];
    assert_eq!(plant.durations("mqtt_mcp.request.duration"), requests);
    let steps = [
        "ok: 1 in 0 ms",
        "timedOut: 1 in 1200 ms",
        "unknown: 1 in 0 ms",
    ];
    assert_eq!(plant.durations("mqtt_mcp.step.duration"), steps);
}

#[test]
fn operations_of_devices_that_speak_mcp_are_steps() {
    let mut plant = Plant::new();
    let call = || {
        rpc(
            "tools/call",
            json!({ "name": "get_a", "arguments": {} }),
            false,
        )
    };
    plant.send(&call());
    let silent = Sent {
        exit: Exit::IsSilent,
        correlation: Some(vec![8]),
        ..call()
    };
    plant.send(&silent);
    plant.rig.advance(Duration::from_millis(7));
    let cancelled = Sent {
        correlation: Some(vec![8]),
        ..rpc("notifications/cancelled", json!({ "requestId": 1 }), true)
    };
    plant.send(&cancelled);
    let steps = ["ok: 1 in 0 ms", "cancelled: 1 in 7 ms"];
    assert_eq!(plant.durations("mqtt_mcp.step.duration"), steps);
}

#[test]
fn messages_that_are_no_requests_are_counted() {
    let mut plant = Plant::new();
    let retained = Sent {
        retained: true,
        ..request(1)
    };
    plant.send(&retained);
    assert_eq!(plant.figures(), ["messages.ignored=1"]);
    let of_no_route = Sent {
        topic: "other",
        ..request(1)
    };
    plant.send(&of_no_route);
    assert_eq!(plant.figures(), ["messages.ignored=2"]);
    let normal = Sent {
        topic: "levels/d1",
        payload: br#"{"x":2}"#.to_vec(),
        ..request(1)
    };
    plant.send(&normal);
    assert_eq!(plant.figures(), ["messages.ignored=3"]);
    plant.send(&rpc("notifications/roots/list_changed", json!({}), true));
    assert_eq!(plant.figures(), ["messages.ignored=4"]);
}

#[test]
fn requests_that_come_again_are_counted() {
    let mut plant = Plant::new();
    plant.send(&request(1));
    plant.send(&request(1));
    plant.send(&request(1));
    assert!(plant.has("requests.repeated=2"), "{:?}", plant.figures());
    let listen = rpc(
        "subscriptions/listen",
        json!({ "notifications": { "toolsListChanged": true } }),
        false,
    );
    plant.send(&listen);
    plant.send(&listen);
    assert!(plant.has("requests.repeated=3"), "{:?}", plant.figures());
}

#[test]
fn what_runs_waits_and_lasts_is_a_gauge() {
    let mut plant = Plant::new();
    let listen = rpc(
        "subscriptions/listen",
        json!({ "notifications": { "toolsListChanged": true } }),
        false,
    );
    plant.send(&listen);
    for correlation in 1..=3 {
        let silent = Sent {
            exit: Exit::IsSilent,
            ..request(correlation)
        };
        plant.send(&silent);
    }
    plant.refusal = None;
    let unanswered = Sent {
        payload: Vec::new(),
        refuses: true,
        ..request(4)
    };
    plant.send(&unanswered);
    let gauges = [
        "requests.running=1",
        "requests.waiting=2",
        "requests.remembered=3",
        "answers.waiting=1",
        "listens=1",
    ];
    assert_eq!(plant.figures()[..5], gauges);
}

#[test]
fn answers_are_counted_by_what_became_of_them() {
    let answers = |plant: &Plant| -> Vec<String> {
        let figures = plant.figures().into_iter();
        figures.filter(|it| it.starts_with("answers{")).collect()
    };
    let refusal = |reason_code| {
        Some(MqttReset {
            reason_code,
            refused: true,
            ..MqttReset::default()
        })
    };
    let mut plant = Plant::new();
    plant.refusal = refusal(0x87);
    let refused = Sent {
        refuses: true,
        ..request(1)
    };
    plant.send(&refused);
    assert_eq!(answers(&plant), ["answers{result=lost}=1"]);
    // A reason code that may pass: it is tried again.
    plant.refusal = refusal(0x97);
    let refused = Sent {
        refuses: true,
        ..request(2)
    };
    plant.send(&refused);
    plant.wait(1_100);
    let expected = [
        "answers{result=published}=1",
        "answers{result=retried}=1",
        "answers{result=lost}=1",
    ];
    assert_eq!(answers(&plant), expected);
}

/// Refusals wait while the broker is silent, at most 1,000 of them.
#[test]
fn answers_that_find_no_room_are_counted() {
    let mut plant = Plant::new();
    plant.refusal = None;
    let refused = Sent {
        payload: b"no JSON".to_vec(),
        refuses: true,
        correlation: None,
        ..request(1)
    };
    for _ in 0..1_003 {
        plant.send(&refused);
    }
    let expected = [
        "answers.waiting=1000",
        "requests{outcome=rejected}=1003",
        "answers{result=dropped}=3",
    ];
    assert_eq!(plant.figures(), expected);
}

/// The limit is four requests.
#[test]
fn what_is_forgotten_at_a_limit_is_counted() {
    let mut plant = Plant::new();
    for correlation in 1..=6 {
        plant.send(&request(correlation));
    }
    assert_eq!(
        plant.figures()[..2],
        [
            "requests.remembered=4",
            "remembered.evicted{what=requests}=2"
        ]
    );
}

#[test]
fn progress_is_counted_by_what_became_of_it() {
    let mut plant = Plant::new();
    plant.send(&request(1));
    assert!(plant.has("progress{result=published}=1"));
    let refused = Sent {
        refuses: true,
        ..request(2)
    };
    plant.send(&refused);
    assert!(plant.has("progress{result=dropped}=1"));
}
