//! Archives: how commands get to one, and what works on one by itself.

mod gc;
mod place;
mod points;
mod repair;
mod restore;
mod scrub;
mod status;
mod verify;

pub(crate) use self::{
    place::{of_directory, of_writer},
    points::run as points,
    repair::run as repair,
    restore::run as restore,
};
use crate::{args, exit::Outcome};

/// `lineal archive …`
pub(crate) fn run(args: &args::Archive) -> Outcome {
    match &args.what {
        args::OfArchive::Status(args) => status::run(args),
        args::OfArchive::Verify(args) => verify::run(args),
        args::OfArchive::Scrub(args) => scrub::run(args),
        args::OfArchive::Gc(args) => gc::run(args),
    }
}
