//! For fuzzers: the catalog's rows and its file, from any bytes. Nothing else uses this.

use lineal_snapshot::{EntryValue, PackNumber, Place};
use lineal_wal::{Disk, sim::SimDisk};

use super::{
    CATALOG_PATH,
    table::{PackRow, PackRows, Row, Table},
};
use crate::{hostile::ENGINE, sync::Arc};

/// A row of the table. One that is read is written and read again as the same.
pub fn row(key: &[u8], value: &[u8]) {
    let Some(row) = Row::decode(key, value) else { return };
    let mut again = Vec::new();
    row.encode_value(&mut again);
    let reread = Row::decode(key, &again).expect("what was written is read");
    assert!(reread == row, "a row changes when it is written again");
}

/// The file of a small catalog.
pub fn catalog_file() -> Vec<u8> {
    let disk = SimDisk::new();
    let table = Table::create(&disk, CATALOG_PATH, ENGINE, 1 << 20).expect("nothing fails");
    let row = |number: u32| {
        let place = Place {
            pack: PackNumber(1),
            block_offset: 64 + 20 * u64::from(number),
            block_bytes: 20,
            part_bytes: 20,
            ..Place::default()
        };
        let key = [&[0, 0, 0, 1][..], &number.to_be_bytes(), &[3; 24]].concat();
        Row { key, value: EntryValue::Place(place), pack: PackNumber(1) }
    };
    let packs = PackRows {
        rows: [(PackNumber(1), PackRow { merged: true, footer_hash: [9; 32] })].into(),
        highest: PackNumber(1),
    };
    table.fill(&mut (0..120).map(|number| Ok(row(number))), &packs).expect("nothing fails");
    drop(table);
    disk.image().remove(CATALOG_PATH).expect("it was made")
}

/// Opens a catalog's file whose bytes may be anything, and reads all of it. Nothing is written: over pages whose checksums are right and
/// whose contents contradict each other redb panics while it commits, and again while that unwinds, which ends the process.
pub fn catalog(disk: &SimDisk, read_only: bool) {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let Ok(table) = Table::open(&*disk, CATALOG_PATH, ENGINE, 1 << 20, read_only) else { return };
    let table = Arc::new(table);
    let _ = table.packs();
    if let Ok(view) = table.view() {
        if let Ok(rows) = view.rows_from(&[]) {
            // A hostile table can lead in circles: it is given up after more rows than any that fits the file.
            let mut count = 0;
            for row in rows {
                count += 1;
                assert!(count < 1 << 20, "a small table has rows without end");
                if row.is_err() {
                    break;
                }
            }
        }
        for key in [&[0, 0, 0, 1, 0, 0, 0, 7][..], &[], &[0xff; 40]] {
            let _ = view.get(key);
        }
    }
}
