//! The capabilities that a client declares: in `initialize`, or in `_meta` of each modern request.

use tidegate_json::{Duplicate, Kind, Value};
use tidegate_streams::mcp::McpCapabilities;

use super::errors::Refusal;

type C = McpCapabilities;

/// A capability: its name, its flag, and the members that are capabilities too.
type Declared = (&'static str, C, &'static [(&'static str, C)]);

const DECLARED: [Declared; 3] = [
    (
        "roots",
        C::CLIENT_ROOTS,
        &[("listChanged", C::CLIENT_ROOTS_LIST_CHANGED)],
    ),
    (
        "sampling",
        C::CLIENT_SAMPLING,
        &[
            ("tools", C::CLIENT_SAMPLING_TOOLS),
            ("context", C::CLIENT_SAMPLING_CONTEXT),
        ],
    ),
    (
        "elicitation",
        C::CLIENT_ELICITATION,
        &[
            ("form", C::CLIENT_ELICITATION_FORM),
            ("url", C::CLIENT_ELICITATION_URL),
        ],
    ),
];

/// Reads a `ClientCapabilities` object. Unknown capabilities are none.
pub(super) fn read(declared: &Value<'_>) -> Result<McpCapabilities, Refusal> {
    // `{}`, which most clients declare.
    if declared.range().len() <= 2 {
        return Ok(C::NONE);
    }
    let all = of(declared);
    all.map_err(|_| Refusal::invalid_params("The capabilities have a duplicate member."))
}

fn of(declared: &Value<'_>) -> Result<McpCapabilities, Duplicate> {
    let mut all = C::NONE;
    for (name, flag, details) in DECLARED {
        let capability = declared.get(name)?;
        let Some(capability) = capability.filter(|it| it.kind() == Kind::Object) else {
            continue;
        };
        all = all.with(flag);
        for (name, flag) in details {
            let detail = capability.get(name)?;
            all = all.with_if(*flag, detail.is_some_and(|detail| is_declared(&detail)));
        }
    }
    // Without a mode, an elicitation is a form.
    let form = all.contains(C::CLIENT_ELICITATION) && !all.contains(C::CLIENT_ELICITATION_URL);
    Ok(all.with_if(C::CLIENT_ELICITATION_FORM, form))
}

fn is_declared(detail: &Value<'_>) -> bool {
    detail.kind() == Kind::Object || detail.as_bool() == Some(true)
}
