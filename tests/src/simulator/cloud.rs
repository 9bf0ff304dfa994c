//! The archive of a run: a store that fails, an uploader that moves when the run says so, and what the store has to hold.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use lineal::{
    Durability, Error, Gated, Options, Result,
    archive::{self, ArchiveErrorKind, ArchiveOptions, Hand, Patience, Store},
};
use lineal_snapshot::archive::sim::{Fault, Op, PASSING, SimPace, SimStore};
use lineal_wal::sim::SimDisk;

use crate::{
    archive::HURRIED,
    draw::Draw,
    model::{self, State, Step},
    world::{self, World},
};

/// Ticks after which an uploader has done all that it can.
const TICKS_MAX: u32 = 4_000;

/// See the head of this file.
pub(super) struct Cloud {
    store: Arc<SimStore>,
    hand: Hand,
    chunk_bytes: u32,
    local_bytes: Option<u64>,
    /// The states since the one that the store is certain to hold, that one first.
    trail: Vec<State>,
    /// Whether the store is certain to hold anything.
    is_known: bool,
    /// Whether the store may have kept a part of something.
    has_halves: bool,
    /// Whether what is asked of the store may fail.
    is_rough: bool,
}

impl Cloud {
    pub(super) fn draw(draw: &mut Draw) -> Cloud {
        let cloud = Cloud {
            store: SimStore::new(),
            hand: Hand::default(),
            chunk_bytes: draw.one_of(&[4 << 10, 32 << 10, 4 << 20]),
            local_bytes: draw.one_of(&[None, None, Some(0), Some(100_000)]),
            trail: vec![State::new()],
            is_known: false,
            has_halves: false,
            is_rough: false,
        };
        if draw.percent(50) {
            cloud.store.tell_digests();
        }
        cloud
    }

    /// The options of an engine with this archive. It moves by the run's hand, or by one of its own.
    pub(super) fn options(&self, options: Options, draw: &mut Draw, hand: Option<&Hand>) -> Options {
        options.archive(self.place(draw, hand.unwrap_or(&self.hand)))
    }

    fn place(&self, draw: &mut Draw, hand: &Hand) -> ArchiveOptions {
        let store: Arc<dyn Store> = Arc::<SimStore>::clone(&self.store);
        let mut archive = ArchiveOptions::store(store)
            .holder("test")
            .interval(Duration::from_millis(draw.one_of(&[1, 50, 1_000])))
            .patience(Patience { wait_max: Duration::from_secs(1), ..HURRIED })
            .pace(SimPace::in_steps(Duration::from_millis(1), draw.number()))
            .chunk_bytes(self.chunk_bytes)
            .cache_bytes(64 << 20)
            .by_hand(hand.clone());
        if let Some(bytes) = self.local_bytes {
            archive = archive.local_bytes(bytes);
        }
        archive
    }

    /// Opens something with the archive. A manifest of which the store has kept a part only, and whose writer died before it
    /// could see that, is made anew first.
    pub(super) fn open(
        &mut self,
        draw: &mut Draw,
        options: Options,
        open: impl Fn(Options) -> Result<World>,
    ) -> Result<World> {
        match open(options.clone()) {
            Err(Error::Archive(error)) if error.kind() == ArchiveErrorKind::Corrupt && self.has_halves => {
                self.hand.let_go();
                archive::repair(&self.place(draw, &Hand::default()), None, false)?;
                open(options)
            }
            opened => opened,
        }
    }

    /// What the store does in the next life.
    pub(super) fn change_weather(&mut self, draw: &mut Draw) {
        self.calm();
        self.is_rough = true;
        match draw.below(100) {
            0..40 => self.is_rough = false,
            40..65 => self.store.shake(draw.number(), draw.one_of(&[20, 100, 350])),
            65..80 => self.store.dark_after(draw.below(60)),
            _ => {
                self.has_halves = true;
                for _ in 0..1 + draw.below(6) {
                    // Not a lease or a piece of the log: one that is kept in part, and whose writer dies before it reads it
                    // again, is refused as damaged until somebody removes it.
                    let part = draw.one_of(&["manifest", "packs", "roots", "pieces"]);
                    self.store.plan(Op::Put, part, Fault::HalfStored);
                    let fault = draw.one_of(&[
                        Fault::Flipped,
                        Fault::Denied,
                        Fault::NoBucket,
                        draw.clone().one_of(&PASSING),
                    ]);
                    let part = draw.one_of(&["", "/log/", "manifest", "packs", "roots", "pieces", "lease"]);
                    self.store.plan(draw.one_of(&[Op::Put, Op::Put, Op::Get]), part, fault);
                }
            }
        }
    }

    /// From here on the store does what it is asked for.
    pub(super) fn calm(&mut self) {
        self.store.clear();
        self.is_rough = false;
    }

    /// Lets the uploader do a part of what it has to do.
    pub(super) fn turn(&self, draw: &mut Draw) {
        self.hand.turn(draw.one_of(&[0, 0, 1, 5, 40]));
    }

    /// This is the newest state that is certain to be here.
    pub(super) fn push(&mut self, state: &State) {
        if self.trail.last() != Some(state) {
            self.trail.push(state.clone());
        }
    }

    /// The store is certain to hold this state.
    pub(super) fn holds(&mut self, state: &State) {
        self.trail = vec![state.clone()];
        self.is_known = true;
    }

    /// Whether an error is one that the store is to blame for, and may pass.
    pub(super) fn may_say(&self, error: &Error) -> bool {
        self.is_rough && is_the_stores(error)
    }

    /// Waits for a gate that opens when the store has it: `None` if it is not for now.
    pub(super) fn wait(&self, mut gate: Gated<()>) -> Option<Result<()>> {
        for _ in 0..TICKS_MAX {
            match gate.wait_timeout(Duration::ZERO) {
                Ok(outcome) => return Some(outcome),
                Err(shut) => gate = shut,
            }
            self.hand.turn(1);
        }
        None
    }

    /// The machine is lost with all that it had: another one goes on with what the store has. Where `old` is given, it does not
    /// know that it is lost, and has to find out before it says that something is archived.
    pub(super) fn move_on(
        &mut self,
        draw: &mut Draw,
        mut options: impl FnMut(&SimDisk) -> Options,
        old: Option<&World>,
    ) -> std::result::Result<Moved, String> {
        self.calm();
        let disk = SimDisk::new();
        let hand = Hand::default();
        let options = self.options(options(&disk), draw, Some(&hand));
        let world = match self.open(draw, options, World::attach_with) {
            Ok(world) => world,
            // Nothing had come so far.
            Err(Error::NotFound { .. } | Error::Archive(_)) if !self.is_known => return Ok(Moved::Nothing),
            Err(error) => return Err(format!("attaching: {error}")),
        };
        let found =
            settled(&world, &self.trail).map_err(|why| format!("the archive on another machine: {why}"))?;
        if let Some(old) = old {
            self.check_fenced(old)?;
        }
        self.hand = hand;
        self.holds(&found);
        Ok(Moved::To(Box::new((disk, world, found))))
    }

    fn check_fenced(&self, old: &World) -> std::result::Result<(), String> {
        let commit = |tx: &mut lineal::Tx<'_>| {
            tx.durability(Durability::Archived)?;
            tx.put("late", "and lost")
        };
        let object = old.engine().namespace("late").and_then(|namespace| namespace.object("late"));
        if let Ok(object) = object
            && let Some(Ok(())) = self.wait(object.transact(commit))
        {
            return Err("an engine that was fenced said that it has archived something".into());
        }
        match old.engine().archive_now() {
            Err(_) => Ok(()),
            Ok(()) => Err("an engine that was fenced said that it has archived all".into()),
        }
    }

    /// In the end the store holds exactly what is here, and bits of it that flip are noticed or do no harm.
    pub(super) fn end(
        &mut self,
        draw: &mut Draw,
        mut options: impl FnMut(&SimDisk) -> Options,
        state: &State,
    ) -> std::result::Result<(u64, u64), String> {
        self.hand.let_go();
        let (mut flips, mut noticed) = (0, 0);
        let mut look = |cloud: &Cloud| {
            let disk = SimDisk::new();
            let hand = Hand::default();
            let options = cloud.options(options(&disk), draw, Some(&hand));
            let world = World::attach_with(options).map_err(Seen::Typed)?;
            let found = world.dump().map_err(Seen::Typed)?;
            if found != model::visible(state) {
                return Err(Seen::Other);
            }
            world::check_history(world.engine(), state).map_err(Seen::Typed)?;
            world.engine().verify(&mut |_| ()).map_err(Seen::Typed)?;
            Ok(())
        };
        match look(self) {
            Ok(()) => {}
            Err(Seen::Typed(error)) => return Err(format!("on another machine: {error}")),
            Err(Seen::Other) => return Err("another machine sees another state".into()),
        }
        let keys = self.store.keys();
        let mut chance = Draw::new(keys.len() as u64);
        for _ in 0..2 {
            let key = &keys[chance.below(keys.len() as u64) as usize];
            let Some(bytes) = self.store.peek(key).filter(|bytes| !bytes.is_empty()) else { continue };
            let mut flipped = bytes.to_vec();
            let bit = chance.below(flipped.len() as u64 * 8);
            flipped[(bit / 8) as usize] ^= 1 << (bit % 8);
            self.store.poke(key, flipped);
            flips += 1;
            match look(self) {
                Ok(()) => {}
                Err(Seen::Typed(error)) if tells_of_damage(&error) => noticed += 1,
                Err(Seen::Typed(error)) => {
                    return Err(format!("bit {bit} of {key} flipped, and this is said: {error}"));
                }
                Err(Seen::Other) => return Err(format!("bit {bit} of {key} flipped, and nothing is said")),
            }
            self.store.poke(key, bytes);
        }
        Ok((flips, noticed))
    }
}

/// What a look at an archive came to that did not show what it should.
enum Seen {
    Typed(Error),
    Other,
}

/// Where a run goes on when its machine was lost.
pub(super) enum Moved {
    /// Nothing was left.
    Nothing,
    /// On this disk, with the engine that was opened there, from this state.
    To(Box<(SimDisk, World, State)>),
}

/// The one of these states that a world is in.
pub(super) fn settled<'a>(
    world: &World,
    candidates: impl IntoIterator<Item = &'a State>,
) -> std::result::Result<State, String> {
    let reading = |error: Error| format!("reading: {error}");
    let found = world.dump().map_err(reading)?;
    let candidates: Vec<&State> = candidates.into_iter().collect();
    let names: BTreeSet<&String> = candidates.iter().flat_map(|state| state.keys()).collect();
    // Of those that were purged, nothing else is left to see.
    let seqs = names.into_iter().map(|name| Ok((name, world.seq(name)?)));
    let seqs: Vec<(&String, u64)> = seqs.collect::<Result<_>>().map_err(reading)?;
    let mut why = String::new();
    for state in candidates {
        if let Some((name, seq)) =
            seqs.iter().find(|(name, seq)| state.get(*name).map_or(0, |object| object.seq) != *seq)
        {
            why += &format!(" [{name} is at commit {seq}]");
            continue;
        }
        let visible = model::visible(state);
        if visible != found {
            let differ =
                visible.keys().chain(found.keys()).filter(|name| visible.get(*name) != found.get(*name));
            why += &format!(" [{}]", differ.cloned().collect::<Vec<_>>().join(", "));
            continue;
        }
        // Two may look alike of which one has forgotten its past.
        match world::check_history(world.engine(), state) {
            Ok(()) => return Ok(state.clone()),
            Err(error) => why += &format!(" [{error}]"),
        }
    }
    Err(format!("what is read is no state that may be; how each differs:{why}"))
}

/// Whether an error says that the store does not do what it is asked for.
fn is_the_stores(error: &Error) -> bool {
    matches!(error, Error::Archive(error) if !matches!(error.kind(), ArchiveErrorKind::Fenced | ArchiveErrorKind::Diverged))
}

/// Whether an error says what is damaged.
fn tells_of_damage(error: &Error) -> bool {
    crate::damage::tells_of_damage(error)
        || matches!(error, Error::Archive(error) if error.kind() == ArchiveErrorKind::Corrupt)
}

/// A commit that counts when it is archived.
pub(super) fn archived(world: &World, step: &Step) -> Result<Gated<()>> {
    world.submit_with(step, Durability::Archived)
}
