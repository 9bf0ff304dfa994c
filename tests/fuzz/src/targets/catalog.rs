//! The catalog's file: what redb makes of pages that it should never have seen.

use std::sync::OnceLock;

use lineal_wal::sim::SimDisk;

use super::world::Image;
use crate::{
    input::{Input, Output},
    mend,
};

const PATH: &str = "catalog.redb";

fn base() -> &'static Vec<u8> {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(lineal::hostile::catalog_file)
}

/// Changes to the file of a small catalog, each a page, an offset in it and bytes. The first byte says whether checksums are
/// mended, whether the file is cut to so many pages, and whether it is opened for reading.
pub(crate) fn catalog(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.u8();
    let mut file = base().clone();
    if mode & 2 != 0 {
        let pages = usize::from(input.u8());
        file.truncate(4_096 + 2 * 8_192 + pages * 4_100);
    }
    while !input.is_empty() {
        let (page, offset) = (usize::from(input.u8()), usize::from(input.u16()));
        let start = if page < 2 { 4_096 + page * 8_192 + 24 } else { 20_480 + (page - 2) * 4_100 };
        mend::put(&mut file, start + offset % 4_100, input.short());
    }
    if mode & 1 != 0 {
        mend::catalog::file(&mut file);
    }
    let disk = SimDisk::from_image(&Image::from([(PATH.to_owned(), file)]));
    disk.set_capacity(Some(4 << 20));
    lineal::hostile::catalog(&disk, mode & 4 != 0);
}

/// Seeds: the file as it is, and with the bytes of its first pages spelled out.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![1], vec![5], vec![0], vec![3, 2]];
    let pages = (base().len() - 20_480) / 4_100;
    for page in 0..(pages + 2).min(8) {
        let start = if page < 2 { 4_096 + page * 8_192 + 24 } else { 20_480 + (page - 2) * 4_100 };
        let mut out = Output(vec![1]);
        for offset in [0usize, 64, 128] {
            out.u8(page as u8);
            out.0.extend_from_slice(&(offset as u16).to_le_bytes());
            out.short(&base()[start + offset..start + offset + 64]);
        }
        seeds.push(out.0);
    }
    seeds
}
