//! A chat room: an object whose events let people join and post, and fan each message out to the members' inboxes,
//! which are objects as well.
//!
//! `cargo run -p lineal --example chat_room`

use lineal::{Cx, Engine, Error, Namespace, Object, Result};

/// A room and where its members' inboxes are.
struct Room {
    room: Object,
    inboxes: Namespace,
}

impl Room {
    /// Lets `member` in. Joining twice is once.
    async fn join(&self, member: &str) -> Result<()> {
        let joined = self.room.event(async |cx| {
            cx.transact(|tx| {
                tx.cause(format!("{member} joins"))?;
                tx.put(format!("member/{member}"), [])
            })
            .unconfirmed()
        });
        // The event comes to its end at once; its result is seen when what it did is durable.
        joined.await.await
    }

    /// Posts a message and puts it into every member's inbox. Returns its number.
    ///
    /// When it returns the post and all copies of it are durable, and that took one fsync: between objects of one
    /// engine nothing waits, and the event's own gate waits for everything that it absorbed.
    async fn post(&self, from: &str, text: &str) -> Result<u64> {
        let posted = self.room.event(async |cx| {
            let number = self.append(&cx, from, text)?;
            for member in members(&cx)? {
                let inbox = self.inboxes.object(&member)?;
                let line = format!("{from}: {text}");
                // Awaits another object: this room's other events run meanwhile, if that has to wait for its turn.
                let delivered = inbox.transact_async(|tx| tx.put(number.to_be_bytes(), &line)).await;
                cx.absorb(delivered)?;
            }
            Ok(number)
        });
        posted.await.await
    }

    fn append(&self, cx: &Cx, from: &str, text: &str) -> Result<u64> {
        // Within the engine the number can be used before it is durable.
        cx.transact(|tx| {
            if !tx.contains(format!("member/{from}"))? {
                return Err(Error::other(format!("{from} has not joined")));
            }
            let last = tx.prefix("post/").reverse().next().transpose()?;
            let number = last.map_or(0, |(key, _)| number_of(&key)) + 1;
            tx.cause(format!("{from} posts"))?;
            tx.put(post_key(number), format!("{from}: {text}"))?;
            Ok(number)
        })
        .unconfirmed()
    }

    /// The newest messages, newest first.
    fn newest(&self, count: u64) -> Result<Vec<(u64, String)>> {
        let newest = self.room.read(|view| {
            view.prefix("post/")
                .reverse()
                .limit(count)
                .map(|post| {
                    post.map(|(key, line)| (number_of(&key), String::from_utf8_lossy(&line).into_owned()))
                })
                .collect()
        });
        newest.wait()
    }
}

/// Big-endian, so that the order of the keys is the order of the posts.
fn post_key(number: u64) -> Vec<u8> {
    [b"post/", &number.to_be_bytes()[..]].concat()
}

fn number_of(key: &[u8]) -> u64 {
    key["post/".len()..].try_into().map_or(0, u64::from_be_bytes)
}

fn members(cx: &Cx) -> Result<Vec<String>> {
    cx.read(|view| {
        view.prefix("member/")
            .map(|member| Ok(String::from_utf8_lossy(&member?.0["member/".len()..]).into_owned()))
            .collect()
    })
    .unconfirmed()
}

async fn chat(engine: &Engine) -> Result<()> {
    let lobby =
        Room { room: engine.namespace("rooms")?.object("lobby")?, inboxes: engine.namespace("inboxes")? };
    for member in ["ann", "bob", "eve"] {
        lobby.join(member).await?;
    }
    let fsyncs = engine.stats().fsyncs;
    let number = lobby.post("ann", "hello, everybody").await?;
    let fsyncs = engine.stats().fsyncs - fsyncs;
    println!("post {number} and its copies for 3 members took {fsyncs} fsync(s)");
    lobby.post("bob", "hello, ann").await?;
    lobby.post("ann", "shall we begin?").await?;
    match lobby.post("mallory", "let me in").await {
        Ok(number) => println!("mallory has posted {number}"),
        Err(error) => println!("mallory is refused: {error}"),
    }
    println!("the newest two posts:");
    for (number, line) in lobby.newest(2)? {
        println!("  {number}. {line}");
    }
    for info in lobby.inboxes.objects()? {
        let info = info?;
        println!("the inbox of {} has {} messages", info.name.unwrap_or_default(), info.seq);
    }
    let verified = lobby.room.verify()?;
    println!("the room's history of {} commits is right", verified.commits);
    Ok(())
}

fn main() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("lineal-chat-room-{}", std::process::id()));
    let engine = Engine::open(&dir)?;
    // Any executor does.
    pollster::block_on(chat(&engine))?;
    engine.close()?;
    let _ = std::fs::remove_dir_all(&dir);
    Ok(())
}
