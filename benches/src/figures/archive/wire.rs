//! An S3 store whose HTTP requests are counted on the wire, each part of an upload too.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use lineal::{
    Error, Result,
    archive::{ArchiveOptions, Store},
};
use lineal_snapshot::archive::{Remote, provide_tls};
use object_store::{
    ClientOptions, RetryConfig,
    aws::AmazonS3Builder,
    client::{
        HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
    },
};
use parking_lot::Mutex;

/// What a request is billed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// PUT and POST, each part of an upload.
    Put,
    /// GET and HEAD.
    Get,
    List,
    Delete,
}

/// One HTTP request that was answered, or failed.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    /// The URL's path.
    pub(super) key: String,
    pub(super) at: Instant,
    /// Until the answer began.
    pub(super) took: Duration,
    /// Bytes of the bodies.
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// The requests of one store so far.
#[derive(Debug, Default)]
pub(super) struct Wire(Mutex<Vec<Request>>);

impl Wire {
    /// A store at `url` of the server that `environment` tells, as [`Location`](lineal::archive::Location) makes it, but
    /// that its requests are counted.
    pub(super) fn connect(
        url: &str,
        prefix: &str,
        environment: &[(String, String)],
    ) -> Result<(Arc<dyn Store>, Arc<Wire>)> {
        let wire = Arc::<Wire>::default();
        provide_tls();
        let mut builder = AmazonS3Builder::new()
            .with_url(url)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_http_connector(Connector(Arc::clone(&wire)));
        for (name, value) in environment {
            let key = name.to_ascii_lowercase().parse().map_err(Error::other)?;
            builder = builder.with_config(key, value);
        }
        let store = Arc::new(builder.build().map_err(Error::other)?);
        Ok((Arc::new(Remote::new(store, url, prefix)?), wire))
    }

    /// How many requests there were: where [`since`](Self::since) begins.
    pub(super) fn mark(&self) -> usize {
        self.0.lock().len()
    }

    /// The requests that were answered after `mark`.
    pub(super) fn since(&self, mark: usize) -> Requests {
        Requests(self.0.lock().get(mark..).unwrap_or_default().to_vec())
    }
}

/// Some requests.
pub(super) struct Requests(pub(super) Vec<Request>);

impl Requests {
    /// How many of a kind.
    pub(super) fn of(&self, kind: Kind) -> usize {
        self.0.iter().filter(|request| request.kind == kind).count()
    }

    pub(super) fn received(&self) -> u64 {
        self.0.iter().map(|request| request.received).sum()
    }

    /// Those whose key has `part` in it.
    pub(super) fn with(&self, part: &str) -> Requests {
        Requests(self.0.iter().filter(|request| request.key.contains(part)).cloned().collect())
    }

    /// How many there are for each thing in the archive.
    pub(super) fn by_key(&self) -> String {
        let things = ["/log/", "/packs/", "/manifest", "/lease"];
        let counts: Vec<usize> = things.iter().map(|thing| self.with(thing).0.len()).collect();
        let other = self.0.len() - counts.iter().sum::<usize>();
        let named = things.iter().zip(counts).filter(|(_, count)| *count > 0);
        let mut words: Vec<String> =
            named.map(|(thing, count)| format!("{} {count}", thing.trim_matches('/'))).collect();
        if other > 0 {
            words.push(format!("other {other}"));
        }
        words.join(", ")
    }
}

/// Archive options of a store that is watched. All of them have the same holder, so that nobody waits for a lease of a
/// process that was killed.
pub(super) fn options(store: Arc<dyn Store>) -> ArchiveOptions {
    ArchiveOptions::store(store).holder(HOLDER)
}

/// See [`options`].
pub(super) const HOLDER: &str = "figures";

#[derive(Debug)]
struct Connector(Arc<Wire>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { inner, wire: Arc::clone(&self.0) }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
    wire: Arc<Wire>,
}

impl HttpService for Service {
    // What `async_trait` makes of an async function.
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = std::result::Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let query = request.uri().query().unwrap_or_default();
            let kind = match request.method().as_str() {
                "DELETE" => Kind::Delete,
                "POST" if query.starts_with("delete") => Kind::Delete,
                "PUT" | "POST" => Kind::Put,
                _ if query.contains("list-type") => Kind::List,
                _ => Kind::Get,
            };
            let (key, at) = (request.uri().path().to_owned(), Instant::now());
            let sent = request.body().content_length() as u64;
            let answer = self.inner.execute(request).await;
            let length = answer.as_ref().ok().and_then(|answer| answer.headers().get("content-length"));
            let received = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
            self.wire.0.lock().push(Request { kind, key, at, took: at.elapsed(), sent, received });
            answer
        })
    }
}
