use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct OwnedCommit {
    time: u64,
    lsn: u64,
    kind: u8,
    flags: u8,
    ops_digest: Option<[u8; 32]>,
    joint: Option<[u8; 32]>,
    body: Vec<u8>,
}

impl OwnedCommit {
    fn borrow(&self) -> Commit<'_> {
        Commit {
            time: Micros(self.time),
            lsn: Lsn(self.lsn),
            kind: self.kind,
            flags: self.flags,
            ops_digest: self.ops_digest,
            joint: self.joint,
            body: &self.body,
        }
    }
}

fn commit() -> impl Strategy<Value = OwnedCommit> {
    (any::<(u64, u64, u8, u8)>(), any::<(Option<[u8; 32]>, Option<[u8; 32]>)>(), any::<Vec<u8>>()).prop_map(
        |((time, lsn, kind, flags), (ops_digest, joint), body)| OwnedCommit {
            time,
            lsn,
            kind,
            flags,
            ops_digest,
            joint,
            body,
        },
    )
}

fn plain(count: usize) -> Vec<u8> {
    let mut builder = RunBuilder::new(Seq(5), Seq(3));
    for index in 0..count {
        if builder.wants_hash() {
            builder.push_hash_before([index as u8; 32]);
        }
        builder.push(&Commit {
            time: Micros(1_700_000_000_000_000 + index as u64),
            lsn: Lsn(10 + index as u64),
            kind: 1,
            flags: 0,
            ops_digest: None,
            joint: None,
            body: b"body",
        });
    }
    builder.set_hash_after([0xee; 32]);
    builder.finish()
}

fn decode(bytes: Vec<u8>) -> Result<Run, DecodeError> {
    Run::decode(Arc::from(bytes))
}

proptest! {
    #[test]
    fn a_run_reads_back(
        first in 1u64..1 << 60, tail_first: u64, after: Option<[u8; 32]>,
        commits in proptest::collection::vec((commit(), any::<Option<[u8; 32]>>()), 1..40),
    ) {
        let mut builder = RunBuilder::new(Seq(first), Seq(tail_first));
        let mut points = Vec::new();
        for (index, (commit, hash)) in commits.iter().enumerate() {
            if let Some(hash) = hash {
                builder.push_hash_before(*hash);
                points.push(HashPoint { after: Seq(first - 1 + index as u64), hash: *hash });
            }
            builder.push(&commit.borrow());
        }
        if let Some(hash) = after {
            builder.set_hash_after(hash);
        }
        let last = builder.last_seq();
        let run = decode(builder.finish()).unwrap();
        prop_assert_eq!((run.first_seq(), run.last_seq(), run.tail_first()), (Seq(first), last, Seq(tail_first)));
        prop_assert_eq!(run.hash_after_last(), after);
        prop_assert_eq!(run.hash_points(), &points[..]);
        prop_assert_eq!(run.len(), commits.len());
        for (index, (seq, found)) in run.iter().enumerate() {
            prop_assert_eq!(seq.0, first + index as u64);
            prop_assert_eq!(found, commits[index].0.borrow());
            prop_assert_eq!(run.commit(seq), Some(found));
        }
        prop_assert_eq!(run.commit(Seq(first - 1)), None);
        prop_assert_eq!(run.commit(Seq(last.0 + 1)), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
        if let Some(version) = bytes.first_mut() {
            *version = RUN_VERSION;
        }
        let _ = decode(bytes);
    }
}

#[test]
fn the_nearest_hash_is_the_newest_that_is_not_after() {
    let run = decode(plain(70)).unwrap();
    assert_eq!(run.nearest_hash(Seq(4)), None);
    assert_eq!(run.nearest_hash(Seq(35)), None);
    assert_eq!(run.nearest_hash(Seq(36)).unwrap(), HashPoint { after: Seq(36), hash: [32; 32] });
    assert_eq!(run.nearest_hash(Seq(67)).unwrap().after, Seq(36));
    assert_eq!(run.nearest_hash(Seq(68)).unwrap(), HashPoint { after: Seq(68), hash: [64; 32] });
    assert_eq!(run.nearest_hash(Seq(73)).unwrap().after, Seq(68));
    assert_eq!(run.nearest_hash(Seq(74)).unwrap(), HashPoint { after: Seq(74), hash: [0xee; 32] });
    assert_eq!(run.nearest_hash(Seq(u64::MAX)).unwrap().after, Seq(74));
}

#[test]
fn a_run_that_is_cut_or_flipped_anywhere_never_panics() {
    let bytes = plain(34);
    for length in 0..bytes.len() {
        assert!(decode(bytes[..length].to_vec()).is_err(), "{length}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(run) = decode(flipped) {
            assert!(run.iter().count() > 0);
        }
    }
}

#[test]
fn declared_counts_beyond_the_bytes_are_refused() {
    for (count, hashes) in [(u64::from(u32::MAX), 0), (1, u64::MAX), (u64::MAX, 0), (0, 0)] {
        let mut bytes = vec![RUN_VERSION, 1, 0];
        put_varint(&mut bytes, count);
        put_varint(&mut bytes, hashes);
        bytes.extend_from_slice(&[0; 64]);
        assert!(matches!(decode(bytes), Err(DecodeError::Malformed { .. })), "{count} {hashes}");
    }
}

#[test]
fn a_newer_run_is_refused_by_version() {
    let mut bytes = plain(1);
    bytes[0] = 9;
    assert!(matches!(decode(bytes), Err(DecodeError::NewerVersion { found: 9, known: 1, .. })));
}

#[test]
fn a_commit_costs_few_bytes_beside_its_body() {
    let one = plain(2).len();
    let two = plain(3).len();
    assert!(two - one <= 4 + 8, "{}", two - one);
}

#[test]
fn commits_between_two_seqs_are_those_that_the_run_has() {
    let run = decode(plain(10)).unwrap();
    for (from, through) in [(0, 4), (1, 5), (5, 14), (7, 9), (14, u64::MAX), (15, 20), (9, 7), (0, u64::MAX)]
    {
        let found: Vec<_> = run.between(Seq(from), Seq(through)).collect();
        let expected: Vec<_> = run.iter().filter(|(seq, _)| (from..=through).contains(&seq.0)).collect();
        assert_eq!(found, expected, "{from} to {through}");
        let bytes = run.bytes_between(Seq(from), Seq(through));
        let bodies = found.iter().map(|(_, commit)| commit.body.len()).sum::<usize>();
        assert!(bytes >= bodies && bytes <= run.bytes().len(), "{from} to {through}");
        assert_eq!(bytes == 0, found.is_empty(), "{from} to {through}");
    }
}
