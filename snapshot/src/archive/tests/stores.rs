//! Stores that are there: a local folder, and `object_store`'s memory.

use super::*;
use bytes::Bytes;

#[derive(Debug)]
struct Bytes64(u64);

impl Source for Bytes64 {
    fn len(&self) -> u64 {
        self.0
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        for (byte, at) in bytes.iter_mut().zip(offset..) {
            *byte = (at % 251) as u8;
        }
        Ok(())
    }
}

fn real(store: Arc<dyn Store>) -> Client {
    let draw = std::sync::atomic::AtomicU64::new(1);
    let random = move || draw.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed);
    Client::new(store, Arc::new(RealPace::new(Arc::new(random))), Patience::default())
}

/// What every store must do.
fn check(location: &Location) {
    let client = real(location.open().unwrap());
    let runtime = Runtime::start().unwrap();
    let all = async move {
        probe(&client, ENGINE).await?;
        assert_eq!(client.get("a/b").await?, None);
        assert!(matches!(client.create("a/b", Bytes::from("one")).await?, Created::Won(_)));
        assert!(
            matches!(client.create("a/b", Bytes::from("two")).await?, Created::Taken(found) if found.bytes == "one")
        );
        let tag = client.get("a/b").await?.unwrap().tag.unwrap();
        let Replaced::Won(new) = client.replace("a/b", &tag, Bytes::from("three")).await? else {
            panic!("nobody else was there");
        };
        assert!(matches!(client.replace("a/b", &tag, Bytes::from("four")).await?, Replaced::Lost(Some(_))));
        assert!(matches!(client.replace("a/c", &new, Bytes::from("five")).await?, Replaced::Lost(None)));
        assert_eq!(client.get_range("a/b", 1..3, |_| true).await?, "hr");
        let beyond = client.get_range("a/b", 90..99, |_| true).await.unwrap_err();
        assert!(matches!(beyond, ArchiveError::Damaged { .. }), "shorter than it should be: {beyond}");
        for len in [0, 5, (8 << 20) + 1, 20 << 20] {
            let key = format!("a/packs/{len}");
            client.upload(&key, Arc::new(Bytes64(len))).await?;
            client.upload(&key, Arc::new(Bytes64(len))).await?;
            let mut bytes = vec![0; usize::try_from(len).unwrap()];
            Bytes64(len).read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(client.get_verified(&key, len, &blake3::hash(&bytes)).await?, bytes);
        }
        let other = EngineId([0x0b; 16]);
        assert!(!engines(&client).await?.contains(&other));
        client.upload(&format!("{other}/x/y/z"), Arc::new(Bytes64(5))).await?;
        assert!(engines(&client).await?.contains(&other));
        client.delete("a/b").await?;
        client.delete("a/b").await?;
        assert_eq!(client.get("a/b").await?, None);
        let mut writer = take_over(&client, &claim("a", Micros(0)), |_, _| Ok(())).await?;
        writer.log.append(&client, Lsn(1), Lsn(2), b"records")?.put(&client).await?;
        let mut seen = Vec::new();
        take_over(&client, &claim("a", Micros(0)), |_, chunk| {
            seen.push(chunk.last);
            Ok(())
        })
        .await?;
        assert_eq!(seen, [Lsn(2)]);
        Ok(())
    };
    runtime.run(all).unwrap();
}

#[test]
fn memory_is_a_store() {
    check(&Location::new("memory:///some/prefix"));
}

#[test]
fn a_folder_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/made/for it", folder.path().display());
    check(&Location::new(url));
    let made = folder.path().join("made/for it/a/packs");
    let names: Vec<_> = std::fs::read_dir(made).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "no half-written file is left: {names:?}");
}

#[test]
fn an_interrupted_write_to_a_folder_shows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    std::fs::write(folder.path().join("a/b.new"), "what a killed writer left, longer than what comes")
        .unwrap();
    let client = real(Arc::new(Folder::new(folder.path().to_owned())));
    let runtime = Runtime::start().unwrap();
    let found = runtime.run(async move {
        assert_eq!(client.get("a/b").await?, None);
        client.create("a/b", Bytes::from("one")).await?;
        client.get("a/b").await
    });
    assert_eq!(found.unwrap().unwrap().bytes, "one");
}

#[test]
fn a_runtime_runs_from_anywhere_and_ends_what_waits() {
    let runtime = Runtime::start().unwrap();
    let inside = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(inside.block_on(async { runtime.run(async { Ok(1) }) }).unwrap(), 1);

    let runtime = Arc::new(std::sync::Mutex::new(Some(runtime)));
    let (told, wait) = std::sync::mpsc::channel();
    let handle = std::thread::spawn({
        let runtime = runtime.lock().unwrap().take().unwrap();
        move || {
            runtime.spawn(async move {
                told.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            drop(runtime);
        }
    });
    handle.join().unwrap();
    // Whether it began or not, it is gone.
    while wait.recv().is_ok() {}
}

#[test]
fn what_is_no_place_for_an_archive_is_refused_with_the_reason() {
    for (url, reason) in [
        ("no url", "URL"),
        ("ftp://host/path", "ftp"),
        ("s3://key:secret@bucket/prefix", "credentials"),
        ("file://host/path", "local folder"),
    ] {
        let error = Location::new(url).open().unwrap_err();
        assert!(matches!(error, ArchiveError::Location { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = Location::new("memory:///").option("region", "moon").open().unwrap_err();
    assert!(error.to_string().contains("region"), "{error}");
}

#[cfg(feature = "aws")]
#[test]
fn options_of_s3_are_checked_and_its_environment_is_used() {
    let s3 = || Location::new("s3://bucket/some/prefix");
    let error = s3().option("regoin", "eu").open().unwrap_err();
    assert!(error.to_string().contains("regoin"), "{error}");
    let variables = [("AWS_REGION", "eu"), ("AWS_NO_SUCH_THING", "x"), ("HOME", "/")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let store = s3()
        .environment(variables)
        .option("access_key_id", "key")
        .option("secret_access_key", "hush")
        .open()
        .unwrap();
    assert_eq!(store.name(), "s3://bucket/some/prefix");
    assert!(!format!("{:?}", s3().option("secret_access_key", "hush")).contains("hush"));
}
