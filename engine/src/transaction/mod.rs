//! Transactions: the closure's view of an object, what it writes, and the write path.

pub(crate) mod body;
pub(crate) mod commit;
#[cfg(feature = "sql")]
mod file;
pub(crate) mod ops;
pub(crate) mod range;
pub(crate) mod reader;
#[cfg(feature = "sql")]
mod sql;
pub(crate) mod tx;
pub(crate) mod view;
