//! Functions that every database has besides SQLite's own: mathematics, which SQLite builds in only on request, and
//! randomness that comes from the engine's source.

use rusqlite::{Connection, Result, functions::FunctionFlags as Flags};

use crate::Random;

type Unary = fn(f64) -> f64;
type Binary = fn(f64, f64) -> f64;

const UNARY: &[(&str, Unary)] = &[
    ("acos", f64::acos),
    ("acosh", f64::acosh),
    ("asin", f64::asin),
    ("asinh", f64::asinh),
    ("atan", f64::atan),
    ("atanh", f64::atanh),
    ("cos", f64::cos),
    ("cosh", f64::cosh),
    ("degrees", f64::to_degrees),
    ("exp", f64::exp),
    ("ln", f64::ln),
    ("log", f64::log10),
    ("log10", f64::log10),
    ("log2", f64::log2),
    ("radians", f64::to_radians),
    ("sin", f64::sin),
    ("sinh", f64::sinh),
    ("sqrt", f64::sqrt),
    ("tan", f64::tan),
    ("tanh", f64::tanh),
];

/// These leave integers as they are.
const ROUNDING: &[(&str, Unary)] =
    &[("ceil", f64::ceil), ("ceiling", f64::ceil), ("floor", f64::floor), ("trunc", f64::trunc)];

const BINARY: &[(&str, Binary)] = &[
    ("atan2", f64::atan2),
    ("log", |base, x| x.ln() / base.ln()),
    ("mod", |a, b| a % b),
    ("pow", f64::powf),
    ("power", f64::powf),
];

/// Longest result of `randomblob`, in bytes; the limit on lengths is checked besides.
const RANDOM_BLOB_BYTES_MAX: i64 = 16 << 20;

pub(super) fn register(db: &Connection, random: Random) -> Result<()> {
    let pure = Flags::SQLITE_UTF8 | Flags::SQLITE_DETERMINISTIC | Flags::SQLITE_INNOCUOUS;
    let drawn = Flags::SQLITE_UTF8 | Flags::SQLITE_INNOCUOUS;
    let has_mathematics =
        db.query_row("SELECT sqlite_compileoption_used('ENABLE_MATH_FUNCTIONS')", [], |row| {
            row.get::<_, bool>(0)
        })?;
    if !has_mathematics {
        for (name, f) in UNARY {
            db.create_scalar_function(*name, 1, pure, move |context| {
                Ok(context.get::<Number>(0)?.float().and_then(|x| finite(f(x))))
            })?;
        }
        for (name, f) in ROUNDING {
            db.create_scalar_function(*name, 1, pure, move |context| {
                Ok(match context.get::<Number>(0)? {
                    Number::Float(x) => finite(f(x)).map(rusqlite::types::Value::Real),
                    Number::Integer(x) => Some(rusqlite::types::Value::Integer(x)),
                    Number::Nothing => None,
                })
            })?;
        }
        for (name, f) in BINARY {
            db.create_scalar_function(*name, 2, pure, move |context| {
                let (a, b) = (context.get::<Number>(0)?.float(), context.get::<Number>(1)?.float());
                Ok(a.zip(b).and_then(|(a, b)| finite(f(a, b))))
            })?;
        }
        db.create_scalar_function("pi", 0, pure, |_| Ok(std::f64::consts::PI))?;
    }
    let draw = random.clone();
    db.create_scalar_function("random", 0, drawn, move |_| Ok(draw() as i64))?;
    db.create_scalar_function("randomblob", 1, drawn, move |context| {
        let length = context.get::<Option<i64>>(0)?.unwrap_or(1).clamp(1, RANDOM_BLOB_BYTES_MAX) as usize;
        let mut blob = Vec::with_capacity(length.next_multiple_of(8));
        while blob.len() < length {
            blob.extend_from_slice(&random().to_le_bytes());
        }
        blob.truncate(length);
        Ok(blob)
    })
}

/// An argument as SQLite's own functions take it: numbers, and text that reads as one; anything else is nothing.
enum Number {
    Integer(i64),
    Float(f64),
    Nothing,
}

impl Number {
    fn float(self) -> Option<f64> {
        match self {
            Number::Integer(x) => Some(x as f64),
            Number::Float(x) => Some(x),
            Number::Nothing => None,
        }
    }
}

impl rusqlite::types::FromSql for Number {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        use rusqlite::types::ValueRef as V;
        Ok(match value {
            V::Integer(x) => Number::Integer(x),
            V::Real(x) => Number::Float(x),
            V::Text(text) => {
                let text = std::str::from_utf8(text).unwrap_or_default().trim();
                match (text.parse::<i64>(), text.parse::<f64>()) {
                    (Ok(x), _) => Number::Integer(x),
                    (_, Ok(x)) if x.is_finite() => Number::Float(x),
                    _ => Number::Nothing,
                }
            }
            V::Null | V::Blob(_) => Number::Nothing,
        })
    }
}

/// A result outside of the function's domain is NULL.
fn finite(x: f64) -> Option<f64> {
    (!x.is_nan()).then_some(x)
}
