//! Damaged directories: whatever happened to the bytes, what is read is what was written, or a typed error says what is
//! wrong.
//!
//! Small directories of engines that were closed and that were killed; every bit of their used bytes flipped, bursts, every
//! length that a file could be cut to, files gone, copied over one another, swapped, and put back to what they were after each
//! earlier step; and writes that the disk acknowledged and dropped, or put somewhere else.

use std::{collections::BTreeSet, fmt, sync::Arc};

use lineal_wal::{Disk, sim::SimDisk};

use super::{
    faulty::{Faulty, Place},
    tally::{Tally, Violation},
};
use crate::{
    damage::{
        self, End, Fixture, Image, Outcome, caught, large_steps, put, small_steps, small_steps_and_log,
        tells_of_damage,
    },
    draw::Draw,
    model::{self, State, Step},
    world::{self, World},
};

const CATALOG: &str = "catalog.redb";

/// Something that happens to the files of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The bits of a mask are flipped, from this byte on.
    Flip(String, usize, u32),
    /// A file ends here.
    Cut(String, usize),
    /// Files are gone.
    Gone(BTreeSet<String>),
    /// The first file's bytes lie in the second.
    Copied(String, String),
    /// Two files have each other's bytes.
    Swapped(String, String),
    /// A file is as it was after so many steps.
    Older(String, usize),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Flip(path, byte, mask) => write!(f, "{path} with {mask:#x} flipped at byte {byte}"),
            Damage::Cut(path, length) => write!(f, "{path} cut to {length}"),
            Damage::Gone(paths) => write!(f, "without {paths:?}"),
            Damage::Copied(from, to) => write!(f, "{from} copied over {to}"),
            Damage::Swapped(left, right) => write!(f, "{left} and {right} swapped"),
            Damage::Older(path, steps) => write!(f, "{path} as it was after {steps} steps"),
        }
    }
}

impl Damage {
    /// What kind it is, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Damage::Flip(_, _, mask) if mask.is_power_of_two() => "flipped bit",
            Damage::Flip(..) => "burst of up to 32 bits",
            Damage::Cut(..) => "file cut",
            Damage::Gone(paths) if paths.len() == 1 => "file gone",
            Damage::Gone(_) => "two files gone",
            Damage::Copied(..) => "file copied over another",
            Damage::Swapped(..) => "files swapped",
            Damage::Older(..) => "older file",
        }
    }

    /// Does it.
    fn apply(&self, image: &mut Image, older: &[Fixture]) {
        match self {
            Damage::Flip(path, byte, mask) => {
                if let Some(bytes) = image.get_mut(path) {
                    for (byte, flips) in bytes[*byte..].iter_mut().zip(mask.to_le_bytes()) {
                        *byte ^= flips;
                    }
                }
            }
            Damage::Cut(path, length) => {
                if let Some(bytes) = image.get_mut(path) {
                    bytes.truncate(*length);
                }
            }
            Damage::Gone(paths) => image.retain(|path, _| !paths.contains(path)),
            Damage::Copied(from, to) => {
                image.insert(to.clone(), image[from].clone());
            }
            Damage::Swapped(left, right) => {
                let (first, second) = (image[left].clone(), image[right].clone());
                image.insert(left.clone(), second);
                image.insert(right.clone(), first);
            }
            Damage::Older(path, steps) => {
                image.insert(path.clone(), older[*steps].image[path].clone());
            }
        }
    }

    /// The one file that it is about.
    fn only(&self) -> Option<&str> {
        match self {
            Damage::Flip(path, ..) | Damage::Cut(path, _) => Some(path),
            Damage::Gone(paths) if paths.len() == 1 => paths.first().map(String::as_str),
            _ => None,
        }
    }
}

/// A directory, and how it came to be.
pub struct Dir {
    /// Its name.
    pub title: &'static str,
    /// It.
    pub fixture: Fixture,
    /// It after each number of steps, killed there.
    pub older: Vec<Fixture>,
}

/// The directories that are damaged.
pub fn dirs() -> Vec<Dir> {
    let dir = |title, steps: &[Step], end| Dir {
        title,
        fixture: Fixture::make(steps, end),
        older: (0..=steps.len()).map(|count| Fixture::make(&steps[..count], End::Killed)).collect(),
    };
    vec![
        dir("closed", &small_steps(), End::Closed),
        dir("killed", &small_steps_and_log(), End::Killed),
        dir("leaves", &large_steps(), End::Killed),
    ]
}

impl Dir {
    /// Everything that may happen to it. Flips of large directories are drawn, `flips` of them for each file, and as many bursts.
    pub fn damages(&self, every_bit: bool, flips: u64, draw: &mut Draw) -> Vec<Damage> {
        let mut damages = Vec::new();
        let image = &self.fixture.image;
        for (path, bytes) in image {
            let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            if every_bit {
                let bits = used.iter().flat_map(|at| (0..8).map(|bit| (*at, 1 << bit)));
                damages.extend(bits.map(|(at, mask)| Damage::Flip(path.clone(), at, mask)));
            }
            for turn in 0..if used.is_empty() { 0 } else { flips } {
                let at = used[draw.below(used.len() as u64) as usize];
                let mask = if turn % 2 == 0 { 1 << draw.below(8) } else { draw.number() as u32 | 1 };
                damages.push(Damage::Flip(path.clone(), at, mask));
            }
            let end = used.last().map_or(0, |last| last + 1);
            let step = if every_bit { 1 } else { (end / 40).max(1) | 1 };
            let mut lengths: BTreeSet<usize> = (0..end).step_by(step).collect();
            lengths.extend((0..bytes.len()).step_by(if every_bit { 512 } else { (bytes.len() / 8).max(1) }));
            lengths.extend([0, 1, 511, 512, 4_095, 4_096, 4_097, end, end + 1]);
            lengths.extend([bytes.len().saturating_sub(1), bytes.len().saturating_sub(4_096)]);
            let lengths = lengths.into_iter().filter(|length| *length < bytes.len());
            damages.extend(lengths.map(|length| Damage::Cut(path.clone(), length)));
        }
        for left in image.keys() {
            for right in image.keys() {
                if left <= right {
                    damages.push(Damage::Gone([left.clone(), right.clone()].into()));
                }
                if left != right {
                    damages.push(Damage::Copied(left.clone(), right.clone()));
                }
                if left < right {
                    damages.push(Damage::Swapped(left.clone(), right.clone()));
                }
            }
        }
        for (steps, older) in self.older.iter().enumerate() {
            let others = older.image.iter().filter(|(path, bytes)| image.get(*path) != Some(*bytes));
            damages.extend(others.map(|(path, _)| Damage::Older(path.clone(), steps)));
        }
        damages
    }

    /// Looks at the directory once this has happened to it.
    pub fn look(&self, damage: &Damage, tally: &mut Tally) {
        let mut image = self.fixture.image.clone();
        damage.apply(&mut image, &self.older);
        let mut bad = |why: String| {
            let place = format!("{}: {damage}", self.title);
            tally.violations.push(Violation { place, title: damage.kind().to_owned(), why });
        };
        let outcome = damage::look_twice(&image, &self.fixture.state, &mut bad);
        if matches!(outcome, Outcome::Exact) {
            damage::go_on(&image, &self.fixture.state, &mut bad);
        }
        match damage.only() {
            Some(path) if path.starts_with("packs/") && matches!(outcome, Outcome::Exact) => {
                bad("verification does not notice it".into());
            }
            Some(CATALOG) if !matches!(outcome, Outcome::Exact) => {
                bad(format!("a catalog is made anew, not {outcome:?}"));
            }
            _ => {}
        }
        tally.looked(damage.kind(), outcome.name());
    }
}

/// Lets each write of some steps in turn get lost, or end up at another place or in another file, acknowledged and synced all the
/// same; then the engine is killed, or closed.
pub fn astray(title: &str, steps: &[Step], draw: &mut Draw, stop: &dyn Fn() -> bool, tally: &mut Tally) {
    let whole = SimDisk::new();
    let counted = Faulty::new(&whole, Place::Lost(u64::MAX));
    let (_, ended) = live(&counted, steps, false);
    if let Some(outcome) = ended {
        let (place, why) = (title.to_owned(), format!("{outcome:?}"));
        tally.violations.push(Violation { place, title: "no write astray".into(), why });
    }
    let files = whole.contents();
    for write in 0..counted.writes() {
        for way in 0..4 {
            if stop() {
                return;
            }
            let (other, bytes) = &files[draw.below(files.len() as u64) as usize];
            let at = 512 * draw.below(1 + bytes.len() as u64 / 512);
            let (what, place) = match way {
                0 => ("lost write", Place::Lost(write)),
                1 => ("write at another place", Place::Shifted(write, 512 * (1 + draw.below(8)))),
                2 => ("write in another file", Place::Into(write, other.clone(), at)),
                _ => ("write at another place", Place::Shifted(write, 4_096)),
            };
            for close in [false, true] {
                let disk = SimDisk::new();
                let outcome = caught(|| {
                    let (state, ended) = live(&Faulty::new(&disk, place.clone()), steps, close);
                    ended.unwrap_or_else(|| damage::look(&disk.kill(), false, &model::visible(&state)))
                });
                let outcome = outcome.unwrap_or_else(Outcome::Bad);
                if let Outcome::Bad(why) = &outcome {
                    let place = format!("{title}: {place:?}, closed {close}");
                    tally.violations.push(Violation { place, title: what.into(), why: why.clone() });
                }
                tally.looked(what, outcome.name());
            }
        }
    }
}

/// Does the steps. Returns what was acknowledged, and how it ended if that was too early.
fn live(disk: &Faulty, steps: &[Step], close: bool) -> (State, Option<Outcome>) {
    let mut state = State::new();
    let ended = |error: lineal::Error| {
        // A write to a file that is not there yet.
        let refused = matches!(&error, lineal::Error::Io { .. } | lineal::Error::Poisoned { .. });
        if tells_of_damage(&error) || refused {
            Outcome::Typed(Box::new(damage::Told::of(error)))
        } else {
            Outcome::Bad(format!("an error that does not say what is damaged: {error:?}"))
        }
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut world = match World::open_with(world::options(&SimDisk::new(), 11).disk(disk)) {
        Ok(world) => world,
        Err(error) => return (state, Some(ended(error))),
    };
    for step in steps {
        match world.step(step) {
            Ok(()) => model::apply(&mut state, step),
            Err(error) => return (state, Some(ended(error))),
        }
    }
    if close && let Err(error) = world.engine().clone().close() {
        return (state, Some(ended(error)));
    }
    (state, None)
}

/// Most objects of the directory whose sectors are unreadable that have parts in one block, which is read as a whole.
const IN_BLOCK_MAX: usize = 2;

/// Lets each sector of each pack be unreadable in turn: only the objects whose parts lie in its block are concerned, and only as
/// long as it is so.
pub fn latent(stop: &dyn Fn() -> bool, tally: &mut Tally) {
    let steps: Vec<Step> = (0..6)
        .map(|object| {
            Step::Commit(object, vec![damage::filler("large", 6_000 + object), put("small", "value")])
        })
        .chain([Step::Checkpoint])
        .collect();
    let fixture = Fixture::make(&steps, End::Closed);
    for (path, bytes) in &fixture.image {
        for sector in (0..bytes.len()).step_by(512) {
            if stop() {
                return;
            }
            let disk = SimDisk::from_image(&fixture.image);
            let range = sector..(sector + 512).min(bytes.len());
            let place = Place::Unreadable(path.clone(), range.start as u64..range.end as u64);
            let faulty: Arc<dyn Disk> = Arc::new(Faulty::new(&disk, place));
            let place = format!("sector at {sector} of {path} unreadable");
            let mut bad = |why: String| {
                tally.violations.push(Violation { place: place.clone(), title: "latent error".into(), why });
            };
            let inside = fixture.state.iter().find(|(_, object)| {
                object.entries.values().any(|value| {
                    value.len() > 2_000
                        && bytes
                            .windows(value.len())
                            .position(|window| window == value)
                            .is_some_and(|at| at <= range.start && range.end <= at + value.len())
                })
            });
            let outcome = match caught(|| damage::blast(faulty, &fixture.state)).unwrap_or_else(Err) {
                Err(why) => {
                    bad(why);
                    "bad"
                }
                Ok(hit) => {
                    // What a start replays is everybody's.
                    let in_pack = path.starts_with("packs/");
                    match inside {
                        Some((name, _))
                            if in_pack
                                && !hit.is_empty()
                                && !(hit.contains(name) && hit.len() <= IN_BLOCK_MAX) =>
                        {
                            bad(format!("it is of {name}, and {hit:?} cannot be read"));
                        }
                        _ => {}
                    }
                    if hit.is_empty() { "exact" } else { "typed error" }
                }
            };
            if !matches!(damage::look(&disk, false, &fixture.state), Outcome::Exact) {
                bad("it is over, and not everything can be read".into());
            }
            tally.looked("sector unreadable", outcome);
        }
    }
}
