//! The oracle: outside of the process that writes, and outside of its directory.

use lineal::{Engine, Error};

use super::{
    lane::{Found, Handles, LANES, Lane, NAMESPACE},
    worker::DEPTH,
};

/// What a worker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The directory is open.
    Open,
    /// A lane goes on after this step of it.
    At(usize, u64),
    /// This step of a lane, and all before it, is durable.
    Ack(usize, u64),
    /// The directory is closed.
    Closed,
    /// A commit was refused, for a reason with a name.
    Refused(String),
    /// A commit was refused because the disk is full, and is tried again.
    Full(String),
    /// A checkpoint or a merge failed.
    Work(String),
    /// The worker gave up, for a reason with a name.
    Failed(String),
}

impl Word {
    /// What a line of its output says.
    #[must_use]
    pub fn parse(line: &str) -> Option<Word> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let step = |make: fn(usize, u64) -> Word| {
            let (lane, step) = rest.split_once(' ')?;
            Some(make(lane.parse().ok().filter(|lane| *lane < LANES)?, step.parse().ok()?))
        };
        match word {
            "open" => Some(Word::Open),
            "at" => step(Word::At),
            "ack" => step(Word::Ack),
            "closed" => Some(Word::Closed),
            "refused" => Some(Word::Refused(rest.to_owned())),
            "full" => Some(Word::Full(rest.to_owned())),
            "work" => Some(Word::Work(rest.to_owned())),
            "failed" => Some(Word::Failed(rest.to_owned())),
            _ => None,
        }
    }
}

/// What is known of one lane.
#[derive(Clone, Debug)]
struct Known {
    /// It was at this step once. What it holds then follows from that.
    lane: Lane,
    /// Everything up to here was said to be durable, or was served by an engine that had opened for writing.
    durable: u64,
    /// It cannot be further than this.
    most: u64,
}

/// Who heard what was acknowledged on one data directory.
#[derive(Clone, Debug)]
pub struct Witness {
    lanes: Vec<Known>,
    acks: u64,
}

impl Default for Witness {
    fn default() -> Self {
        Self::new()
    }
}

impl Witness {
    /// Of a directory that does not exist yet.
    #[must_use]
    pub fn new() -> Witness {
        let known = |number| Known { lane: Lane::new(number), durable: 0, most: 0 };
        Witness { lanes: (0..LANES).map(known).collect(), acks: 0 }
    }

    /// Acknowledgements heard.
    #[must_use]
    pub fn acks(&self) -> u64 {
        self.acks
    }

    /// Hears all that one worker said in its life.
    ///
    /// # Errors
    /// If a lane goes on where it cannot be.
    pub fn hear<'w>(&mut self, words: impl IntoIterator<Item = &'w Word>) -> Result<(), String> {
        for word in words {
            match word {
                Word::At(lane, step) => {
                    let known = &mut self.lanes[*lane];
                    if !(known.durable..=known.most).contains(step) {
                        let Known { durable, most, .. } = known;
                        return Err(format!("lane {lane} opens at step {step}, not in {durable}..={most}"));
                    }
                    // Said before anything is written.
                    (known.durable, known.most) = (*step, *step + DEPTH);
                }
                Word::Ack(lane, step) => {
                    self.acks += 1;
                    let known = &mut self.lanes[*lane];
                    known.durable = known.durable.max(*step);
                    known.most = known.most.max(*step + DEPTH);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Hears that a step was begun whose outcome is unknown.
    pub fn began(&mut self, lane: usize, step: u64) {
        let known = &mut self.lanes[lane];
        known.most = known.most.max(step);
    }

    /// Judges what an engine serves: every lane is at one of its steps, none that was acknowledged is missing, none is
    /// there that nobody did, and who saw another lane's commit does not outlive it. An engine that is open for writing settles
    /// what was unknown: what it serves stays.
    ///
    /// # Errors
    /// What is wrong.
    pub fn judge(&mut self, engine: &Engine, settles: bool, verify: bool) -> Result<(), String> {
        let found = match read(engine, verify) {
            Ok(found) => found,
            Err(missing) if self.lanes.iter().all(|known| known.durable == 0) && missing.is_empty() => {
                return Ok(());
            }
            Err(error) if error.is_empty() => return Err("the namespace is gone".to_owned()),
            Err(error) => return Err(error),
        };
        for (number, known) in self.lanes.iter_mut().enumerate() {
            let mut lane = known.lane.clone();
            lane.go_to(found[number].seqs())?;
            let Known { durable, most, .. } = known;
            if !(*durable..=*most).contains(&lane.step()) {
                let step = lane.step();
                return Err(format!("lane {number} is at step {step}, not in {durable}..={most}"));
            }
            lane.compare(&found[number])?;
            for (other, seq) in found[number].seen() {
                if found[other].seqs()[0] < seq {
                    return Err(format!(
                        "lane {number} has seen commit {seq} of lane {other}, which is gone"
                    ));
                }
            }
            if settles {
                (known.durable, known.most) = (lane.step(), lane.step());
                known.lane = lane;
            }
        }
        Ok(())
    }
}

/// All lanes, as they are found. No words: there is nothing yet.
fn read(engine: &Engine, verify: bool) -> Result<Vec<Found>, String> {
    let namespace = match engine.existing_namespace(NAMESPACE) {
        Ok(namespace) => namespace,
        Err(Error::NotFound { .. }) => return Err(String::new()),
        Err(error) => return Err(error.to_string()),
    };
    let open = |number| Handles::open(&namespace, number).map_err(|error| error.to_string());
    (0..LANES).map(|number| open(number)?.read(verify)).collect()
}
