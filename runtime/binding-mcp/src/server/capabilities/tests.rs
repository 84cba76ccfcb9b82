use super::*;
use crate::server::key::Key;
use crate::server::tests::part::Bench;

fn ask(bench: &mut Bench, capabilities: &mut Capabilities, id: u64) -> Option<McpCapabilities> {
    let id = Id::number(id);
    let known = bench.act(|cx| capabilities.known_or_wait(cx, Sink::Http(1), &id));
    known.expect("room")
}

fn capabilities_of(bench: &Bench) -> Capabilities {
    let token = Key::Capabilities(0).token();
    Capabilities::new(bench.exit, Duration::from_secs(60), token, None)
}

#[test]
fn one_request_serves_all_waiting_discoveries_and_is_cached_for_a_minute() {
    let mut bench = Bench::new();
    let mut capabilities = capabilities_of(&bench);
    assert_eq!(ask(&mut bench, &mut capabilities, 1), None);
    assert_eq!(ask(&mut bench, &mut capabilities, 2), None);
    let (stream, frames) = bench.at_exit();
    assert_eq!(frames.len(), 1, "{frames:?}");
    let told = McpCapabilities::SERVER_TOOLS;
    let begin = McpLifecycle {
        capabilities: told,
        ..McpLifecycle::default()
    };
    let frame = bench.exit_sends(stream, Frame::begin(begin));
    let event = bench.act(|cx| capabilities.on_frame(cx, frame));
    let Some(CapabilitiesEvent::Known(known, waiting)) = event else {
        panic!("{event:?}")
    };
    assert_eq!((known, waiting.len()), (told, 2));
    assert_eq!(bench.kinds_at_exit(), ["end", "reset"]);
    bench.rig.advance(Duration::from_millis(59_999));
    assert_eq!(ask(&mut bench, &mut capabilities, 3), Some(told));
    bench.rig.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut bench, &mut capabilities, 4), None);
    assert_eq!(bench.kinds_at_exit(), ["begin"]);
}

#[test]
fn a_failure_answers_the_waiting_requests_and_is_not_cached() {
    let mut bench = Bench::new();
    let mut capabilities = capabilities_of(&bench);
    assert_eq!(ask(&mut bench, &mut capabilities, 1), None);
    let (stream, _) = bench.at_exit();
    capabilities.client_disconnected(Sink::Http(1));
    let id = Id::number(2);
    let known = bench.act(|cx| capabilities.known_or_wait(cx, Sink::Line(0), &id));
    assert_eq!(known.expect("room"), None);
    let frame = bench.exit_refuses(stream, McpResetKind::Unavailable);
    let event = bench.act(|cx| capabilities.on_frame(cx, frame));
    let Some(CapabilitiesEvent::Lost(Some(reset), waiting)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(reset.kind, McpResetKind::Unavailable);
    assert_eq!(waiting, [(Sink::Line(0), id)]);
    assert_eq!(ask(&mut bench, &mut capabilities, 3), None);
}

#[test]
fn waiting_requests_are_bounded() {
    let mut bench = Bench::new();
    let mut capabilities = capabilities_of(&bench);
    for id in 0..WAITING_MAX {
        assert_eq!(ask(&mut bench, &mut capabilities, id as u64), None);
    }
    let id = Id::null();
    let refused = bench.act(|cx| capabilities.known_or_wait(cx, Sink::Http(1), &id));
    assert_eq!(refused.expect_err("too many").status(), 503);
}
