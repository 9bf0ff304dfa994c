//! Reads and writes of resident objects, without waiting for the disk.

use std::{path::Path, time::Instant};

use lineal::{Engine, Object, Options, Result};

use super::Numbers;
use crate::report::{Figure, Target};

const KEYS: usize = 16;
const BURST: usize = 20_000;

fn objects(engine: &Engine, count: usize) -> Result<Vec<Object>> {
    let namespace = engine.namespace("resident")?;
    let objects: Vec<Object> =
        (0..count).map(|at| namespace.object(&format!("object {at}"))).collect::<Result<_>>()?;
    for object in &objects {
        object
            .transact(|tx| {
                for key in 0..KEYS {
                    tx.put([b'k', key as u8], [7; 100])?;
                }
                Ok(())
            })
            .unconfirmed()?;
    }
    engine.sync()?;
    Ok(objects)
}

/// Nanoseconds of one `get` through `read`, and of one `put` up to the gate.
pub fn measure(dir: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (count, get_max, put_max) in [(100, 100.0, 350.0), (10_000, 300.0, 900.0)] {
        let engine = Options::new().open(dir.join(format!("resident-{count}")))?;
        let objects = objects(&engine, count)?;
        let mut numbers = Numbers::new(count as u64);
        let rounds = 1_000_000;
        let order: Vec<(usize, u8)> =
            (0..rounds).map(|_| (numbers.below(count), numbers.below(KEYS) as u8)).collect();
        let mut gets = Vec::new();
        let mut puts = Vec::new();
        for _ in 0..3 {
            let started = Instant::now();
            for (at, key) in &order {
                let value = objects[*at].read(|view| view.get([b'k', *key])).unconfirmed()?;
                assert!(value.is_some_and(|value| value.len() == 100));
            }
            gets.push(started.elapsed().as_nanos() as f64 / rounds as f64);
            // In bursts that fit the log's buffer: what is measured is a transaction, not the disk.
            let mut nanos = 0.0;
            for burst in order.chunks(BURST) {
                let started = Instant::now();
                for (at, key) in burst {
                    objects[*at].transact(|tx| tx.put([b'k', *key], [9; 100])).unconfirmed()?;
                }
                nanos += started.elapsed().as_nanos() as f64;
                engine.sync()?;
            }
            puts.push(nanos / rounds as f64);
        }
        let tree = btree_floor(count, &order);
        figures.push(Figure {
            what: format!("resident get, 100 bytes, {count} objects × 16 keys"),
            value: median(gets),
            unit: "ns",
            target: Target::AtMost(get_max),
            beside: format!("`BTreeMap` per object {:.0} ns get, {:.0} ns put", tree.0, tree.1),
        });
        figures.push(Figure {
            what: format!("resident put, 100 bytes, up to the gate, {count} objects × 16 keys"),
            value: median(puts),
            unit: "ns",
            target: Target::AtMost(put_max),
            beside: "flushes of the log go on beside it".into(),
        });
        engine.close()?;
    }
    Ok(figures)
}

fn btree_floor(count: usize, order: &[(usize, u8)]) -> (f64, f64) {
    use std::collections::BTreeMap;
    type Bytes = Box<[u8]>;
    let mut maps: Vec<BTreeMap<Bytes, Bytes>> = (0..count)
        .map(|_| {
            (0..KEYS)
                .map(|key| (Box::from([b'k', key as u8].as_slice()), Box::from([7u8; 100].as_slice())))
                .collect()
        })
        .collect();
    let started = Instant::now();
    let mut found = 0;
    for (at, key) in order {
        found += maps[*at].get([b'k', *key].as_slice()).map_or(0, |value| value.to_vec().len());
    }
    assert_eq!(found, order.len() * 100);
    let get = started.elapsed().as_nanos() as f64 / order.len() as f64;
    let started = Instant::now();
    for (at, key) in order {
        maps[*at].insert(Box::from([b'k', *key].as_slice()), Box::from([9u8; 100].as_slice()));
    }
    (get, started.elapsed().as_nanos() as f64 / order.len() as f64)
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
