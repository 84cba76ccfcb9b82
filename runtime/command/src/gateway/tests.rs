//! Exit codes of a gateway whose worker fails or hangs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use tidegate_driver::Assembly;
use tidegate_engine::BindingId;

use crate::assembly::Extras;
use crate::registry;
use crate::serve;

const CONFIG: &str = "
name: failing
workers: 2
shutdownTimeout: 10
bindings:
  http0: { type: http, kind: server, options: { listen: 127.0.0.1:0 }, exit: mcp_server0 }
  mcp_server0: { type: mcp, kind: server, exit: mcp_mqtt0 }
  mcp_mqtt0: { type: mcp_mqtt, kind: proxy, exit: mqtt_client0 }
  mqtt_client0: { type: mqtt, kind: client, exit: tcp_client0 }
  tcp_client0: { type: tcp, kind: client, options: { host: 127.0.0.1, port: 1 } }
";

type Attach = fn(&mut Assembly, &BTreeMap<String, BindingId>);

/// Runs a gateway with an extra attachment until it stops by itself; returns its exit code.
fn code_of(attach: Attach) -> ExitCode {
    let config = tidegate_config::load("test.yaml", CONFIG, &registry::registry(), &|_| None);
    let config = config.expect("a sound config");
    let extras = Extras {
        attach: Some(attach),
        ..Extras::default()
    };
    let code = serve(&config, extras, async |_| std::future::pending().await);
    code.expect("the gateway ran")
}

#[test]
fn a_failed_worker_stops_the_gateway_with_a_failure() {
    let code = code_of(|assembly, _| {
        if assembly.worker() == 1 {
            assembly.spawn(async { panic!("on purpose") });
        }
    });
    assert_eq!(code, ExitCode::FAILURE);
}

#[test]
fn a_hung_worker_does_not_delay_the_stop_of_others() {
    let code = code_of(|assembly, _| {
        if assembly.worker() == 1 {
            assembly.spawn(async { panic!("on purpose") });
        } else {
            assembly.spawn(async {
                loop {
                    std::thread::park();
                }
            });
        }
    });
    assert_eq!(code, ExitCode::FAILURE);
}

#[test]
fn a_stop_requested_by_a_binding_is_a_success() {
    let code = code_of(|assembly, _| assembly.stop().request());
    assert_eq!(code, ExitCode::SUCCESS);
}
