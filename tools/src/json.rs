//! Writing one JSON object on one line, its fields in the order they are given.

use std::fmt::Write;

use crate::bytes;

/// A JSON object in the making.
#[derive(Debug)]
pub(crate) struct Line(String);

impl Line {
    pub(crate) fn new() -> Line {
        Line(String::from("{"))
    }

    fn name(&mut self, name: &str) -> &mut String {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        bytes::write_text(&mut self.0, name);
        self.0.push(':');
        &mut self.0
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) -> &mut Line {
        write!(self.name(name), "{value}").expect("a string takes everything");
        self
    }

    /// A number with a fraction, to three digits.
    pub(crate) fn decimal(&mut self, name: &str, value: f64) -> &mut Line {
        let value = if value.is_finite() { value } else { 0.0 };
        write!(self.name(name), "{value:.3}").expect("a string takes everything");
        self
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) -> &mut Line {
        self.name(name).push_str(if value { "true" } else { "false" });
        self
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) -> &mut Line {
        bytes::write_text(self.name(name), value);
        self
    }

    pub(crate) fn null(&mut self, name: &str) -> &mut Line {
        self.name(name).push_str("null");
        self
    }

    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) -> &mut Line {
        bytes::write(self.name(name), value);
        self
    }

    /// A value that is JSON already.
    pub(crate) fn json(&mut self, name: &str, value: &str) -> &mut Line {
        self.name(name).push_str(value);
        self
    }

    /// An object by its name, or by its id where it has none.
    pub(crate) fn object(&mut self, name: &str, object: Option<&str>, id: lineal::ObjectId) -> &mut Line {
        match object {
            Some(object) => self.text(name, object),
            None => self.json(name, &format!("{{\"id\":\"{id}\"}}")),
        }
    }

    /// Fields that [`fields`](Line::fields) took out of another object.
    pub(crate) fn append(&mut self, fields: &str) -> &mut Line {
        if self.0.len() > 1 && !fields.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(fields);
        self
    }

    /// The fields alone, without the braces.
    pub(crate) fn fields(&mut self) -> String {
        self.0.split_off(1)
    }

    pub(crate) fn end(&mut self) -> String {
        let mut line = std::mem::take(&mut self.0);
        line.push('}');
        line
    }
}

/// A JSON list of things that are JSON already.
pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    let mut out = String::from("[");
    for item in items {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&item);
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stay_in_order_and_the_line_is_json() {
        let mut line = Line::new();
        line.flag("ok", true).number("n", 7).text("t", "a\"\n").null("z").decimal("d", 1.5);
        let line = line.end();
        assert_eq!(line, "{\"ok\":true,\"n\":7,\"t\":\"a\\\"\\n\",\"z\":null,\"d\":1.500}");
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
        assert_eq!(
            Line::new().number("a", 1).append(Line::new().number("b", 2).fields().as_str()).end(),
            "{\"a\":1,\"b\":2}"
        );
        assert_eq!(Line::new().append("").append("\"b\":2").end(), "{\"b\":2}");
        assert_eq!(list([]), "[]");
        assert_eq!(list(["1".into(), "2".into()]), "[1,2]");
        assert_eq!(Line::new().end(), "{}");
    }
}
