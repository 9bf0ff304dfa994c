//! The archive on a real S3 server, over HTTP.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use bytes::Bytes;
use lineal_snapshot::archive::{
    ArchiveError, Claim, Client, Created, Location, Patience, RealPace, Replaced, Runtime, Source, engines,
    probe, take_over,
};
use lineal_tests::s3::S3;
use lineal_wal::{EngineId, Epoch, Lsn, Micros};

const ENGINE: EngineId = EngineId([0xe1; 16]);

/// A client of the store there, one of its own with each call.
fn client(location: &Location) -> Client {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    let random = || DRAWN.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    Client::new(location.open().unwrap(), Arc::new(RealPace::new(Arc::new(random))), Patience::default())
}

fn run<T: Send + 'static>(
    future: impl Future<Output = Result<T, ArchiveError>> + Send + 'static,
) -> Result<T, ArchiveError> {
    Runtime::start().unwrap().run(future)
}

/// Bytes that say where they are, as a pack on disk is read: piece by piece.
#[derive(Debug)]
struct Counted(u64);

impl Source for Counted {
    fn len(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        Ok(bytes.copy_from_slice(&counted(offset..offset + bytes.len() as u64)))
    }
}

fn counted(range: Range<u64>) -> Vec<u8> {
    range.map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_bucket_is_fit_for_an_archive() {
    let Some(s3) = S3::start() else { return };
    let location = s3.location("some/prefix");
    let client = client(&location);
    let again = client.clone();
    run(async move { probe(&client, ENGINE).await }).unwrap();
    assert_eq!(again.traffic().deletes, 1, "it leaves nothing");
    assert_eq!(again.traffic().failures, 0);
}

#[test]
fn conditions_of_puts_hold() {
    let Some(s3) = S3::start() else { return };
    let client = client(&s3.location("puts"));
    let all = async move {
        assert_eq!(client.get("a/b").await?, None);
        let Created::Won(first) = client.create("a/b", "one".into()).await? else {
            panic!("it was not there")
        };
        let found = client.get("a/b").await?.unwrap();
        assert_eq!((found.bytes, found.tag), (Bytes::from("one"), Some(first.clone())));
        let taken = client.create("a/b", "two".into()).await?;
        assert!(matches!(taken, Created::Taken(found) if found.bytes == "one"));
        let Replaced::Won(second) = client.replace("a/b", &first, "three".into()).await? else {
            panic!("nobody else was there");
        };
        assert_ne!(first, second);
        let lost = client.replace("a/b", &first, "four".into()).await?;
        assert!(matches!(lost, Replaced::Lost(Some(found)) if found.bytes == "three"));
        let lost = client.replace("a/c", &second, "five".into()).await?;
        assert!(matches!(lost, Replaced::Lost(None)), "what is not there is not replaced: {lost:?}");
        client.delete("a/b").await?;
        client.delete("a/b").await?;
        assert_eq!(client.get("a/b").await?, None);
        Ok(())
    };
    run(all).unwrap();
}

/// What sixteen threads give back who do the same at once, as far as they won.
fn winners<T: Send>(one: impl Fn(usize) -> Result<Option<T>, ArchiveError> + Sync) -> Vec<T> {
    let (start, one) = (&Barrier::new(16), &one);
    thread::scope(|scope| {
        let attempt = |n| {
            start.wait();
            one(n).unwrap()
        };
        let threads: Vec<_> = (0..16).map(|n| scope.spawn(move || attempt(n))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    })
}

fn read(location: &Location, key: &'static str) -> Bytes {
    let client = client(location);
    run(async move { client.get(key).await }).unwrap().unwrap().bytes
}

#[test]
fn one_of_sixteen_who_create_a_key_wins() {
    let Some(s3) = S3::start() else { return };
    for round in 0..8 {
        let location = s3.location(&format!("round {round}"));
        let won = winners(|n| {
            let client = client(&location);
            run(async move {
                let created = client.create("a/b", format!("writer {n}").into()).await?;
                Ok(matches!(created, Created::Won(_)).then_some(n))
            })
        });
        let [winner] = won[..] else { panic!("these won: {won:?}") };
        assert_eq!(read(&location, "a/b"), format!("writer {winner}"));
    }
}

#[test]
fn one_of_sixteen_who_replace_a_state_wins() {
    let Some(s3) = S3::start() else { return };
    for round in 0..8 {
        let location = s3.location(&format!("round {round}"));
        let first = client(&location);
        let Created::Won(tag) = run(async move { first.create("a/b", "first".into()).await }).unwrap() else {
            panic!("it was not there")
        };
        let won = winners(|n| {
            let (client, tag) = (client(&location), tag.clone());
            run(async move {
                let replaced = client.replace("a/b", &tag, format!("writer {n}").into()).await?;
                Ok(matches!(replaced, Replaced::Won(_)).then_some(n))
            })
        });
        let [winner] = won[..] else { panic!("these won: {won:?}") };
        assert_eq!(read(&location, "a/b"), format!("writer {winner}"));
    }
}

#[test]
fn large_uploads_come_back_whole_and_by_range() {
    let Some(s3) = S3::start() else { return };
    let client = client(&s3.location("packs"));
    let all = async move {
        // None, one put, just above what goes in one piece, several pieces.
        for len in [0, 5, (8 << 20) + 1, 20 << 20] {
            let key = format!("a/packs/{len}");
            client.upload(&key, Arc::new(Counted(len))).await?;
            client.upload(&key, Arc::new(Counted(len))).await?;
            let hash = blake3::hash(&counted(0..len));
            assert_eq!(client.get_verified(&key, len, &hash).await?.len() as u64, len);
            let mut read = blake3::Hasher::new();
            let take = |piece: &[u8]| {
                read.update(piece);
                Ok(())
            };
            client.read_through(&key, len, &hash, take).await?;
            assert_eq!(read.finalize(), hash);
        }
        let (key, len) = ("a/packs/20971520", 20 << 20);
        for range in [0..1, 65_536..131_072, (8 << 20) - 3..(8 << 20) + 3, len - 5..len] {
            let bytes = client.get_range(key, range.clone(), |_| true).await?;
            assert_eq!(bytes, counted(range));
        }
        for beyond in [len - 5..len + 1, len..len + 7, len + 5..len + 9] {
            let error = client.get_range(key, beyond.clone(), |_| true).await.unwrap_err();
            assert!(matches!(error, ArchiveError::Damaged { .. }), "{beyond:?} is not all there: {error}");
        }
        let error = client.get_range("a/packs/none", 0..5, |_| true).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Missing { .. }), "{error}");
        Ok(())
    };
    run(all).unwrap();
}

#[test]
fn an_archive_is_taken_over() {
    let Some(s3) = S3::start() else { return };
    let claim = |holder: &str| Claim {
        engine: ENGINE,
        above: Epoch(0),
        holder: holder.to_owned(),
        now: Micros(0),
        lasts: Micros(3_600_000_000),
        force: true,
    };
    let client = client(&s3.location("a place/with words"));
    let (early, late) = (claim("early"), claim("late"));
    let all = async move {
        let mut writer = take_over(&client, &early, |_, _| Ok(())).await?;
        writer.log.append(&client, Lsn(1), Lsn(2), b"records")?.put(&client).await?;
        let mut seen = Vec::new();
        take_over(&client, &late, |_, chunk| Ok(seen.push(chunk.last))).await?;
        assert_eq!(seen, [Lsn(2)]);
        let held_back = writer.log.append(&client, Lsn(3), Lsn(4), b"too late")?.put(&client).await;
        assert!(matches!(held_back, Err(ArchiveError::Fenced { .. })), "{held_back:?}");
        assert_eq!(engines(&client).await?, [ENGINE]);
        Ok(())
    };
    run(all).unwrap();
}

/// What reading, probing and listing say where none of it can be done.
fn refused(location: &Location) -> [ArchiveError; 3] {
    let client = || client(location);
    let (reader, prober, lister) = (client(), client(), client());
    [
        run(async move { reader.get("a/b").await }).unwrap_err(),
        run(async move { probe(&prober, ENGINE).await }).unwrap_err(),
        run(async move { engines(&lister).await }).unwrap_err(),
    ]
}

#[test]
fn a_missing_bucket_is_named() {
    let Some(s3) = S3::start() else { return };
    let location = Location::new("s3://lineal-no-such-bucket/prefix").environment(s3.environment());
    for error in refused(&location) {
        assert!(matches!(error, ArchiveError::NoBucket { .. }), "{error:?}");
        assert!(error.to_string().contains("lineal-no-such-bucket"), "{error}");
    }
}

#[test]
fn wrong_credentials_are_told_from_nothing_there() {
    let Some(s3) = S3::start_closed() else { return };
    for error in refused(&s3.location("prefix")) {
        assert!(matches!(error, ArchiveError::Denied { .. }), "{error:?}");
        assert!(error.to_string().contains("prefix"), "{error}");
        assert!(!format!("{error:?}").contains("only for tests"), "{error:?}");
    }
}
