//! Runs every control, and every harness with nothing planted; see the head of `lineal_controls`.
//!
//! ```text
//! controls [PART OF A NAME]    all controls of bugs and harnesses that are called so
//! ```
//! Each runs in a process of its own: a bug is planted for a whole process, and may end it or never let it end.

use std::{
    env,
    io::{self, Read},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use lineal_controls::{HARNESSES, controls};
use lineal_wal::planted;

/// How long one control may take before it counts as hung. Many times what the slowest takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often a process is looked at.
const LOOKS: Duration = Duration::from_millis(20);
/// A child is told its number by this word, and answers with what was found.
const CHILD: &str = "--child";
/// What a child answers in the end that found nothing. Before that it says the number of each state, in a line of its own.
const NOTHING: &str = "nothing";

/// What one process does: the harness, and the bug if it is no look at a sound engine.
struct Job {
    bug: Option<planted::Bug>,
    harness: &'static lineal_controls::Harness,
}

impl Job {
    fn all() -> Vec<Job> {
        // What looks at all of its states takes longest, so it begins first.
        let sound = HARNESSES.iter().map(|harness| Job { bug: None, harness });
        let planted =
            controls().into_iter().map(|control| Job { bug: Some(control.bug), harness: control.harness });
        sound.chain(planted).collect()
    }

    fn bug(&self) -> String {
        self.bug.map_or_else(|| "(none)".to_owned(), |bug| format!("{bug:?}"))
    }

    /// Whether a bug was found, or nothing where there is none.
    fn is_right(&self, end: &End) -> bool {
        match end {
            End::Found(..) => self.bug.is_some(),
            End::Nothing => self.bug.is_none(),
            End::Lost(_) => false,
        }
    }

    fn is_called(&self, filter: &str) -> bool {
        self.bug().contains(filter) || self.harness.name.contains(filter)
    }
}

/// What a process came to.
enum End {
    /// After so many states, this.
    Found(u64, String),
    Nothing,
    /// It did not answer.
    Lost(String),
}

fn main() -> ExitCode {
    let args: Vec<String> =
        env::args().skip(1).filter(|arg| !arg.starts_with("--") || arg == CHILD).collect();
    let jobs = Job::all();
    if let [word, number] = &args[..]
        && word == CHILD
    {
        let number: usize = number.parse().expect("a job's number");
        return child(&jobs[number]);
    }
    let filter = args.first().map_or("", String::as_str);
    let chosen: Vec<(usize, &Job)> =
        jobs.iter().enumerate().filter(|(_, job)| job.is_called(filter)).collect();
    println!("{:<26} {:<30} {:>7} of {:<5}  what it found", "bug", "harness", "found at", "");
    let wrong = run(&chosen);
    if wrong.is_empty() {
        println!(
            "all {} of {} as they should be; {} bugs",
            chosen.len(),
            jobs.len(),
            planted::Bug::ALL.len()
        );
        return ExitCode::SUCCESS;
    }
    println!("not as they should be:\n{}", wrong.join("\n"));
    ExitCode::FAILURE
}

fn child(job: &Job) -> ExitCode {
    planted::plant(job.bug);
    // Each line goes out at once: the process may not live to say more.
    match job.harness.search(|state| println!("{state}")) {
        Some((states, why)) => println!("{states} {}", why.replace('\n', " ")),
        None => println!("{NOTHING}"),
    }
    ExitCode::SUCCESS
}

/// Runs the chosen jobs, as many at once as there are processors, and prints a row for each that has ended. What did not
/// end as it should.
fn run(chosen: &[(usize, &Job)]) -> Vec<String> {
    let next = Mutex::new(chosen.iter());
    let wrong = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some((number, job)) = next.lock().expect("nobody panics with it").next() else { return };
            let end = run_one(*number).unwrap_or_else(|error| End::Lost(error.to_string()));
            println!("{}", row(job, &end));
            if !job.is_right(&end) {
                wrong.lock().expect("nobody panics with it").push(row(job, &end));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    wrong.into_inner().expect("nobody panics with it")
}

fn row(job: &Job, end: &End) -> String {
    const WHY_CHARS: usize = 100;
    let (found, why) = match end {
        End::Found(found, why) => (found.to_string(), why.as_str()),
        End::Nothing => ("-".to_owned(), ""),
        End::Lost(why) => ("?".to_owned(), why.as_str()),
    };
    let short: String = why.chars().take(WHY_CHARS).collect();
    let (bug, name, states) = (job.bug(), job.harness.name, job.harness.states);
    format!("{bug:<26} {name:<30} {found:>8} of {states:<5}  {short}")
}

fn run_one(number: usize) -> io::Result<End> {
    let mut child = Command::new(env::current_exe()?)
        .args([CHILD, &number.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdout = child.stdout.take().expect("it is piped");
    // Read beside the wait: an answer may be longer than a pipe.
    let answer = thread::spawn(move || {
        let mut answer = String::new();
        stdout.read_to_string(&mut answer).map(|_| answer)
    });
    let Some(status) = end_of(&mut child)? else {
        child.kill()?;
        child.wait()?;
        return Ok(End::Lost(format!("it hung for {} s", PATIENCE.as_secs())));
    };
    let answer = answer.join().expect("reading does not panic")?;
    let last = answer.lines().next_back().unwrap_or_default();
    Ok(match (last.split_once(' '), last.parse(), status.code()) {
        (Some((states, why)), ..) => End::Found(states.parse().unwrap_or_default(), why.to_owned()),
        (None, Ok(states), None) => End::Found(states, format!("it ended the process: {status}")),
        _ if last == NOTHING => End::Nothing,
        _ => End::Lost(format!("{status}, without an answer")),
    })
}

/// Waits for a process to end: how it did, if it did in time.
fn end_of(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            None if Instant::now() < until => thread::sleep(LOOKS),
            ended => return Ok(ended),
        }
    }
}
