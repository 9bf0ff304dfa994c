//! From a URL and options to a store.
//!
//! ```text
//! s3://bucket/prefix        gs://bucket/prefix        az://container/prefix     (features aws, gcp, azure)
//! https://…                 what object_store makes of it (feature http for WebDAV)
//! file:///folder            memory:///prefix
//! ```
//! The usual environment variables apply (`AWS_…`, `GOOGLE_…`, `AZURE_…`), as far as the caller hands them in; options
//! go over them and have the same names, with or without the first word. An option that the store does not know is an
//! error, a variable is not. Credentials in a URL are refused: URLs end up in logs.

use super::error::ArchiveError;
use super::folder::Folder;
use super::remote::Remote;
use super::store::Store;
use crate::sync::Arc;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreScheme};
use url::Url;

/// Gives a builder the caller's environment and options.
#[cfg(feature = "_web")]
macro_rules! configured {
    ($location:expr, $builder:expr, $first_word:literal) => {{
        provide_tls();
        let mut builder = $builder;
        for (name, value) in &$location.environment {
            if name.starts_with($first_word)
                && let Ok(key) = name.to_ascii_lowercase().parse()
            {
                builder = builder.with_config(key, value);
            }
        }
        for (name, value) in &$location.options {
            match name.to_ascii_lowercase().parse() {
                Ok(key) => builder = builder.with_config(key, value),
                Err(_) => {
                    return Err($location.bad(format!("it has no option {name}")));
                }
            }
        }
        builder
    }};
}

/// Where an archive is, and what it takes to get there.
#[derive(Clone)]
pub struct Location {
    url: String,
    options: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.options.iter().map(|(name, _)| name).collect();
        f.debug_struct("Location").field("url", &self.url).field("options", &names).finish_non_exhaustive()
    }
}

impl Location {
    /// At `url`, without options and without an environment.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), options: Vec::new(), environment: Vec::new() }
    }

    /// Adds an option of the store, such as `region` or `endpoint`.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((name.into(), value.into()));
        self
    }

    /// Adds environment variables: usually `std::env::vars()`. Those that are not the store's are passed over.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Makes the store; sends nothing.
    ///
    /// # Errors
    /// [`ArchiveError::Location`] for what cannot be understood, and for stores that this build does not have.
    pub fn open(&self) -> Result<Arc<dyn Store>, ArchiveError> {
        let url = Url::parse(&self.url).map_err(|error| self.bad(error.to_string()))?;
        // Of Azure's URLs, whose schemes are those with an a, the user is the container.
        if url.password().is_some() || !url.username().is_empty() && !url.scheme().starts_with('a') {
            return Err(
                self.bad("credentials in a URL end up in logs: use options or the environment".to_owned())
            );
        }
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| self.bad("it names no local folder".to_owned()))?;
            self.no_options()?;
            return Ok(Arc::new(Folder::new(path)));
        }
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|error| self.bad(error.to_string()))?;
        let store = self.build(&scheme, &url)?;
        Ok(Arc::new(Remote::new(store, self.url_shown(), prefix.as_ref())?))
    }

    /// The URL as far as it may stand in a message.
    fn url_shown(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        match url.split_once("://") {
            Some((scheme, rest)) => {
                let host_end = rest.find('/').unwrap_or(rest.len());
                let (host, path) = rest.split_at(host_end);
                let host = match host.rsplit_once('@') {
                    Some((user, host)) if user.contains(':') => host,
                    _ => host,
                };
                format!("{scheme}://{host}{path}")
            }
            None => url.to_owned(),
        }
    }

    fn bad(&self, reason: String) -> ArchiveError {
        ArchiveError::Location { url: self.url_shown(), reason }
    }

    fn no_options(&self) -> Result<(), ArchiveError> {
        match self.options.first() {
            Some((name, _)) => Err(self.bad(format!("it has no option {name}"))),
            None => Ok(()),
        }
    }

    #[cfg_attr(not(feature = "_web"), expect(unused_variables, reason = "memory needs no URL"))]
    fn build(&self, scheme: &ObjectStoreScheme, url: &Url) -> Result<Arc<dyn ObjectStore>, ArchiveError> {
        match scheme {
            ObjectStoreScheme::Memory => {
                self.no_options()?;
                Ok(Arc::new(InMemory::new()))
            }
            #[cfg(feature = "aws")]
            ObjectStoreScheme::AmazonS3 => {
                let builder = object_store::aws::AmazonS3Builder::new().with_url(url.as_str());
                let built = configured!(self, builder, "AWS_").with_retry(once()).build();
                Ok(Arc::new(built.map_err(|error| self.bad(error.to_string()))?))
            }
            #[cfg(feature = "gcp")]
            ObjectStoreScheme::GoogleCloudStorage => {
                let builder = object_store::gcp::GoogleCloudStorageBuilder::new().with_url(url.as_str());
                let built = configured!(self, builder, "GOOGLE_").with_retry(once()).build();
                Ok(Arc::new(built.map_err(|error| self.bad(error.to_string()))?))
            }
            #[cfg(feature = "azure")]
            ObjectStoreScheme::MicrosoftAzure => {
                let builder = object_store::azure::MicrosoftAzureBuilder::new().with_url(url.as_str());
                let built = configured!(self, builder, "AZURE_").with_retry(once()).build();
                Ok(Arc::new(built.map_err(|error| self.bad(error.to_string()))?))
            }
            #[cfg(feature = "http")]
            ObjectStoreScheme::Http => {
                let base = &url[..url::Position::BeforePath];
                let builder = object_store::http::HttpBuilder::new().with_url(base);
                let built = configured!(self, builder, "HTTP_STORE_").with_retry(once()).build();
                Ok(Arc::new(built.map_err(|error| self.bad(error.to_string()))?))
            }
            other => {
                let reason = format!("this build has no {other:?} store (a feature of lineal-snapshot)");
                Err(self.bad(reason))
            }
        }
    }
}

/// One attempt for each request: the client knows what to ask before it tries again.
#[cfg(feature = "_web")]
fn once() -> object_store::RetryConfig {
    object_store::RetryConfig { max_retries: 0, ..object_store::RetryConfig::default() }
}

/// Makes ring the TLS provider of this process, unless it has one. Opening a [`Location`] does it.
#[cfg(feature = "_web")]
pub fn provide_tls() {
    // Refused where the program has chosen: its choice stands.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
