//! Fuzzers for everything in Lineal that reads bytes which somebody hostile may have written.
//!
//! A [`Target`] is a plain function of bytes that panics where a promise is broken: no panic in the engine, no hang, errors
//! instead; what is read and written again is the same; what is asked in two ways has one answer. `main.rs` puts one under
//! libFuzzer; `tests/replay.rs` gives every target its corpus and all finds there ever were.
//!
//! Checksums stop nearly all changed bytes, so targets mend them where there are any: see `mend`.

mod input;
mod mend;
mod sparse;
mod targets;

use targets::{archive, catalog, exec, log, names, object, pack, parts, sql, text};

/// Something that reads bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called, and its folders too.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// Reads bytes; panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs that are right: what the engine writes itself.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Longest input worth trying, in bytes.
    pub bytes_max: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "segment",
        about: "the list and the segments of a log, under recovery and under an engine",
        run: log::segment,
        seeds: log::segment_seeds,
        bytes_max: 4_096,
    },
    Target {
        name: "piece",
        about: "records of a log, as the archive has them",
        run: log::piece,
        seeds: log::piece_seeds,
        bytes_max: 2_048,
    },
    Target {
        name: "pack",
        about: "the file of a pack: header, blocks, index, filter, footer",
        run: pack::pack,
        seeds: pack::seeds,
        bytes_max: 4_096,
    },
    Target {
        name: "object",
        about: "heads, runs and leaves that lie, in a whole pack under an engine",
        run: object::object,
        seeds: object::seeds,
        bytes_max: 8_192,
    },
    Target { name: "leaf", about: "a leaf", run: parts::leaf, seeds: parts::leaf_seeds, bytes_max: 2_048 },
    Target {
        name: "run",
        about: "a run of commits",
        run: parts::run,
        seeds: parts::run_seeds,
        bytes_max: 2_048,
    },
    Target {
        name: "head",
        about: "a head, the body of a commit, patches, the summary in a footer",
        run: parts::head,
        seeds: parts::head_seeds,
        bytes_max: 2_048,
    },
    Target {
        name: "row",
        about: "rows of the catalog and of the system object",
        run: parts::row,
        seeds: parts::row_seeds,
        bytes_max: 512,
    },
    Target {
        name: "catalog",
        about: "the pages of the catalog's file",
        run: catalog::catalog,
        seeds: catalog::seeds,
        bytes_max: 2_048,
    },
    Target {
        name: "manifest",
        about: "manifest, lease, chunks and barriers of an archive, and what a directory says of it",
        run: archive::manifest,
        seeds: archive::seeds,
        bytes_max: 2_048,
    },
    Target {
        name: "bookmark",
        about: "the text of a bookmark",
        run: text::bookmark,
        seeds: text::bookmark_seeds,
        bytes_max: 256,
    },
    Target {
        name: "proof",
        about: "a file with a proof",
        run: text::proof,
        seeds: text::proof_seeds,
        bytes_max: 4_096,
    },
    Target {
        name: "names",
        about: "names of namespaces and objects, keys of entries",
        run: names::names,
        seeds: names::seeds,
        bytes_max: 1_024,
    },
    Target {
        name: "sql_page",
        about: "the pages of an object's database",
        run: sql::sql_page,
        seeds: sql::page_seeds,
        bytes_max: 8_192,
    },
    Target {
        name: "import",
        about: "a file of SQLite that is imported",
        run: sql::import,
        seeds: sql::import_seeds,
        bytes_max: 8_192,
    },
    Target {
        name: "exec",
        about: "lines of requests for lineal exec",
        run: exec::exec,
        seeds: exec::seeds,
        bytes_max: 2_048,
    },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
