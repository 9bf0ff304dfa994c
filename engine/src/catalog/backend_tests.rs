//! The page file, alone and under redb.

use std::io;

use lineal_wal::{Disk, EngineId, OpenMode, RealDisk};
use redb::StorageBackend;

use super::{
    BODY_OFFSET, PAGE_BYTES, PageDamage, PageFile, SLOT_HEADER_BYTES, SLOT_STRIDE, STORED_BYTES, slot_offset,
};
use crate::catalog::CatalogError;

const ENGINE: EngineId = EngineId([7; 16]);
const PAGE: u64 = PAGE_BYTES as u64;

fn disk() -> (tempfile::TempDir, RealDisk) {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new(folder.path().to_owned());
    (folder, disk)
}

fn create(disk: &dyn Disk) -> PageFile {
    PageFile::create(disk.open("c", OpenMode::CreateNew).unwrap(), "c", ENGINE).unwrap()
}

fn open(disk: &dyn Disk, read_only: bool) -> Result<PageFile, CatalogError> {
    let mode = if read_only { OpenMode::Read } else { OpenMode::ReadWrite };
    PageFile::open(disk.open("c", mode).unwrap(), "c", ENGINE, read_only)
}

fn page(fill: u8) -> Vec<u8> {
    vec![fill; PAGE_BYTES]
}

fn read(file: &PageFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut out = vec![0xEE; len];
    file.read(offset, &mut out).map(|()| out)
}

fn bytes(disk: &dyn Disk) -> Vec<u8> {
    let file = disk.open("c", OpenMode::Read).unwrap();
    let mut all = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut all, 0).unwrap();
    all
}

fn flip(disk: &dyn Disk, offset: u64, bit: u8) {
    let file = disk.open("c", OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset).unwrap();
}

#[test]
fn what_is_written_is_read_whole_in_part_and_across_pages() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    assert_eq!(file.len().unwrap(), 0);
    file.set_len(200 * PAGE).unwrap();
    assert_eq!(file.len().unwrap(), 200 * PAGE);
    assert_eq!(read(&file, 0, PAGE_BYTES).unwrap(), page(0), "page 0 is zero before it is written");
    let data: Vec<u8> = (0..150 * PAGE_BYTES).map(|at| (at / 7) as u8).collect();
    file.write(3 * PAGE, &data).unwrap();
    file.write(0, b"magic").unwrap();
    file.sync_data().unwrap();
    drop(file);
    let file = open(&disk, false).unwrap();
    assert_eq!(file.len().unwrap(), 200 * PAGE);
    assert_eq!(read(&file, 3 * PAGE, data.len()).unwrap(), data);
    assert_eq!(read(&file, 4 * PAGE + 100, 9000).unwrap(), data[PAGE_BYTES + 100..PAGE_BYTES + 9100]);
    assert_eq!(&read(&file, 0, 9).unwrap()[..5], b"magic");
    file.write(4 * PAGE + 5, &[9; 5000]).unwrap();
    assert_eq!(read(&file, 4 * PAGE + 5, 5000).unwrap(), vec![9; 5000]);
    assert_eq!(read(&file, 4 * PAGE, 5).unwrap(), data[PAGE_BYTES..PAGE_BYTES + 5]);
}

#[test]
fn reading_or_writing_beyond_the_end_fails_and_so_does_half_a_page_of_length() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    file.set_len(2 * PAGE).unwrap();
    assert_eq!(read(&file, PAGE, PAGE_BYTES + 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(file.write(2 * PAGE, &[1]).is_err());
    assert!(read(&file, u64::MAX, 1).is_err());
    assert_eq!(file.set_len(100).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_page_that_was_never_written_or_was_cut_off_is_damage_and_not_zeros() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    file.set_len(5 * PAGE).unwrap();
    file.write(4 * PAGE, &page(4)).unwrap();
    assert_eq!(read(&file, 2 * PAGE, PAGE_BYTES).unwrap_err().kind(), io::ErrorKind::InvalidData);
    file.set_len(3 * PAGE).unwrap();
    file.set_len(5 * PAGE).unwrap();
    assert_eq!(read(&file, 4 * PAGE, PAGE_BYTES).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn every_flipped_bit_of_a_page_is_found_and_named() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    file.set_len(3 * PAGE).unwrap();
    file.write(PAGE, &page(1)).unwrap();
    file.write(2 * PAGE, &page(2)).unwrap();
    let start = BODY_OFFSET + STORED_BYTES as u64;
    for at in start..start + STORED_BYTES as u64 {
        let bit = (at % 8) as u8;
        flip(&disk, at, bit);
        let error = read(&file, 2 * PAGE, PAGE_BYTES).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let damage = error.get_ref().unwrap().downcast_ref::<PageDamage>().unwrap();
        assert_eq!((damage.offset, damage.page, damage.path.as_str()), (start, 2, "c"));
        assert_eq!(read(&file, PAGE, PAGE_BYTES).unwrap(), page(1), "its neighbour is not touched");
        flip(&disk, at, bit);
    }
}

#[test]
fn a_page_in_the_place_of_another_is_found() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    file.set_len(3 * PAGE).unwrap();
    file.write(PAGE, &page(1)).unwrap();
    file.write(2 * PAGE, &page(2)).unwrap();
    let raw = disk.open("c", OpenMode::ReadWrite).unwrap();
    let mut stored = vec![0; STORED_BYTES];
    raw.read_exact_at(&mut stored, BODY_OFFSET).unwrap();
    raw.write_all_at(&stored, BODY_OFFSET + STORED_BYTES as u64).unwrap();
    assert_eq!(read(&file, 2 * PAGE, PAGE_BYTES).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn page_0_is_written_beside_its_durable_copy_until_a_sync() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    file.set_len(2 * PAGE).unwrap();
    file.write(0, &page(1)).unwrap();
    file.sync_data().unwrap();
    let durable = bytes(&disk);
    let slot_of = |all: &[u8], slot: u8| {
        let start = usize::try_from(slot_offset(slot)).unwrap();
        let end = start + SLOT_HEADER_BYTES + PAGE_BYTES;
        all[start.min(all.len())..end.min(all.len())].to_vec()
    };
    for fill in [2, 3, 4] {
        file.write(0, &page(fill)).unwrap();
    }
    let now = bytes(&disk);
    let untouched = (0..2).filter(|slot| slot_of(&durable, *slot) == slot_of(&now, *slot)).count();
    assert_eq!(untouched, 1, "three writes went to one slot");
    drop(file);
    // Torn at every half kilobyte, the page is the old one or the new one.
    let torn_slot = (0..2).find(|slot| slot_of(&durable, *slot) != slot_of(&now, *slot)).unwrap();
    let start = usize::try_from(slot_offset(torn_slot)).unwrap();
    for cut in (0..=SLOT_STRIDE as usize).step_by(512) {
        let end = (start + cut).min(now.len());
        let mut torn = durable.clone();
        torn.resize(now.len(), 0);
        torn[start..end].copy_from_slice(&now[start..end]);
        disk.remove("c").unwrap();
        disk.open("c", OpenMode::CreateNew).unwrap().write_all_at(&torn, 0).unwrap();
        let file = open(&disk, false).unwrap();
        let found = read(&file, 0, PAGE_BYTES).unwrap();
        assert_eq!(found, page(if cut > PAGE_BYTES { 4 } else { 1 }), "{cut}");
        assert_eq!(file.len().unwrap(), 2 * PAGE);
    }
}

#[test]
fn a_read_only_file_changes_in_memory_only() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    file.set_len(4 * PAGE).unwrap();
    file.write(0, b"kept").unwrap();
    file.write(PAGE, &page(1)).unwrap();
    file.write(2 * PAGE, &page(2)).unwrap();
    file.sync_data().unwrap();
    drop(file);
    let before = bytes(&disk);
    let file = open(&disk, true).unwrap();
    file.write(0, b"lost").unwrap();
    file.write(PAGE, &page(9)).unwrap();
    file.set_len(2 * PAGE).unwrap();
    file.set_len(9 * PAGE).unwrap();
    file.write(8 * PAGE, &page(8)).unwrap();
    file.sync_data().unwrap();
    assert_eq!(read(&file, 0, 4).unwrap(), b"lost");
    assert_eq!(read(&file, PAGE, PAGE_BYTES).unwrap(), page(9));
    assert_eq!(read(&file, 8 * PAGE, PAGE_BYTES).unwrap(), page(8));
    drop(file);
    assert_eq!(bytes(&disk), before);
    assert_eq!(read(&open(&disk, true).unwrap(), 0, 4).unwrap(), b"kept");
}

#[test]
fn a_header_that_is_foreign_damaged_or_newer_is_refused_by_name() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    file.set_len(PAGE).unwrap();
    drop(file);
    for at in 0..36 {
        flip(&disk, at, 3);
        assert!(matches!(open(&disk, false), Err(CatalogError::CatalogDamaged { offset: 0, .. })), "{at}");
        flip(&disk, at, 3);
    }
    let other = PageFile::open(disk.open("c", OpenMode::Read).unwrap(), "c", EngineId([8; 16]), true);
    assert!(matches!(other, Err(CatalogError::OtherEngine { found: ENGINE, .. })));
    let raw = disk.open("c", OpenMode::ReadWrite).unwrap();
    let mut header = [0u8; 36];
    raw.read_exact_at(&mut header, 0).unwrap();
    header[8] = 2;
    let crc = crc32fast::hash(&header[..32]);
    header[32..].copy_from_slice(&crc.to_le_bytes());
    raw.write_all_at(&header, 0).unwrap();
    assert!(matches!(open(&disk, false), Err(CatalogError::NewerVersion { found: 2, known: 1, .. })));
}

#[test]
fn a_retired_handle_writes_nothing_any_more() {
    let (_folder, disk) = disk();
    let file = create(&disk);
    file.set_len(2 * PAGE).unwrap();
    file.write(PAGE, &page(1)).unwrap();
    file.retired().set();
    let before = bytes(&disk);
    assert!(file.write(PAGE, &page(2)).is_err());
    assert!(file.write(0, b"x").is_err());
    assert!(file.set_len(9 * PAGE).is_err());
    assert!(file.sync_data().is_err());
    assert_eq!(bytes(&disk), before);
    assert_eq!(read(&file, PAGE, PAGE_BYTES).unwrap(), page(1));
}
