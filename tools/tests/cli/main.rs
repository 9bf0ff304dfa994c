//! Runs the `lineal` binary as a person or a script would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod archive;
mod attacks;
mod commands;
mod demo;
mod durability;
mod exec;
mod history;
mod migrate;
mod pages;
mod poison;
mod proof;
mod salvage;
mod sql;
mod support;
