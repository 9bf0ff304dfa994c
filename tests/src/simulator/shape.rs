//! What a simulated run is like: how many objects, how large, what is done how often. Each seed has a shape of its own, so
//! that many runs cover what no single mixture would.

use crate::{
    damage::filler,
    draw::Draw,
    model::{Row, Step, Write},
};

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct Shape {
    objects: u64,
    /// So many of a hundred steps go to the first object.
    hot: u64,
    keys: u64,
    /// The largest value.
    value_bytes: u64,
    /// So many of a hundred commits are of a table.
    sql: u64,
    /// How often, of so many together: commits, transactions over two, deletes, purges, restores, forks, checkpoints,
    /// compactions, hibernations, clean reopenings.
    weights: [u64; 10],
}

impl Shape {
    /// One of many.
    pub fn draw(draw: &mut Draw) -> Shape {
        let rare = |draw: &mut Draw| draw.one_of(&[0, 1, 1, 3, 8]);
        Shape {
            objects: draw.one_of(&[1, 2, 3, 6, 12, 40]),
            hot: draw.one_of(&[0, 0, 50, 90]),
            keys: draw.one_of(&[1, 4, 20, 200]),
            value_bytes: draw.one_of(&[0, 8, 100, 100, 2_000, 20_000, 90_000]),
            sql: draw.one_of(&[0, 0, 5, 40, 100]),
            weights: [
                draw.one_of(&[10, 30, 60]),
                rare(draw),
                rare(draw),
                rare(draw),
                rare(draw),
                rare(draw),
                rare(draw),
                draw.one_of(&[0, 0, 1, 2]),
                rare(draw),
                draw.one_of(&[0, 0, 1]),
            ],
        }
    }

    fn object(&self, draw: &mut Draw) -> usize {
        if draw.percent(self.hot) { 0 } else { draw.below(self.objects) as usize }
    }

    /// What a transaction writes.
    pub fn writes(&self, draw: &mut Draw) -> Vec<Write> {
        let count = draw.one_of(&[1, 1, 1, 2, 5]);
        (0..count).map(|_| self.write(draw)).collect()
    }

    fn write(&self, draw: &mut Draw) -> Write {
        let key = |draw: &mut Draw| format!("key {:03}", draw.below(self.keys));
        match draw.below(100) {
            0..75 => {
                let bytes = draw.below(self.value_bytes + 1) as usize;
                // Half of them compress.
                let name = key(draw);
                if draw.percent(50) {
                    filler(&name, bytes)
                } else {
                    Write::Put(name.into(), vec![bytes as u8; bytes])
                }
            }
            75..90 => Write::Delete(key(draw).into()),
            90..98 => Write::DeleteRange(key(draw).into(), key(draw).into()),
            _ => Write::DeleteAll,
        }
    }

    /// A commit of one object.
    pub fn commit(&self, draw: &mut Draw) -> Step {
        if draw.percent(self.sql) {
            let object = self.object(draw);
            let removes = draw.percent(20);
            let row = |draw: &mut Draw| {
                let number = draw.below(self.keys) as i64;
                if removes {
                    return Row::Remove(number);
                }
                let bytes = draw.below(self.value_bytes.min(20_000) + 1) as usize;
                let mut value = draw.number().to_le_bytes().to_vec();
                value.resize(8 + bytes, bytes as u8);
                Row::Put(number, value)
            };
            let rows = (0..draw.one_of(&[1, 1, 2, 6])).map(|_| row(draw)).collect();
            return Step::Sql(object, rows);
        }
        Step::Commit(self.object(draw), self.writes(draw))
    }

    /// The next thing to do.
    pub fn step(&self, draw: &mut Draw) -> Step {
        let mut at = draw.below(self.weights.iter().sum());
        let mut kind = 0;
        while at >= self.weights[kind] {
            at -= self.weights[kind];
            kind += 1;
        }
        let object = self.object(draw);
        let other = |draw: &mut Draw| {
            (object + 1 + draw.below(self.objects.max(2) - 1) as usize) % self.objects.max(2) as usize
        };
        match kind {
            0 => self.commit(draw),
            1 => Step::Many([object, other(draw)], self.writes(draw)),
            2 => Step::Delete(object),
            3 => Step::Purge(object),
            4 => Step::Restore(object, 1 + draw.below(30)),
            5 => Step::Fork(object, 1 + draw.below(10), self.objects as usize + draw.below(4) as usize),
            6 => Step::Checkpoint,
            7 => Step::Compact,
            8 => Step::Hibernate(object),
            _ => Step::Reopen,
        }
    }
}
