//! `${{env.NAME}}` in a config's strings.

use serde_yaml::Value;

use crate::fault::Findings;

/// Replaces the expressions in every string below `value`. The paths of strings that were one
/// expression and nothing else are returned: such a string may stand for a number.
pub(crate) fn substitute(
    value: &mut Value,
    environment: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings<'_>,
) -> Vec<Vec<String>> {
    let mut whole = Vec::new();
    walk(value, &mut Vec::new(), environment, findings, &mut whole);
    whole
}

fn walk(
    value: &mut Value,
    path: &mut Vec<String>,
    environment: &dyn Fn(&str) -> Option<String>,
    findings: &mut Findings<'_>,
    whole: &mut Vec<Vec<String>>,
) {
    match value {
        Value::String(text) if text.contains("${{") => match expand(text, environment) {
            Ok((expanded, alone)) => {
                *text = expanded;
                if alone {
                    whole.push(path.clone());
                }
            }
            Err(message) => findings.value(path, message),
        },
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                walk(item, path, environment, findings, whole);
                path.pop();
            }
        }
        Value::Mapping(members) => {
            for (key, member) in members.iter_mut() {
                path.push(key.as_str().unwrap_or_default().to_owned());
                walk(member, path, environment, findings, whole);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The text with its expressions replaced, and whether it was one expression alone.
fn expand(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, bool), String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    let mut alone = false;
    while let Some((before, behind)) = rest.split_once("${{") {
        let (expression, after) = behind
            .split_once("}}")
            .ok_or_else(|| "an expression that starts with ${{ must end with }}".to_owned())?;
        let name = expression.trim().strip_prefix("env.").ok_or_else(|| {
            format!(
                "'{}' is not known; an expression is ${{{{env.NAME}}}}",
                expression.trim()
            )
        })?;
        let value = environment(name)
            .ok_or_else(|| format!("the environment variable {name} is not set"))?;
        alone = before.is_empty() && after.is_empty() && expanded.is_empty();
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok((expanded, alone))
}
