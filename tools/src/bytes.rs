//! Bytes in JSON: a string where they are UTF-8, else `{"b64": "…"}`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Appends bytes as JSON.
pub(crate) fn write(out: &mut String, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => write_text(out, text),
        Err(_) => write_b64(out, bytes),
    }
}

/// Appends bytes as JSON that says that they are bytes, also where they are UTF-8.
pub(crate) fn write_b64(out: &mut String, bytes: &[u8]) {
    out.push_str("{\"b64\":\"");
    STANDARD.encode_string(bytes, out);
    out.push_str("\"}");
}

/// Bytes as base64.
pub(crate) fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends a string as JSON, quoted and escaped.
pub(crate) fn write_text(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: Option<&str> = match byte {
            b'"' => Some("\\\""),
            b'\\' => Some("\\\\"),
            b'\n' => Some("\\n"),
            b'\r' => Some("\\r"),
            b'\t' => Some("\\t"),
            0..0x20 => None,
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match escape {
            Some(escape) => out.push_str(escape),
            None => out.push_str(&format!("\\u{byte:04x}")),
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Reads bytes from JSON. `None` for what is neither form.
pub(crate) fn read(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.into_bytes()),
        Value::Object(map) if map.len() == 1 => match map.get("b64") {
            Some(Value::String(text)) => STANDARD.decode(text).ok(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> Value {
        let mut out = String::new();
        write(&mut out, bytes);
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn any_bytes_come_back_as_they_were() {
        let every: Vec<u8> = (0..=255).collect();
        for bytes in [
            b"".as_slice(),
            b"plain",
            b"q\"b\\n\n\r\t\x00\x1f\x7f",
            "\u{e9}\u{2028}\u{1f600}".as_bytes(),
            &every,
        ] {
            assert_eq!(read(written(bytes)).unwrap(), bytes);
        }
    }

    #[test]
    fn only_what_is_no_text_is_base64() {
        assert!(written(b"text").is_string());
        assert_eq!(written(&[0xFF]), serde_json::json!({"b64": "/w=="}));
    }

    #[test]
    fn other_json_is_refused() {
        for wrong in [
            serde_json::json!(1),
            serde_json::json!(null),
            serde_json::json!({"b64": 1}),
            serde_json::json!({"b64": "?"}),
            serde_json::json!({"b64": "", "more": 1}),
        ] {
            assert_eq!(read(wrong), None);
        }
    }
}
