//! A real S3 server over HTTP: moto, which is installed below the target directory the first time it is needed.
//!
//! What is installed stands in `tests/s3/requirements.txt`, how it is started in `tests/s3/serve.py`. It needs `python3`
//! with `venv` and `pip`; without them tests that ask for a server are skipped and say so, unless `LINEAL_REQUIRE_S3` is
//! `1`. With `LINEAL_S3_ENDPOINT=http://host:port` a server that runs already is used, one that lets anybody make buckets.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, UNIX_EPOCH};

use lineal_snapshot::archive::Location;

const REQUIREMENTS: &str = include_str!("../s3/requirements.txt");
const SERVE: &str = include_str!("../s3/serve.py");

/// How long the server may take to answer: a slow machine, many tests at once.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The server that the tests of this process share, as long as one of them runs.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// An empty bucket on an S3 server. The server ends with the last test of the process that uses it.
#[derive(Debug)]
pub struct S3 {
    server: Arc<Server>,
    bucket: String,
}

impl S3 {
    /// A fresh bucket on the server that the tests of this process share.
    ///
    /// `None` where no server can be had; the reason was told on standard error, and the test has nothing to do.
    ///
    /// # Panics
    /// If no server can be had although `LINEAL_REQUIRE_S3` is `1`.
    #[must_use]
    pub fn start() -> Option<S3> {
        Self::on(|| {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(server) = shared.upgrade() {
                return Ok(server);
            }
            let server = Arc::new(match env::var("LINEAL_S3_ENDPOINT") {
                Ok(endpoint) => Server { endpoint, process: None },
                Err(_) => Server::start()?,
            });
            *shared = Arc::downgrade(&server);
            Ok(server)
        })
    }

    /// A fresh bucket on a server of its own that knows no access keys, and turns everybody away from now on.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_closed() -> Option<S3> {
        let s3 = Self::on(|| Ok(Arc::new(Server::start()?)))?;
        // So many requests are let through without a look at their credentials.
        s3.server.ask("POST", "/moto-api/reset-auth", "0").expect("moto knows this request");
        Some(s3)
    }

    fn on(server: impl FnOnce() -> Result<Arc<Server>, String>) -> Option<S3> {
        static BUCKETS: AtomicU64 = AtomicU64::new(0);
        let made = server().and_then(|server| {
            let now = UNIX_EPOCH.elapsed().map_or(0, |time| time.as_micros());
            let number = BUCKETS.fetch_add(1, Ordering::Relaxed);
            let bucket = format!("lineal-{}-{now}-{number}", std::process::id());
            server.ask("PUT", &format!("/{bucket}"), "")?;
            Ok(S3 { server, bucket })
        });
        match made {
            Ok(s3) => Some(s3),
            Err(reason) if env::var("LINEAL_REQUIRE_S3").is_ok_and(|value| value == "1") => {
                panic!("no S3 server, and LINEAL_REQUIRE_S3 asks for one: {reason}")
            }
            Err(reason) => {
                // Not by a macro: what those print is shown only where a test fails. In one piece: others write, too.
                let line = format!("skipped: this test needs an S3 server: {reason}\n");
                let _ = io::stderr().write_all(line.as_bytes());
                None
            }
        }
    }

    /// The bucket's URL, and `path` in it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.bucket)
    }

    /// Where the server listens, as `http://host:port`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.server.endpoint
    }

    /// A place for an archive below `path` of the bucket, reached by way of another address.
    #[must_use]
    pub fn location_by(&self, endpoint: &str, path: &str) -> Location {
        let mut environment = self.environment();
        environment[0].1 = endpoint.to_owned();
        Location::new(self.url(path)).environment(environment)
    }

    /// The environment variables with which [`Location`]s, and commands, reach the server.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT", self.server.endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "lineal"),
            ("AWS_SECRET_ACCESS_KEY", "only for tests"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// A place for an archive below `path` of the bucket.
    #[must_use]
    pub fn location(&self, path: &str) -> Location {
        Location::new(self.url(path)).environment(self.environment())
    }
}

/// A server that answers.
#[derive(Debug)]
struct Server {
    endpoint: String,
    /// None if somebody else started it.
    process: Option<Child>,
}

impl Server {
    /// Installs moto if it is not there yet, and starts it. Says what is missing.
    fn start() -> Result<Server, String> {
        static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        // Once, also where it fails: that may take minutes.
        let python = PYTHON.get_or_init(installed).clone()?;
        let mut process = Command::new(&python)
            .args(["-c", SERVE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", python.display()))?;
        let mut port = String::new();
        let told = process.stdout.take().map(|out| BufReader::new(out).read_line(&mut port));
        // Made first, so that the process ends with it whatever follows.
        let endpoint = format!("http://127.0.0.1:{}", port.trim());
        let server = Server { endpoint, process: Some(process) };
        match told {
            Some(Ok(1..)) => Ok(server),
            _ => Err("moto ended before it told its port".to_owned()),
        }
    }

    /// Sends one request; anything but success is an error.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<(), String> {
        let failed = |reason: &dyn std::fmt::Display| format!("{method} {}{path}: {reason}", self.endpoint);
        let host = self
            .endpoint
            .strip_prefix("http://")
            .map(|host| host.trim_end_matches('/'))
            .ok_or_else(|| failed(&"the endpoint must look like http://host:port"))?;
        let answer = || -> io::Result<String> {
            let mut stream = TcpStream::connect(host)?;
            stream.set_read_timeout(Some(ANSWER_MAX))?;
            let length = body.len();
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = answer().map_err(|error| failed(&error))?;
        match answer.split_whitespace().nth(1) {
            Some(status) if status.starts_with('2') => Ok(()),
            _ => Err(failed(&answer)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It would end with our side of its standard input, too; this does not wait for that.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The interpreter that has moto. Installs it first if nobody did; other processes wait meanwhile.
fn installed() -> Result<PathBuf, String> {
    let place = place()?;
    let failed = |error: io::Error| format!("{}: {error}", place.display());
    fs::create_dir_all(&place).map_err(failed)?;
    let lock = File::create(place.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let (venv, done) = (place.join("venv"), place.join("installed"));
    let python = venv.join("bin/python");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == REQUIREMENTS) {
        return Ok(python);
    }
    // What an interrupted or an older installation left.
    let _ = fs::remove_file(&done);
    let _ = fs::remove_dir_all(&venv);
    let requirements = place.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(failed)?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))?;
    fs::write(&done, REQUIREMENTS).map_err(failed)?;
    Ok(python)
}

/// Where it is installed: in the target directory, which is where tests (`target/debug/deps/…`) and programs
/// (`target/release/…`) run from.
fn place() -> Result<PathBuf, String> {
    let program = env::current_exe().map_err(|error| format!("where is this test? {error}"))?;
    let deps = program.ancestors().find(|folder| folder.ends_with("deps"));
    let target = deps.unwrap_or(&program).ancestors().nth(2);
    let target = target.ok_or_else(|| format!("{} is in no target directory", program.display()))?;
    Ok(Path::join(target, "s3-server"))
}

/// Runs a command to its end; its words are the error.
fn run(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    Err(format!("{name}: {}", String::from_utf8_lossy(&words).trim()))
}
