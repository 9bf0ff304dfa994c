//! Writers on threads, over stores that are one.

use super::*;
use bytes::Bytes;

/// So many threads create one key at once; how many won.
fn winners(open: impl Fn(u64) -> Client + Sync, runtime: bool, key: &str) -> usize {
    let open = &open;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn(move || {
                    let client = open(n);
                    let bytes = Bytes::from(format!("writer {n}"));
                    let key = key.to_owned();
                    let create = async move { client.create(&key, bytes).await };
                    let created =
                        if runtime { Runtime::start().unwrap().run(create) } else { block_on(create) };
                    matches!(created.unwrap(), Created::Won(_))
                })
            })
            .collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    })
}

fn real(store: Arc<dyn Store>) -> Client {
    Client::new(store, Arc::new(RealPace::new(Arc::new(|| 4))), Patience::default())
}

#[test]
fn one_of_many_who_create_a_key_wins() {
    let store = SimStore::new();
    for round in 0..50 {
        store.shake(round, 150);
        assert_eq!(winners(|n| client(&store, n), false, &format!("key {round}")), 1);
    }
}

#[test]
fn one_of_many_who_create_a_file_wins_as_from_many_processes() {
    let folder = tempfile::tempdir().unwrap();
    let open = |_| real(Arc::new(Folder::new(folder.path().join("archive"))));
    for round in 0..5 {
        assert_eq!(winners(open, true, &format!("a/b/{round}")), 1);
    }
}

#[test]
fn takers_at_once_get_epochs_of_their_own_and_one_of_them_writes() {
    for round in 0..20 {
        let store = SimStore::new();
        store.shake(round, 100);
        let mut writers: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4u64)
                .map(|n| {
                    let store = &store;
                    scope.spawn(move || {
                        let client = client(store, n + 10 * round);
                        let forced = Claim { force: true, ..claim("x", Micros(0)) };
                        (block_on(take_over(&client, &forced, |_, _| Ok(()))), client)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut epochs = Vec::new();
        let mut wrote = Vec::new();
        for (taken, client) in &mut writers {
            match taken {
                Ok(writer) => {
                    epochs.push(writer.lease.epoch());
                    if put(client, &mut writer.log, 1).is_ok() {
                        wrote.push(writer.lease.epoch());
                    }
                }
                Err(error) => assert_eq!(error.kind(), ArchiveErrorKind::Fenced, "{error}"),
            }
        }
        epochs.sort_unstable();
        assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(wrote.len() <= 1, "{wrote:?} of {epochs:?} wrote");
        assert_eq!(wrote.last(), epochs.last(), "the newest writes");
    }
}
