//! The real world: real processes on a real kernel and real file systems.
//!
//! A *worker* (`worker`) is a process that commits to a data directory in several *lanes* (`lane`) and says on its
//! standard output what is durable. The *witness* (`witness`) is in the parent: it knows what every lane writes with each
//! of its steps, heard what was acknowledged, and judges what is found after a kill, a power cut or a failed call. Nothing
//! of it is in the data directory.
//!
//! What needs root or a tool that is missing is skipped and says so on standard error; with `LINEAL_REQUIRE_ROOT=1`
//! missing is a failure.

use std::{env, fmt::Display, io::Write, path::PathBuf};

pub mod calls;
pub mod cuts;
pub mod full;
pub mod kills;
pub mod lane;
pub mod lies;
pub mod life;
pub mod limits;
pub mod mount;
pub mod proxy;
pub mod races;
pub mod witness;
pub mod worker;

/// What a test needs of the machine, or `None`, which was told on standard error.
///
/// # Panics
/// If it is missing although `LINEAL_REQUIRE_ROOT` is `1`.
pub fn have<T>(what: &str, found: Result<T, impl Display>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(why) if env::var("LINEAL_REQUIRE_ROOT").is_ok_and(|value| value == "1") => {
            panic!("this test needs {what}, and LINEAL_REQUIRE_ROOT asks for it: {why}")
        }
        Err(why) => {
            // Not by a macro: what those print is shown only where a test fails. In one piece: others write, too.
            let line = format!("skipped: this test needs {what}: {why}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
    }
}

/// Whether this process is root.
///
/// # Errors
/// If it is not.
pub fn root() -> Result<(), &'static str> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err("not run as root") }
}

/// Where a program is, among those that can be run.
///
/// # Errors
/// If it is not installed.
pub fn tool(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(sbin).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| format!("{name} is not installed"))
}
