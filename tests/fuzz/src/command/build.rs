//! Builds the targets with libFuzzer: with a nightly compiler, and without any tool beside cargo.

use std::{
    io,
    path::PathBuf,
    process::{Command, Output},
};

/// What instruments for libFuzzer, and looks at memory.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address";

/// Builds the fuzzer, and says where it is.
pub(super) fn fuzzer() -> io::Result<PathBuf> {
    let version = said("rustc", &["+nightly", "-vV"]).map_err(|_| {
        io::Error::other(
            "fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal",
        )
    })?;
    said("c++", &["--version"])
        .map_err(|_| io::Error::other("libFuzzer needs a C++ compiler: install g++"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| io::Error::other("rustc does not say what it compiles for"))?;
    // Beside the ordinary build: nothing of it would fit.
    let folder = PathBuf::from("target/fuzz");
    let mut cargo = Command::new("cargo");
    cargo
        .args([
            "+nightly",
            "build",
            "-p",
            "lineal-fuzz",
            "--profile",
            "fuzz",
            "--target",
            host,
            "--target-dir",
        ])
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS)
        // Set by the cargo that runs this command, for the compiler that it uses.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("RUSTC");
    if !cargo.status()?.success() {
        return Err(io::Error::other("the fuzzers could not be built"));
    }
    Ok(folder.join(host).join("fuzz/lineal-fuzz"))
}

fn said(program: &str, args: &[&str]) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(args).env_remove("RUSTUP_TOOLCHAIN");
    let Output { status, stdout, .. } = command.output()?;
    if !status.success() {
        return Err(io::Error::other(format!("{program} fails")));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
