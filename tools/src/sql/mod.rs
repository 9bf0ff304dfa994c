//! `lineal sql`: statements on the database of one object, now or as it was.

mod dot;
mod print;
mod prompt;
mod script;
pub(crate) mod split;
mod target;

pub(crate) use self::script::run;
