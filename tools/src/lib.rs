//! The `lineal` command.
//!
//! Responsible for: making the engine usable and checkable from a shell and from any language. Not responsible for:
//! anything that a program linking the engine would need; that is in the crate `lineal`.
#![forbid(unsafe_code)]

mod amounts;
mod archive;
mod args;
mod bytes;
mod commits;
mod compact;
mod demo;
mod dump;
mod exec;
mod exit;
mod file;
mod get;
mod history;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod hostile;
mod json;
mod migrate;
mod objects;
mod open;
mod past;
mod progress;
mod proof;
mod restore;
mod restore_many;
mod show;
mod signals;
mod sql;
mod stat;
mod stdout;
mod sync;
mod tables;
mod values;
mod verify;
mod when;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Args, Command, Restoring},
    exit::{Code, Outcome},
};

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(usage) => {
            // Printing help or a usage error to a closed pipe is no reason to fail differently.
            let _ = usage.print();
            return if usage.use_stderr() { Code::Usage.into() } else { Code::Ok.into() };
        }
    };
    let json = args.command.wants_json();
    let outcome = signals::tolerate().and_then(|()| run(args.command));
    exit::report(outcome, json)
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::DemoWriter(args) => demo::writer::run(&args),
        Command::Exec(args) => exec::run(&args),
        Command::Objects(args) => objects::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Dump(args) => dump::run(&args),
        Command::History(args) => history::run(&args),
        Command::Show(args) => show::run(&args),
        Command::At(args) => past::at(&args),
        Command::Diff(args) => past::diff(&args),
        Command::Blame(args) => history::blame(&args),
        Command::Bookmark(args) => show::bookmark(&args),
        Command::Restore(args) => match args.what()? {
            Restoring::InPlace(args) => restore::run(&args),
            Restoring::FromArchive(args) => archive::restore(&args),
        },
        Command::Points(args) => archive::points(&args),
        Command::Repair(args) => archive::repair(&args),
        Command::Archive(args) => archive::run(&args),
        Command::Compact(args) => compact::run(&args),
        Command::Retention(args) => compact::retention(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Fork(args) => restore::fork(&args),
        Command::Pin(args) => restore::pin(&args),
        Command::Unpin(args) => restore::unpin(&args),
        Command::Pins(args) => restore::pins(&args),
        Command::Sql(args) => sql::run(&args),
        Command::Import(args) => file::import(&args),
        Command::Export(args) => file::export(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Stat(args) => stat::run(&args),
        Command::Proof(args) => proof::run(&args),
    }
}
