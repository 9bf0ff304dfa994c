//! A store that lies: HTTP in front of a real S3 server, which loses, delays, repeats and changes what passes.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::draw::Draw;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Answered with this status, and not passed on.
    Refused(u16),
    /// Done, and answered with this status.
    DoneAndRefused(u16),
    /// The connection ends before it is passed on.
    CutBefore,
    /// Done, and the connection ends before the answer.
    CutAfter,
    /// Half of its body is passed on, then both connections end.
    HalfRequest,
    /// The answer ends in the middle.
    HalfAnswer,
    /// A bit of what a GET answers is another.
    Flipped,
    /// A GET answers what the same one answered the first time.
    Stale,
    /// A GET answers that there is nothing.
    Gone,
    /// Success, with words that nobody asked for.
    Garbage,
    /// Done twice; the answer is the second one's.
    Twice,
    /// Answered late.
    Slow,
}

impl Trouble {
    /// All kinds.
    pub const ALL: [Trouble; 15] = [
        Trouble::Refused(500),
        Trouble::Refused(503),
        Trouble::Refused(429),
        Trouble::DoneAndRefused(500),
        Trouble::DoneAndRefused(503),
        Trouble::CutBefore,
        Trouble::CutAfter,
        Trouble::HalfRequest,
        Trouble::HalfAnswer,
        Trouble::Flipped,
        Trouble::Stale,
        Trouble::Gone,
        Trouble::Garbage,
        Trouble::Twice,
        Trouble::Slow,
    ];
}

/// How late a slow answer is: later than who asks in the tests waits.
pub const SLOW: Duration = Duration::from_millis(900);

/// What is in the way, as all connections see it.
#[derive(Debug)]
struct Shared {
    /// `host:port` of the server.
    server: String,
    trouble: Mutex<Option<(Trouble, u64)>>,
    draw: Mutex<Draw>,
    met: AtomicU64,
    first: Mutex<HashMap<String, Vec<u8>>>,
    ended: AtomicBool,
}

/// The proxy. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// One in front of the server at `http://host:port`, which lies by this seed once it is told to.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(endpoint: &str, seed: u64) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server: endpoint.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            trouble: Mutex::new(None),
            draw: Mutex::new(Draw::new(seed)),
            met: AtomicU64::new(0),
            first: Mutex::new(HashMap::new()),
            ended: AtomicBool::new(false),
        });
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if all.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), shared) = (client, Arc::clone(&all)) else { continue };
                // A connection that fails is one that ends, as for any client of any server.
                thread::spawn(move || drop(serve(&client, &shared)));
            }
        });
        Ok(Proxy { shared, port })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on this happens to so many of a hundred requests, or nothing.
    pub fn trouble(&self, trouble: Option<(Trouble, u64)>) {
        *lock(&self.shared.trouble) = trouble;
    }

    /// Requests that met trouble.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.shared.met.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // It looks when somebody comes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A request or an answer.
#[derive(Clone, Debug)]
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    /// The next one on a connection; `None` where that has ended. An answer without a length ends with it, and one to HEAD
    /// has no body.
    fn read(from: &mut BufReader<&TcpStream>, answers: Option<&str>) -> io::Result<Option<Message>> {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = Vec::new();
        let value = |name: &str| {
            let found = head
                .lines()
                .find_map(|line| line.split_once(':').filter(|(found, _)| found.eq_ignore_ascii_case(name)));
            found.map(|(_, value)| value.trim().to_owned())
        };
        let bodiless =
            answers == Some("HEAD") || head.starts_with("HTTP/1.1 204") || head.starts_with("HTTP/1.1 304");
        if value("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            // Nobody here sends that; a server that does would be passed on wrongly.
            return Err(io::Error::new(io::ErrorKind::Unsupported, "chunked"));
        }
        match value("content-length").and_then(|length| length.parse::<usize>().ok()) {
            _ if bodiless => {}
            Some(length) => {
                body.resize(length, 0);
                from.read_exact(&mut body)?;
            }
            None if answers.is_some() => {
                from.read_to_end(&mut body)?;
            }
            None => {}
        }
        Ok(Some(Message { head, body }))
    }

    fn write(&self, mut to: &TcpStream, bytes: usize) -> io::Result<()> {
        let mut all = Vec::with_capacity(self.head.len() + 2 + bytes);
        all.extend_from_slice(self.head.as_bytes());
        all.extend_from_slice(b"\r\n");
        all.extend_from_slice(&self.body[..bytes]);
        to.write_all(&all)
    }

    fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn answer(status: u16, body: &str) -> Message {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} So\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n");
        Message { head, body: body.as_bytes().to_vec() }
    }
}

/// Passes a request on, on a connection of its own.
fn ask(shared: &Shared, request: &Message) -> io::Result<Message> {
    let server = TcpStream::connect(&shared.server)?;
    request.write(&server, request.body.len())?;
    let answer = Message::read(&mut BufReader::new(&server), Some(request.method()))?;
    answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn serve(client: &TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut from = BufReader::new(client);
    while let Some(request) = Message::read(&mut from, None)? {
        let met = lock(&shared.trouble).filter(|(_, percent)| lock(&shared.draw).percent(*percent));
        let reads = request.method() == "GET";
        let whole = |answer: &Message| answer.write(client, answer.body.len());
        let cut = || client.shutdown(Shutdown::Both);
        let Some((trouble, _)) = met else {
            let answer = ask(shared, &request)?;
            if reads {
                lock(&shared.first).entry(request.path().to_owned()).or_insert_with(|| answer.body.clone());
            }
            whole(&answer)?;
            continue;
        };
        shared.met.fetch_add(1, Ordering::Relaxed);
        match trouble {
            Trouble::Refused(status) => {
                whole(&Message::answer(status, "<Error><Code>Trouble</Code></Error>"))?
            }
            Trouble::DoneAndRefused(status) => {
                ask(shared, &request)?;
                whole(&Message::answer(status, "<Error><Code>InternalError</Code></Error>"))?;
            }
            Trouble::CutBefore => return cut(),
            Trouble::CutAfter => {
                ask(shared, &request)?;
                return cut();
            }
            Trouble::HalfRequest => {
                let server = TcpStream::connect(&shared.server)?;
                request.write(&server, request.body.len() / 2)?;
                server.shutdown(Shutdown::Both)?;
                return cut();
            }
            Trouble::HalfAnswer => {
                let answer = ask(shared, &request)?;
                answer.write(client, answer.body.len() / 2)?;
                return cut();
            }
            Trouble::Flipped => {
                let mut answer = ask(shared, &request)?;
                if reads && !answer.body.is_empty() {
                    let at = lock(&shared.draw).below(8 * answer.body.len() as u64);
                    answer.body[(at / 8) as usize] ^= 1 << (at % 8);
                }
                whole(&answer)?;
            }
            Trouble::Stale => {
                let answer = ask(shared, &request)?;
                let first = lock(&shared.first).get(request.path()).cloned();
                match first.filter(|_| reads && answer.head.contains(" 200 ")) {
                    // With the tag that belongs to the new bytes: the worst that a cache can do.
                    Some(body) => {
                        let lines = answer
                            .head
                            .lines()
                            .filter(|line| !line.to_lowercase().starts_with("content-length"));
                        let head = lines.fold(String::new(), |head, line| head + line + "\r\n");
                        let head = format!("{head}Content-Length: {}\r\n", body.len());
                        whole(&Message { head, body })?;
                    }
                    None => whole(&answer)?,
                }
            }
            Trouble::Gone if reads => whole(&Message::answer(404, "<Error><Code>NoSuchKey</Code></Error>"))?,
            Trouble::Garbage if reads => {
                whole(&Message::answer(200, "<html>Please log in to the network</html>"))?
            }
            Trouble::Gone | Trouble::Garbage => whole(&ask(shared, &request)?)?,
            Trouble::Twice => {
                ask(shared, &request)?;
                whole(&ask(shared, &request)?)?;
            }
            Trouble::Slow => {
                let answer = ask(shared, &request)?;
                thread::sleep(SLOW);
                whole(&answer)?;
            }
        }
    }
    Ok(())
}
