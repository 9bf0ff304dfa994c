//! Opens a data directory, counts visits of a room, and shows what is kept of it.
//!
//! `cargo run --example quick_start`

use lineal::{Engine, Result};

fn main() -> Result<()> {
    let dir = std::env::temp_dir().join("lineal-quick-start");
    let engine = Engine::open(&dir)?;
    let rooms = engine.namespace("rooms")?;
    let lobby = rooms.object("lobby")?;

    // One transaction: synchronous, atomic, in memory. What it returns is seen once it is durable.
    let visits = lobby.transact(|tx| {
        let visits =
            tx.get("visits")?.map_or(0, |value| u64::from_be_bytes(value[..].try_into().unwrap_or_default()));
        tx.cause("a visit")?;
        tx.put("visits", (visits + 1).to_be_bytes())?;
        Ok(visits + 1)
    });
    println!("the lobby was visited {} times", visits.wait()?);

    for room in rooms.objects()? {
        let room = room?;
        println!("{}: {} commits, {} bytes", room.name.unwrap_or_default(), room.seq, room.bytes);
    }
    let verified = lobby.verify()?;
    println!("its chain of {} commits is right", verified.commits);
    engine.close()
}
