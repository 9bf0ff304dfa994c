//! Measures every figure of `benches/README.md` in one run, each beside its floor.
//!
//! `cargo run --release -p lineal-benches --bin figures [-- --only resident,commits,million,steady,history,sql,archive]`

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use lineal::Result;
use lineal_benches::{
    figures::{archive, commits, history, million, resident, sql, steady},
    report::Figure,
};

/// Measures Lineal's figures on this machine, each beside its floor.
#[derive(Parser)]
struct Arguments {
    /// Which groups to measure: resident, commits, million, steady, history, sql, archive; or one part of the last:
    /// archive-commits, archive-puts, archive-foreground, archive-million, archive-large.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where to put the data; it is removed afterwards. Default: a new folder below the current one.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// How many objects `million`, `steady`, `history` and `archive` use.
    #[arg(long, default_value_t = 1_000_000)]
    objects: usize,
    /// How long each run of `steady` lasts, in seconds, and a minute of `archive`.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How large the large object of `history` and `archive` is, in MiB.
    #[arg(long, default_value_t = 1024)]
    large_mib: usize,
    /// How large the database that `sql` scans is, in MiB.
    #[arg(long, default_value_t = 100)]
    database_mib: usize,
    /// Internal: what a child that will be killed does.
    #[arg(long, hide = true)]
    role: Option<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let dir = arguments.dir.clone().unwrap_or_else(|| PathBuf::from("lineal-figures"));
    match arguments.role.as_deref() {
        Some("write-until-killed") => return million::write_until_killed(&dir, 20_000, 1 << 30),
        Some("fill-the-log-until-killed") => return million::write_until_killed(&dir, 1_000_000, 1 << 40),
        Some(role) if archive::ROLES.contains(&role) => return archive::play(role, &dir),
        _ => {}
    }
    std::fs::create_dir_all(&dir).map_err(lineal::Error::other)?;
    let wanted = |group: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == group);
    println!("| What | Measured | Target | | Beside |\n|---|---|---|---|---|");
    let print = |figures: Vec<Figure>| figures.iter().for_each(Figure::print);
    if wanted("resident") {
        print(resident::measure(&dir)?);
    }
    if wanted("commits") {
        print(commits::measure(&dir)?);
    }
    if wanted("million") {
        print(million::measure(&dir, arguments.objects)?);
    }
    if wanted("steady") {
        let path = dir.join("million-hashed");
        if !path.exists() {
            steady::prepare(&path, arguments.objects)?;
        }
        print(steady::measure(&path, arguments.seconds)?);
    }
    if wanted("history") {
        print(history::measure(&dir, arguments.objects, arguments.large_mib << 20)?);
    }
    if wanted("sql") {
        print(sql::measure(&dir, arguments.database_mib << 20)?);
    }
    let mut place = None;
    for (part, measure) in archive::PARTS {
        if wanted("archive") || wanted(part) {
            let place = match &mut place {
                Some(place) => place,
                none => none.insert(archive::Place::new(
                    &dir,
                    arguments.objects,
                    arguments.large_mib << 20,
                    Duration::from_secs(arguments.seconds),
                )?),
            };
            print(measure(place)?);
        }
    }
    std::fs::remove_dir_all(&dir).map_err(lineal::Error::other)
}
