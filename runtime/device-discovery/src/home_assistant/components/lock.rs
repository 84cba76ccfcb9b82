//! `lock`.

use serde_json::json;
use tidegate_device::Format;

use super::state_is;
use crate::fault::Fault;
use crate::home_assistant::draft::{Draft, STATE};
use crate::schema::Argument;

pub(super) fn lock(draft: &mut Draft<'_>) -> Result<(), Fault> {
    let config = draft.config;
    let topic = config.required_topic("command_topic")?;
    let locked = config.payload("state_locked", "LOCKED")?;
    let unlocked = config.payload("state_unlocked", "UNLOCKED")?;
    let mut states = vec![locked.clone(), unlocked.clone()];
    for (key, default) in [
        ("state_locking", "LOCKING"),
        ("state_unlocking", "UNLOCKING"),
        ("state_jammed", "JAMMED"),
    ] {
        let state = config.payload(key, default)?;
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
    let needs_code = config.has("code_format") && config.has("command_template");
    let lock = config.payload("payload_lock", "LOCK")?;
    let unlock = config.payload("payload_unlock", "UNLOCK")?;
    let open = config.optional_payload("payload_open")?;
    for (name, description, text, state) in [
        ("lock", "Locks it.", Some(lock), Some(locked)),
        ("unlock", "Unlocks it.", Some(unlock), Some(unlocked)),
        ("open", "Unlatches it.", open, None),
    ] {
        let Some(text) = text else { continue };
        let payload = draft.fixed("command_template", &text)?;
        let code = needs_code
            .then(|| Argument::required("code", json!({ "type": "string", "maxLength": 64 })));
        let arguments = code.into_iter().collect();
        draft.command(
            name,
            description,
            &topic,
            arguments,
            payload,
            state.map(state_is),
        );
    }
    Ok(())
}
