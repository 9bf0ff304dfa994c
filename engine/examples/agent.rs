//! An agent: its messages are rows in its own database, with a full-text index, and a conversation can go another way
//! from any earlier message on.
//!
//! `cargo run -p lineal --example agent`

use lineal::{Bookmark, Engine, Migration, Namespace, Object, Result};

/// The schema, as it grew. An agent that has slept for months comes forward when it is next used.
fn schema() -> [Migration; 2] {
    [
        Migration::sql(
            "messages",
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, role TEXT NOT NULL, body TEXT NOT NULL)",
        ),
        Migration::sql(
            "search",
            "CREATE VIRTUAL TABLE search USING fts5 (body, content = messages, content_rowid = id);
             INSERT INTO search (search) VALUES ('rebuild');
             CREATE TRIGGER indexed AFTER INSERT ON messages BEGIN
                 INSERT INTO search (rowid, body) VALUES (new.id, new.body);
             END;",
        ),
    ]
}

/// Keeps one message, with its index entry, in one commit. Returns the point in the agent's history after it.
fn say(agent: &Object, role: &str, body: &str) -> Result<Bookmark> {
    agent
        .transact(|tx| {
            tx.cause(format!("{role} speaks"))?;
            tx.sql().execute("INSERT INTO messages (role, body) VALUES (?1, ?2)", [role, body])
        })
        .wait()?;
    agent.bookmark().wait()
}

/// The messages that match, the best first.
fn search(agent: &Object, words: &str) -> Result<Vec<String>> {
    let found = agent.read(|view| {
        let sql = view.sql();
        let rows = sql.query_map(
            "SELECT role || ': ' || snippet(search, 0, '[', ']', '…', 8) FROM search
             JOIN messages ON messages.id = search.rowid WHERE search MATCH ?1 ORDER BY rank",
            [words],
            |row| row.get(0),
        )?;
        rows.collect()
    });
    found.wait()
}

fn print(title: &str, agent: &Object) -> Result<()> {
    println!("{title}:");
    let messages = agent.read(|view| {
        let sql = view.sql();
        let rows =
            sql.query_map("SELECT role || ': ' || body FROM messages ORDER BY id", [], |row| row.get(0))?;
        rows.collect::<Result<Vec<String>>>()
    });
    messages.wait()?.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

fn converse(agents: &Namespace) -> Result<()> {
    let ada = agents.object("ada")?;
    say(&ada, "user", "Plan a weekend in Lisbon for two, please.")?;
    let fork_here = say(&ada, "agent", "By train or by plane?")?;
    say(&ada, "user", "By plane.")?;
    say(&ada, "agent", "The plane leaves at seven, and the hotel is near the castle.")?;
    print("the conversation", &ada)?;
    println!("about planes: {:?}", search(&ada, "plane")?);

    // What if the answer had been another one? Nothing is copied, and the first conversation stays as it is.
    let other = agents.object("ada, by train")?;
    ada.fork_because(&fork_here, &other, "another answer").wait()?;
    say(&other, "user", "By train, we like to look out of the window.")?;
    print("the other conversation", &other)?;
    println!("about planes there: {:?}", search(&other, "plane")?);

    // Any earlier point can be asked as well.
    let then: i64 =
        ada.at(&fork_here)?.sql().query_one("SELECT count(*) FROM messages", [], |row| row.get(0))?;
    println!("before the answer there were {then} messages");
    for commit in other.history(..)?.reverse() {
        let commit = commit?;
        println!("  commit {} of the fork: {:?}, {}", commit.seq, commit.kind, commit.cause);
    }
    Ok(())
}

fn main() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("lineal-agent-{}", std::process::id()));
    let engine = Engine::open(&dir)?;
    let agents = engine.namespace("agents")?;
    // Steps are code: they are registered after each open.
    agents.migrations(schema())?;
    converse(&agents)?;
    engine.close()?;
    let _ = std::fs::remove_dir_all(&dir);
    Ok(())
}
