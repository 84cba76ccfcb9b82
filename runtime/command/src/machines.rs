//! What an `mqtt_mcp · proxy` must fulfil as a whole: its options, its routes and its `mqtt · client`.

use tidegate_binding_mqtt::client;
use tidegate_binding_mqtt_mcp::{Condition, Options, With};
use tidegate_config::{Binding, BindingFault, Declared, MakeError};
use tidegate_options::ActionFault;

/// The name of the exit to the broker.
const MQTT: &str = "mqtt";

/// Checks a binding. `queue` is the name of the exit of its queue.
pub(crate) fn check(
    declared: &Declared<'_, &Binding>,
    queue: &str,
) -> Result<Vec<BindingFault>, MakeError> {
    let options: Options = declared.options()?;
    let routes = declared.actions::<Condition, With>()?;
    let unanswerable = options.unanswerable(&routes).into_iter();
    let mut faults: Vec<BindingFault> = unanswerable.map(of_route).collect();
    let client = declared.exit_named(MQTT)?;
    let has_queue = declared.exit_named(queue).is_ok();
    let subscribe = options.subscription(routes, has_queue);
    let refused = client.options::<client::Options>().ok();
    let refused = refused.and_then(|it| it.refuse_subscription(subscribe));
    faults.extend(refused.map(|reason| {
        let name = &client.name;
        BindingFault {
            path: vec!["routes".to_owned()],
            message: format!(
                "the subscription to requests fails: {}",
                reason.trim_end_matches('.')
            ),
            help: format!(
                "use other topics in 'when', one mqtt_mcp · proxy for each, or another 'version' or 'limits' of \
                 '{name}', if its broker permits"
            ),
        }
    }));
    Ok(faults)
}

/// The fault of a route, with its path below the binding.
fn of_route(fault: ActionFault) -> BindingFault {
    let above = ["routes".to_owned(), fault.route.to_string()];
    BindingFault {
        path: above.into_iter().chain(fault.path).collect(),
        message: fault.message,
        help: fault.help,
    }
}
