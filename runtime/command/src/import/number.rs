//! Numbers as mcpMQTT reads them.

use serde_json::Value;

/// A whole number in each form that mcpMQTT accepts: `1883`, `1883.0`, `"1883"`, and `true` for 1.
pub(super) fn whole(value: &Value) -> Option<i128> {
    let of_float = |float: f64| {
        // Larger floats are no exact numbers.
        #[allow(
            clippy::cast_possible_truncation,
            reason = "it is a whole number in the range"
        )]
        (float.fract() == 0.0 && float.abs() < 1e15).then_some(float as i128)
    };
    match value {
        Value::Bool(yes) => Some(i128::from(*yes)),
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from);
            whole
                .or_else(|| number.as_u64().map(i128::from))
                .or_else(|| number.as_f64().and_then(of_float))
        }
        Value::String(text) => {
            let text = text.trim();
            let (digits, rest) = text.split_once('.').unwrap_or((text, ""));
            let digits = digits.replace('_', "");
            let zeros = rest.bytes().all(|digit| digit == b'0');
            digits.parse().ok().filter(|_| zeros)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_as_leniently_as_mcpmqtt_reads_them() {
        for (value, expected) in [
            (json!(1883), Some(1883)),
            (json!(1883.0), Some(1883)),
            (json!("1883"), Some(1883)),
            (json!(" 1883 "), Some(1883)),
            (json!("+1883"), Some(1883)),
            (json!("1883.0"), Some(1883)),
            (json!("1_883"), Some(1883)),
            (json!(true), Some(1)),
            (json!(1883.5), None),
            (json!("port"), None),
            (json!(null), None),
            (json!([1883]), None),
        ] {
            assert_eq!(whole(&value), expected, "{value}");
        }
    }
}
