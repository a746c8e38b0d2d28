//! Texts with variables, filled in: each place escapes what it must, and nothing grows without a bound.

use std::collections::BTreeMap;

use rollout::journey::{Piece, pieces};
use serde_json::Value;

/// Bytes of a filled text; a body of 64 KiB may well become longer, but not without end.
const LONGEST: usize = 1024 * 1024;

/// Where a text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A path with its query: everything but letters, digits and `-._~` is percent-encoded in a variable.
    Path,
    /// As it is.
    Text,
}

/// The text with its variables filled in; in words why that cannot be.
pub(super) fn fill(
    text: &str,
    variables: &BTreeMap<String, Value>,
    place: Place,
) -> Result<String, String> {
    let mut filled = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Variable(name) => {
                let value = shown(known(name, variables)?);
                match place {
                    Place::Path => push_encoded(&mut filled, &value),
                    Place::Text => filled.push_str(&value),
                }
            }
        }
        if filled.len() > LONGEST {
            return Err(format!("a text with variables is longer than {LONGEST} bytes"));
        }
    }
    Ok(filled)
}

/// A JSON document with the variables in its strings filled in. A string that is one variable becomes its value.
pub(super) fn filled(value: &Value, variables: &BTreeMap<String, Value>) -> Result<Value, String> {
    fill_below(value, variables, &mut { LONGEST })
}

/// `left` is how many bytes strings may still take, over the whole document.
fn fill_below(
    value: &Value,
    variables: &BTreeMap<String, Value>,
    left: &mut usize,
) -> Result<Value, String> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
        Value::String(text) => {
            let value = match *pieces(text) {
                [Piece::Variable(name)] => known(name, variables)?.clone(),
                _ => Value::String(fill(text, variables, Place::Text)?),
            };
            let length = value.as_str().map_or(0, str::len);
            *left = left
                .checked_sub(length)
                .ok_or_else(|| format!("a body with variables is longer than {LONGEST} bytes"))?;
            Ok(value)
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| fill_below(item, variables, left));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), fill_below(value, variables, left)?)));
            entries.collect::<Result<_, String>>().map(Value::Object)
        }
    }
}

fn known<'v>(name: &str, variables: &'v BTreeMap<String, Value>) -> Result<&'v Value, String> {
    variables.get(name).ok_or_else(|| format!("there is no variable `{name}`"))
}

/// A value as it stands in a text.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// RFC 3986: everything but unreserved characters.
fn push_encoded(text: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables() -> BTreeMap<String, Value> {
        let named = |(name, value): (&str, Value)| (name.to_owned(), value);
        [("id", json!(7)), ("who", json!("a b/ü?")), ("long", json!("x".repeat(4_096)))]
            .map(named)
            .into()
    }

    #[test]
    fn each_place_escapes_what_it_must() {
        let text = |text, place| fill(text, &variables(), place).unwrap();
        assert_eq!(text("/u/{{who}}/{{ id }}?a=b", Place::Path), "/u/a%20b%2F%C3%BC%3F/7?a=b");
        assert_eq!(text("{{who}}: {{id}}", Place::Text), "a b/ü?: 7");
        let body = json!({"id": "{{id}}", "text": "no. {{id}} \"{{who}}\"", "n": [1, null, true]});
        let expected = json!({"id": 7, "text": "no. 7 \"a b/ü?\"", "n": [1, null, true]});
        assert_eq!(filled(&body, &variables()).unwrap(), expected);
    }

    #[test]
    fn unknown_variables_and_endless_texts_are_refused() {
        let told = fill("{{nobody}}", &variables(), Place::Text).unwrap_err();
        assert_eq!(told, "there is no variable `nobody`");
        let text = "{{long}}".repeat(8_000);
        assert!(fill(&text, &variables(), Place::Text).is_err());
        let items: Vec<Value> = vec![json!("{{long}}"); 8_000];
        assert!(filled(&json!(items), &variables()).is_err());
    }
}
