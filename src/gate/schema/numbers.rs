//! Whether everybody reads the same number.
//!
//! Half the world reads numbers as doubles, the other half digit by digit. A number is the same to
//! both if its digits are those that its nearest double is written with; `0.1` is, `0.1` with
//! twenty more digits is not, and what a schema says of it holds for one half only. Integers of 64
//! bits are compared exactly, so they are not asked here.

use serde_json::Value;

use crate::wire::{What, leaves};

/// Whether the schema says anywhere which numbers fit; one too often is no harm.
pub(super) fn are_judged(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(key, member)| match key.as_str() {
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => true,
            "type" => is_integer(member),
            "enum" | "const" => has_number(member),
            _ => are_judged(member),
        }),
        Value::Array(several) => several.iter().any(are_judged),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn is_integer(named: &Value) -> bool {
    match named {
        Value::String(name) => name == "integer",
        // Beside others, or a property that happens to have this name.
        Value::Array(several) => several.iter().any(is_integer),
        Value::Object(_) | Value::Number(_) | Value::Bool(_) | Value::Null => are_judged(named),
    }
}

fn has_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Object(members) => members.values().any(has_number),
        Value::Array(several) => several.iter().any(has_number),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// Whether that holds for all numbers in a JSON text.
pub(super) fn are_exact(text: &[u8]) -> bool {
    leaves(text).all(|leaf| match leaf.what {
        What::Number(number) => is_whole(number) || is_exact(number),
        What::Text(_) | What::Key(_) => true,
    })
}

fn is_whole(number: &str) -> bool {
    number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
}

fn is_exact(number: &str) -> bool {
    let double = number.parse::<f64>().ok().filter(|double| double.is_finite());
    double.is_some_and(|double| {
        let written = digits(number);
        written.is_some() && written == digits(&format!("{double:e}"))
    })
}

/// The digits without zeros at either end, and how far the first is before the point.
fn digits(number: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let n_zeros = all.len().checked_sub(significant.len())?;
    if significant.is_empty() {
        return Some((String::new(), 0));
    }
    let before = i64::try_from(whole.len()).ok()?.checked_sub(i64::try_from(n_zeros).ok()?)?;
    let power = before.checked_add(exponent.parse().ok()?)?;
    Some((significant.trim_end_matches('0').to_owned(), power))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{are_exact, are_judged};

    #[test]
    fn numbers_are_judged_where_the_schema_says_which_fit() {
        for schema in [
            json!({ "properties": { "n": { "type": "integer" } } }),
            json!({ "properties": { "n": { "type": ["null", "integer"] } } }),
            json!({ "properties": { "type": { "maximum": 1 } } }),
            json!({ "anyOf": [{ "items": { "enum": ["a", [0.5]] } }] }),
            json!({ "const": 1 }),
        ] {
            assert!(are_judged(&schema), "{schema}");
        }
        let schema = json!({ "type": "object", "minProperties": 1, "properties": {
            "n": { "type": "number" }, "s": { "enum": ["1"], "maxLength": 7 },
        }});
        assert!(!are_judged(&schema));
    }

    #[test]
    fn a_number_is_exact_if_a_double_is_written_with_its_digits() {
        for text in [
            "0.1",
            "-0",
            "0.0e5",
            "1e2",
            "0.30000000000000004",
            "1E+300",
            "5e-324",
            "120.50",
            "-9223372036854775808",
            "18446744073709551615",
            "1.7976931348623157e308",
            "{\"a\":[2.5]}",
        ] {
            assert!(are_exact(text.as_bytes()), "{text}");
        }
        for text in [
            "0.10000000000000000001",
            "18446744073709551616",
            "100000000000000000001",
            "1e-400",
            "1e400",
            "9007199254740993.0",
            "1e99999999999999999999",
            "[1,{\"a\":0.49999999999999999999}]",
        ] {
            assert!(!are_exact(text.as_bytes()), "{text}");
        }
    }
}
