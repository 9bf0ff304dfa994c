//! Lineal's benchmarks: floors, figures, and how they are printed.
//!
//! `cargo run --release -p lineal-benches --bin figures` measures every figure that `README.md` in this folder lists;
//! `cargo bench -p lineal-benches` runs the criterion benches of single functions.
#![forbid(unsafe_code)]

pub mod figures;
pub mod floor;
pub mod report;
