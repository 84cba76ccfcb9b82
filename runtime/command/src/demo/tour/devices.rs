//! The steps of the tour in the simulated home: "above 26 °C, turn on the air conditioner and close the
//! curtains", a print job, and a device that goes offline. Each step checks the outcome that it prints.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{STEP_TIMEOUT, TourError, ask, detail, expect, items, step, text};
use crate::client::Client;

/// Above this temperature the air conditioner is turned on, in degrees Celsius.
const TOO_WARM: f64 = 26.0;
/// Readings of the series.
const READINGS: usize = 3;

/// A call of `control_device`.
struct Command {
    device: &'static str,
    name: &'static str,
    arguments: Value,
}

fn command(device: &'static str, name: &'static str, arguments: Value) -> Command {
    Command {
        device,
        name,
        arguments,
    }
}

fn turn_on() -> Command {
    let arguments = json!({ "power": "on", "target": 24 });
    command("air-conditioner", "set", arguments)
}

pub(super) async fn walk(client: &mut Client) -> Result<(), TourError> {
    list(client).await?;
    let before = status(client).await?;
    refused(client).await?;
    confirmed(client).await?;
    contradicted(client).await?;
    series(client, before).await?;
    job(client).await?;
    offline(client).await
}

async fn list(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "9  tools/call list_devices";
    let (result, took) = call(client, STEP, "list_devices", json!({})).await?;
    step(STEP, "which devices are in the home?", took);
    let devices = items(&content(&result), "devices");
    for device in &devices {
        let commands = items(device, "commands");
        let commands: Vec<&str> = commands.iter().filter_map(Value::as_str).collect();
        let place = format!("{} in {}", text(device, "type"), text(device, "location"));
        detail(
            format!(
                "{:16} {place:32} {}",
                text(device, "id"),
                commands.join(", ")
            )
            .trim_end(),
        );
    }
    expect(STEP, "six devices", devices.len() == 6, &result.to_string())
}

/// The states are waited for: the gateway may not have received them yet. Returns the temperature.
async fn status(client: &mut Client) -> Result<f64, TourError> {
    const STEP: &str = "10  tools/call get_device_status";
    let (window, took) = ask_status(client, STEP, "window").await?;
    let (thermometer, _) = ask_status(client, STEP, "thermometer").await?;
    step(STEP, "is it above 26 °C in the living room?", took);
    let temperature = thermometer.get("status").and_then(Value::as_f64);
    let temperature = temperature.unwrap_or_default();
    detail(&format!(
        "thermometer: {temperature:.1} {}",
        text(&thermometer, "unit")
    ));
    detail(&format!("window: {}", text(&window, "status")));
    let warm = temperature > TOO_WARM;
    expect(STEP, "more than 26 °C", warm, &thermometer.to_string())?;
    let open = text(&window, "status") == "open";
    expect(STEP, "an open window", open, &window.to_string())?;
    Ok(temperature)
}

async fn refused(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "11  tools/call control_device";
    let cool = turn_on();
    let (result, took) = control(client, STEP, &cool).await?;
    step(
        STEP,
        "turn on the air conditioner: an interlock refuses",
        took,
    );
    outcome(STEP, &cool, "notSent", &result)
}

async fn confirmed(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "12  tools/call control_device";
    let close = command("window", "move", json!({ "to": "closed" }));
    let (result, took) = control(client, STEP, &close).await?;
    step(
        STEP,
        "close the window, then turn on the air conditioner",
        took,
    );
    outcome(STEP, &close, "confirmed", &result)?;
    let cool = turn_on();
    let (result, _) = control(client, STEP, &cool).await?;
    outcome(STEP, &cool, "confirmed", &result)
}

async fn contradicted(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "13  tools/call control_device";
    let close = command("curtains", "move", json!({ "position": 0 }));
    let (result, took) = control(client, STEP, &close).await?;
    step(STEP, "close the curtains: they are blocked", took);
    outcome(STEP, &close, "contradicted", &result)
}

async fn series(client: &mut Client, before: f64) -> Result<(), TourError> {
    const STEP: &str = "14  tools/call subscribe_sensor";
    let arguments = json!({ "device": "thermometer", "duration": 8_000, "count": READINGS });
    let (result, took) = call(client, STEP, "subscribe_sensor", arguments).await?;
    step(STEP, "does it get cooler?", took);
    let content = content(&result);
    let series = items(&content, "series");
    let values = series.iter().filter_map(|it| it.get("value")?.as_f64());
    let values: Vec<f64> = values.collect();
    let shown: Vec<String> = values.iter().map(|value| format!("{value:.1}")).collect();
    let mean = content
        .pointer("/statistics/0/mean")
        .and_then(Value::as_f64);
    detail(&format!(
        "{} °C; mean {:.1} °C",
        shown.join(", "),
        mean.unwrap_or_default()
    ));
    let cooler = values.len() == READINGS && values.iter().all(|value| *value < before);
    expect(STEP, "lower readings", cooler, &result.to_string())
}

async fn job(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "15  tools/call control_device";
    let arguments = json!({ "document": "agenda.pdf", "copies": 2 });
    let print = command("printer", "print", arguments);
    let (result, took) = control(client, STEP, &print).await?;
    step(STEP, "print the agenda: confirmed when it is printed", took);
    outcome(STEP, &print, "confirmed", &result)
}

async fn offline(client: &mut Client) -> Result<(), TourError> {
    const STEP: &str = "16  tools/call control_device";
    let unplug = command("plug", "set", json!({ "power": "off" }));
    let (result, took) = control(client, STEP, &unplug).await?;
    step(STEP, "switch off the printer's plug: it goes offline", took);
    outcome(STEP, &unplug, "confirmed", &result)?;
    let since = Instant::now();
    loop {
        let (printer, _) = ask_status(client, STEP, "printer").await?;
        if printer.get("online") == Some(&Value::Bool(false)) {
            break;
        }
        if since.elapsed() > STEP_TIMEOUT {
            return Err(TourError::TimedOut(STEP));
        }
    }
    let arguments = json!({ "document": "minutes.pdf", "copies": 1 });
    let print = command("printer", "print", arguments);
    let (result, _) = control(client, STEP, &print).await?;
    outcome(STEP, &print, "notSent", &result)
}

async fn call(
    client: &mut Client,
    name: &'static str,
    tool: &str,
    arguments: Value,
) -> Result<(Value, Duration), TourError> {
    let params = json!({ "name": tool, "arguments": arguments });
    ask(client, name, "tools/call", params).await
}

async fn control(
    client: &mut Client,
    name: &'static str,
    command: &Command,
) -> Result<(Value, Duration), TourError> {
    let arguments = json!({
        "device": command.device,
        "command": command.name,
        "arguments": command.arguments,
    });
    call(client, name, "control_device", arguments).await
}

/// The structured content of `get_device_status`.
async fn ask_status(
    client: &mut Client,
    name: &'static str,
    device: &str,
) -> Result<(Value, Duration), TourError> {
    let arguments = json!({ "device": device });
    let (result, took) = call(client, name, "get_device_status", arguments).await?;
    Ok((content(&result), took))
}

/// Prints a command and its outcome, and checks the outcome.
fn outcome(
    name: &'static str,
    command: &Command,
    expected: &'static str,
    result: &Value,
) -> Result<(), TourError> {
    let content = content(result);
    let sent = format!("{} {}", command.name, command.arguments);
    detail(&format!("{} ← {sent}", command.device));
    let found = text(&content, "outcome");
    detail(&format!("{found}: {}", text(&content, "message")));
    expect(name, expected, found == expected, &result.to_string())
}

fn content(result: &Value) -> Value {
    result.get("structuredContent").cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_outcome_than_the_expected_one_fails() {
        let result = json!({ "structuredContent": { "outcome": "unconfirmed", "message": "m" } });
        let sent = turn_on();
        assert!(outcome("1  step", &sent, "unconfirmed", &result).is_ok());
        let wrong = outcome("1  step", &sent, "confirmed", &result);
        let wrong = wrong.expect_err("another outcome").to_string();
        assert!(wrong.contains("expected confirmed, got "), "{wrong}");
        assert!(outcome("1  step", &sent, "confirmed", &json!({})).is_err());
    }
}
