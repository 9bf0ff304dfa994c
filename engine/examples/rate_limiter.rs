//! Limits requests per user: each user is an object that holds a token bucket, and each request is one transaction.
//!
//! `cargo run -p lineal --example rate_limiter`

use std::time::{Duration, Instant};

use lineal::{Engine, Gated, Namespace, Result, Tx};

/// Tokens that a bucket holds when it is full.
const BURST: f64 = 3.0;
/// Tokens that flow into a bucket in a second.
const TOKENS_PER_SECOND: f64 = 1.0;

/// What a request is told.
#[derive(Debug)]
enum Verdict {
    Go { left: u32 },
    Wait { seconds: f64 },
}

/// Takes a token out of the user's bucket, if there is one. `now` is in seconds.
///
/// Nobody gets at the bucket between reading and writing it, however many threads ask. The verdict comes gated: sent
/// only once it is durable, a power cut cannot give a token back that was spent.
fn request(users: &Namespace, user: &str, now: f64) -> Result<Gated<Verdict>> {
    Ok(users.object(user)?.transact(|tx| {
        let (tokens, since) = (number(tx, "tokens")?.unwrap_or(BURST), number(tx, "time")?.unwrap_or(now));
        let tokens = (tokens + (now - since) * TOKENS_PER_SECOND).min(BURST);
        if tokens < 1.0 {
            // Nothing was written, so a refused request costs no commit.
            return Ok(Verdict::Wait { seconds: (1.0 - tokens) / TOKENS_PER_SECOND });
        }
        tx.put("tokens", (tokens - 1.0).to_le_bytes())?;
        tx.put("time", now.to_le_bytes())?;
        Ok(Verdict::Go { left: (tokens - 1.0) as u32 })
    }))
}

fn number(tx: &Tx<'_>, key: &str) -> Result<Option<f64>> {
    Ok(tx.get(key)?.and_then(|value| value[..].try_into().ok()).map(f64::from_le_bytes))
}

fn main() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("lineal-rate-limiter-{}", std::process::id()));
    let engine = Engine::open(&dir)?;
    let users = engine.namespace("users")?;

    // Time is made up here, so that the example need not sleep.
    for (now, user) in
        [(0.0, "ann"), (0.1, "ann"), (0.2, "ann"), (0.3, "ann"), (0.3, "bob"), (1.5, "ann"), (1.6, "ann")]
    {
        match request(&users, user, now)?.wait()? {
            Verdict::Go { left } => println!("{now:.1} s  {user}: go, {left} more at once"),
            Verdict::Wait { seconds } => println!("{now:.1} s  {user}: wait {seconds:.1} s"),
        }
    }

    // Many users at once: the transactions run in memory, and a few fsyncs serve all of them.
    let (began, fsyncs) = (Instant::now(), engine.stats().fsyncs);
    let verdicts: Vec<Gated<Verdict>> =
        (0..10_000).map(|user| request(&users, &format!("user {user}"), 2.0)).collect::<Result<_>>()?;
    let mut admitted = 0;
    for verdict in verdicts {
        admitted += u32::from(matches!(verdict.wait()?, Verdict::Go { .. }));
    }
    let (took, fsyncs) = (began.elapsed(), engine.stats().fsyncs - fsyncs);
    println!("{admitted} users admitted durably in {} with {fsyncs} fsyncs", millis(took));

    engine.close()?;
    // A real service keeps it.
    let _ = std::fs::remove_dir_all(&dir);
    Ok(())
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
