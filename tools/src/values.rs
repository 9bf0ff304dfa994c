//! Values of SQL in JSON. Integers and reals are numbers, and a real always has a point or an exponent; integers are exact,
//! beyond 2^53 too, if whoever reads them reads 64 bits. Infinity is the string "Infinity" or "-Infinity". A text is a string,
//! a blob `{"b64": "…"}`; so is a text that is not UTF-8.

use std::fmt::Write;

use lineal::rusqlite::types::{Value, ValueRef};
use serde_json::Value as Json;

use crate::bytes;

/// Appends a value as JSON.
pub(crate) fn write(out: &mut String, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.push_str("null"),
        ValueRef::Integer(number) => write!(out, "{number}").expect("a string takes everything"),
        ValueRef::Real(number) if number.is_finite() => {
            write!(out, "{number:?}").expect("a string takes everything");
        }
        ValueRef::Real(number) => out.push_str(if number > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }),
        ValueRef::Text(text) => bytes::write(out, text),
        ValueRef::Blob(blob) => bytes::write_b64(out, blob),
    }
}

/// Reads a value from JSON; `true` and `false` are 1 and 0.
pub(crate) fn read(json: Json) -> Result<Value, String> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Integer(i64::from(flag)),
        Json::String(text) => Value::Text(text),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Integer(number),
            (None, Some(real)) if !number.is_u64() => Value::Real(real),
            _ => return Err(format!("the integer {number} does not fit 64 bits with a sign")),
        },
        other => match bytes::read(other) {
            Some(blob) => Value::Blob(blob),
            None => return Err("a parameter is null, true, false, a number, a string or {\"b64\": …}".into()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        for value in [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(i64::MAX),
            Value::Real(1.0),
            Value::Real(-0.1),
            Value::Real(1e300),
            Value::Real(5e-324),
            Value::Text("\u{e9}\"\n".into()),
            Value::Blob(b"text".to_vec()),
            Value::Blob(vec![0xff]),
        ] {
            let mut out = String::new();
            write(&mut out, ValueRef::from(&value));
            assert_eq!(read(serde_json::from_str(&out).unwrap()), Ok(value), "{out}");
        }
        let mut out = String::new();
        write(&mut out, ValueRef::Real(f64::NEG_INFINITY));
        assert_eq!(out, "\"-Infinity\"");
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for wrong in ["[]", "{}", "{\"b64\":1}", "18446744073709551615"] {
            assert!(read(serde_json::from_str(wrong).unwrap()).is_err(), "{wrong}");
        }
        assert_eq!(read(Json::Bool(true)), Ok(Value::Integer(1)));
    }
}
