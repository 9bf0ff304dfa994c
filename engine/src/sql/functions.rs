//! Functions that every database has besides SQLite's own, or instead of them: mathematics, which SQLite builds in only
//! on request; randomness that comes from the engine's source; and `instr`, `replace`, `trim` and `unhex`, which in SQLite
//! take time with the product of their lengths, within one operation that no budget can stop.
#![allow(unsafe_code, reason = "SQLite's own text of a real is to be had from its printf only")]

use std::{borrow::Cow, collections::HashSet};

use memchr::memmem::Finder;
use rusqlite::{
    Connection, Error, Result, ffi,
    functions::{Context, FunctionFlags as Flags},
    types::{ToSql, ToSqlOutput, Value, ValueRef},
};

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
    ("ln", |x| logarithm(x, f64::ln)),
    ("log", |x| logarithm(x, f64::log10)),
    ("log10", |x| logarithm(x, f64::log10)),
    ("log2", |x| logarithm(x, f64::log2)),
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
    ("log", |base, x| if base > 1.0 { logarithm(x, f64::ln) / base.ln() } else { f64::NAN }),
    ("mod", |a, b| a % b),
    ("pow", f64::powf),
    ("power", f64::powf),
];

/// SQLite knows none of zero, and so no infinite one either.
fn logarithm(x: f64, f: Unary) -> f64 {
    if x > 0.0 { f(x) } else { f64::NAN }
}

/// Longest result of `randomblob`, in bytes; the limit on lengths is checked besides.
const RANDOM_BLOB_BYTES_MAX: i64 = 16 << 20;

pub(super) fn register(db: &Connection, random: Random, length_max: usize) -> Result<()> {
    let pure = Flags::SQLITE_UTF8 | Flags::SQLITE_DETERMINISTIC | Flags::SQLITE_INNOCUOUS;
    let drawn = Flags::SQLITE_UTF8 | Flags::SQLITE_INNOCUOUS;
    // SAFETY: a name that ends with a zero.
    let has_mathematics = unsafe { ffi::sqlite3_compileoption_used(c"ENABLE_MATH_FUNCTIONS".as_ptr()) != 0 };
    if !has_mathematics {
        for (name, f) in UNARY {
            db.create_scalar_function(*name, 1, pure, move |context| {
                Ok(context.get::<Number>(0)?.float().and_then(|x| finite(f(x))))
            })?;
        }
        for (name, f) in ROUNDING {
            db.create_scalar_function(*name, 1, pure, move |context| {
                Ok(match context.get::<Number>(0)? {
                    Number::Float(x) => finite(f(x)).map(Value::Real),
                    Number::Integer(x) => Some(Value::Integer(x)),
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
    db.create_scalar_function("instr", 2, pure, instr)?;
    db.create_scalar_function("replace", 3, pure, move |context| replace(context, length_max))?;
    for (name, left, right) in [("ltrim", true, false), ("rtrim", false, true), ("trim", true, true)] {
        db.create_scalar_function(name, 2, pure, move |context| trim(context, left, right))?;
    }
    db.create_scalar_function("unhex", 2, pure, unhex)?;
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

/// Where the second argument first occurs in the first, from 1 on, in characters, or in bytes if both are blobs; 0 if
/// nowhere.
fn instr(context: &Context<'_>) -> Result<Option<i64>> {
    let (all, part) = (context.get_raw(0), context.get_raw(1));
    let is_bytes = matches!((all, part), (ValueRef::Blob(_), ValueRef::Blob(_)));
    let (Some(all), Some(part)) = (text_of(all), text_of(part)) else { return Ok(None) };
    let is_start = |byte: &&u8| **byte & 0xc0 != 0x80;
    // A part that begins within a character is nowhere but at the very beginning.
    let is_within = !is_bytes && !part.iter().take(1).all(|byte| is_start(&byte));
    let Some(at) = Finder::new(&part).find(&all).filter(|at| *at == 0 || !is_within) else {
        return Ok(Some(0));
    };
    let before = &all[..at];
    let count = if is_bytes { before.len() } else { before.iter().filter(is_start).count() };
    Ok(Some(count as i64 + 1))
}

/// The first argument with the third instead of every second.
fn replace(context: &Context<'_>, length_max: usize) -> Result<Option<Text>> {
    let texts = [0, 1, 2].map(|at| text_of(context.get_raw(at)));
    let (all, part, by) = match texts {
        // To SQLite a part that begins with a zero byte is empty too.
        [Some(all), Some(part), _] if part.first().is_none_or(|byte| *byte == 0) => {
            return Ok(Some(Text(all.into_owned())));
        }
        [Some(all), Some(part), Some(by)] => (all, part, by),
        _ => return Ok(None),
    };
    let finder = Finder::new(&part);
    let mut result = Vec::with_capacity(all.len());
    let mut rest = &all[..];
    while let Some(at) = finder.find(rest) {
        if result.len() + at + by.len() > length_max {
            let error = ffi::Error::new(ffi::SQLITE_TOOBIG);
            return Err(Error::SqliteFailure(error, Some(super::error::TOO_BIG.into())));
        }
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(&by);
        rest = &rest[at + part.len()..];
    }
    result.extend_from_slice(rest);
    Ok(Some(Text(result)))
}

/// An argument as text, as SQLite would make it.
fn text_of(value: ValueRef<'_>) -> Option<Cow<'_, [u8]>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(Cow::Borrowed(bytes)),
        ValueRef::Integer(x) => Some(Cow::Owned(x.to_string().into_bytes())),
        ValueRef::Real(x) => Some(Cow::Owned(real_text(x))),
    }
}

/// A real as SQLite writes it, by SQLite: which of the texts that mean one number it takes is its own affair.
fn real_text(x: f64) -> Vec<u8> {
    let mut buffer = [0_u8; 64];
    // SAFETY: SQLite is told how long the buffer is and ends what it writes with a zero. The format is what a cast to TEXT
    // uses; it takes one double, and one follows.
    unsafe {
        ffi::sqlite3_snprintf(
            buffer.len() as std::ffi::c_int,
            buffer.as_mut_ptr().cast(),
            c"%!.17g".as_ptr(),
            x,
        );
    }
    buffer.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// A text of whatever bytes: SQLite does not ask whether they are UTF-8.
struct Text(Vec<u8>);

impl ToSql for Text {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(&self.0)))
    }
}

/// The first argument without the characters of the second at its ends.
fn trim(context: &Context<'_>, left: bool, right: bool) -> Result<Option<Text>> {
    let (Some(all), Some(set)) = (text_of(context.get_raw(0)), text_of(context.get_raw(1))) else {
        return Ok(None);
    };
    let (all, set) = (String::from_utf8_lossy(&all), String::from_utf8_lossy(&set));
    let set: HashSet<char> = set.chars().collect();
    let mut rest = &*all;
    if left {
        rest = rest.trim_start_matches(|c| set.contains(&c));
    }
    if right {
        rest = rest.trim_end_matches(|c| set.contains(&c));
    }
    Ok(Some(Text(rest.as_bytes().to_vec())))
}

/// The bytes that the first argument's hexadecimal digits mean, with characters of the second between pairs of them;
/// nothing if there is anything else.
fn unhex(context: &Context<'_>) -> Result<Option<Vec<u8>>> {
    let (Some(digits), Some(set)) = (text_of(context.get_raw(0)), text_of(context.get_raw(1))) else {
        return Ok(None);
    };
    let (digits, set) = (String::from_utf8_lossy(&digits), String::from_utf8_lossy(&set));
    let set: HashSet<char> = set.chars().collect();
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    let mut digits = digits.chars();
    while let Some(c) = digits.next() {
        match (c.to_digit(16), set.contains(&c)) {
            (Some(high), _) => match digits.next().and_then(|low| low.to_digit(16)) {
                Some(low) => bytes.push((high * 16 + low) as u8),
                None => return Ok(None),
            },
            (None, true) => {}
            (None, false) => return Ok(None),
        }
    }
    Ok(Some(bytes))
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
