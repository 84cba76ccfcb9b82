//! `cover`.

use tidegate_device::{Expected, Format, Payload};

use super::{repeats, state_is};
use crate::fault::Fault;
use crate::home_assistant::config::Config;
use crate::home_assistant::draft::{Draft, STATE};
use crate::schema::{Argument, integer};

/// A range of positions as the device counts them.
struct Range {
    closed: i32,
    open: i32,
}

impl Range {
    fn read(config: &Config<'_>, closed: &'static str, open: &'static str) -> Result<Self, Fault> {
        let range = Self {
            closed: config.integer(closed, 0, -100_000, 100_000)?,
            open: config.integer(open, 100, -100_000, 100_000)?,
        };
        if range.closed == range.open {
            return Err(Fault::invalid(open, "must differ from the closed position"));
        }
        Ok(range)
    }

    fn schema(&self) -> serde_json::Value {
        integer(self.closed.min(self.open), self.closed.max(self.open))
    }

    fn description(&self, what: &str) -> String {
        format!(
            "Moves its {what}: {} is closed, {} is open.",
            self.closed, self.open
        )
    }

    /// Statements that set `percentage` to what `argument` is between closed and open.
    fn percentage(&self, argument: &str, percentage: &str) -> String {
        let Self { closed, open } = self;
        let width = open - closed;
        format!(
            "{{% set {percentage} = (({argument} - {closed}) * 100 / {width}) | round | int %}}"
        )
    }
}

pub(super) fn cover(draft: &mut Draft<'_>) -> Result<(), Fault> {
    state(draft)?;
    position(draft)?;
    tilt(draft)?;
    moves(draft)
}

fn state(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let mut states = Vec::new();
    for (key, default) in [
        ("state_open", "open"),
        ("state_opening", "opening"),
        ("state_closed", "closed"),
        ("state_closing", "closing"),
        ("state_stopped", "stopped"),
    ] {
        let state = draft.config.payload(key, default)?;
        if !states.contains(&state) {
            states.push(state);
        }
    }
    draft.property(
        STATE,
        "state_topic",
        &["value_template"],
        Format::Choice(states),
    )?;
    Ok(())
}

/// `open`, `close` and `stop`; each can be left out with a payload of `null`.
fn moves(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let Some(topic) = config.topic("command_topic")? else {
        let is_empty = draft.commands.is_empty() && draft.properties.is_empty();
        return if is_empty {
            Err(Fault::Missing {
                key: "command_topic",
            })
        } else {
            Ok(())
        };
    };
    let has_state = config.has("state_topic");
    let range = Range::read(config, "position_closed", "position_open")?;
    let reached = |state: &'static str, default: &str, position: i32| {
        Ok::<_, Fault>(if has_state {
            Some(state_is(config.payload(state, default)?))
        } else {
            Some(("position", Expected::Value(position.into())))
        })
    };
    for (name, description, key, default, confirmed_by) in [
        (
            "open",
            "Opens it.",
            "payload_open",
            "OPEN",
            reached("state_open", "open", range.open)?,
        ),
        (
            "close",
            "Closes it.",
            "payload_close",
            "CLOSE",
            reached("state_closed", "closed", range.closed)?,
        ),
        ("stop", "Stops it.", "payload_stop", "STOP", None),
    ] {
        if let Some(text) = config.payload_unless_null(key, default)? {
            draft.command(
                name,
                description,
                &topic,
                Vec::new(),
                Payload::Fixed(text),
                confirmed_by,
            );
        }
    }
    Ok(())
}

fn position(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let range = Range::read(config, "position_closed", "position_open")?;
    let templates = ["position_template", "value_template"];
    if let Some(position) =
        draft.property("position", "position_topic", &templates, Format::Number)?
    {
        position.minimum = Some(f64::from(range.closed.min(range.open)));
        position.maximum = Some(f64::from(range.closed.max(range.open)));
    }
    let Some(topic) = config.topic("set_position_topic")? else {
        return Ok(());
    };
    let variables = format!(
        "{{% set value = position %}}{}{{% set position_closed = {} %}}{{% set position_open = {} %}}",
        range.percentage("value", "position"),
        range.closed,
        range.open,
    );
    let payload = match config.command_template("set_position_template", &variables)? {
        Some(template) => Payload::Template(template),
        None => Payload::Argument("position".to_owned()),
    };
    let arguments = vec![Argument::required("position", range.schema())];
    let description = range.description("position");
    let confirmed_by = repeats("position", "position");
    draft.command(
        "set_position",
        &description,
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}

fn tilt(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let range = Range::read(config, "tilt_min", "tilt_max")?;
    let templates = ["tilt_status_template"];
    if let Some(tilt) = draft.property("tilt", "tilt_status_topic", &templates, Format::Number)? {
        tilt.minimum = Some(f64::from(range.closed.min(range.open)));
        tilt.maximum = Some(f64::from(range.closed.max(range.open)));
    }
    let Some(topic) = config.topic("tilt_command_topic")? else {
        return Ok(());
    };
    let variables = format!(
        "{{% set value = tilt %}}{}{{% set tilt_min = {} %}}{{% set tilt_max = {} %}}",
        range.percentage("value", "tilt_position"),
        range.closed,
        range.open,
    );
    let payload = match config.command_template("tilt_command_template", &variables)? {
        Some(template) => Payload::Template(template),
        None => Payload::Argument("tilt".to_owned()),
    };
    let arguments = vec![Argument::required("tilt", range.schema())];
    let is_optimistic = config.flag("tilt_optimistic", false)?;
    let confirmed_by = Some(repeats("tilt", "tilt")).filter(|_| !is_optimistic);
    let description = range.description("tilt");
    draft.command(
        "set_tilt",
        &description,
        &topic,
        arguments,
        payload,
        confirmed_by,
    );
    Ok(())
}
