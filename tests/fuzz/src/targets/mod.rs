//! What is done with the bytes, one function for each target. A target panics if a promise is broken.

pub(crate) mod archive;
pub(crate) mod catalog;
pub(crate) mod exec;
pub(crate) mod log;
pub(crate) mod names;
pub(crate) mod object;
pub(crate) mod pack;
pub(crate) mod parts;
pub(crate) mod sql;
pub(crate) mod text;
pub(crate) mod world;
