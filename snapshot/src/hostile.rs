//! For fuzzers: makes the checksums of a pack right again after its bytes were changed, so that what lies behind them is
//! reached. Nothing else uses this.

use crate::entry::{EntryKey, EntryValue, Kind, Place, run_sub_key};
use crate::filter::{LINE_BYTES, PAGE_LINES};
use crate::format::{FRAME_TAIL_BYTES, Footer, PartName, encode_frame, frame_bytes, page_crc, take_part};
use crate::index::{PageCursor, Top};
use crate::wire::Wire;
use lineal_wal::Seq;
use std::ops::Range;

/// Mends the checksums of parts, index, filter, content and footer, as far as the file hangs together: what its last
/// sixteen bytes say of the footer's length decides where that is. Opens the filter, so that what the index says is asked
/// for.
pub fn mend_pack(file: &mut [u8]) {
    let Some(body) = body_range(file) else { return };
    let footer_offset = body.end + FRAME_TAIL_BYTES - frame_bytes(body.len()) as usize * 2;
    put_u64(file, body.start + 89, footer_offset as u64);
    if let Some(footer) = Footer::decode_body(&file[body.clone()]) {
        let (header, salt) = (footer.header(), footer.header().salt());
        file[..64].copy_from_slice(&header.encode(footer_offset as u64));
        mend_index(file, &footer, salt);
        mend_filter(file, &footer, salt);
        let top = range(file, footer.top_offset, footer.top_bytes.into());
        if let Some(top) = top {
            let crc = page_crc(salt, footer.top_offset, &file[top]);
            file[body.start + 117..body.start + 121].copy_from_slice(&crc.to_le_bytes());
        }
        let content = blake3::hash(&file[64..footer_offset]);
        file[body.start + 137..body.start + 169].copy_from_slice(content.as_bytes());
    }
    let frame = encode_frame(&file[body]);
    let (first, second) = file[footer_offset..].split_at_mut(frame.len());
    first.copy_from_slice(&frame);
    second.copy_from_slice(&frame);
}

/// Where the body of the last footer lies, if there is room for what every pack has.
fn body_range(file: &[u8]) -> Option<Range<usize>> {
    let tail = file.len().checked_sub(FRAME_TAIL_BYTES)?;
    let body_bytes = Wire::from(file, tail + 4).u32()? as usize;
    let start = tail.checked_sub(body_bytes)?;
    let rest = 64 + 2 * frame_bytes(0) as usize + 2 * body_bytes;
    (body_bytes >= 177 && file.len() >= rest).then_some(start..tail)
}

fn range(file: &[u8], offset: u64, bytes: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(bytes).ok()?)?;
    (end <= file.len()).then_some(start..end)
}

fn put_u64(file: &mut [u8], at: usize, value: u64) {
    file[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn mend_index(file: &mut [u8], footer: &Footer, salt: u32) {
    let Some(top) = range(file, footer.top_offset, footer.top_bytes.into()) else { return };
    let Some(top) = Top::decode(&file[top], footer.index_pages, footer.filter_offset) else { return };
    for index in 0..top.len() {
        let (offset, bytes) = top.page(index);
        let Some(at) = range(file, offset, bytes.into()) else { continue };
        let page = file[at.clone()].to_vec();
        mend_parts(file, &page, footer);
        let crc = page_crc(salt, offset, &file[at.start + 4..at.end]);
        file[at.start..at.start + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The parts that an index page names, as far as it can be read.
fn mend_parts(file: &mut [u8], page: &[u8], footer: &Footer) {
    let Some(mut cursor) = PageCursor::first(page) else { return };
    while cursor.step(page) == Some(true) {
        let Ok(key) = EntryKey::decode(&cursor.key()) else { continue };
        let EntryValue::Place(place) = cursor.value(page, footer.number) else { continue };
        let inside = place.block_offset >= 64
            && place.file_offset().saturating_add(place.part_bytes.into()) <= footer.filter_offset;
        let Some(at) = range(file, place.file_offset(), place.part_bytes.into()).filter(|_| inside) else {
            continue;
        };
        let mut group = file[at.clone()].to_vec();
        let _ = mend_group(&mut group, &key, &place);
        file[at].copy_from_slice(&group);
    }
}

/// A part and the runs that follow it; `None` where that ends early.
fn mend_group(group: &mut [u8], key: &EntryKey, place: &Place) -> Option<()> {
    let bytes = group.to_vec();
    let mut wire = Wire::new(&bytes);
    let name = PartName { object: &key.object, kind: key.kind, sub_key: &key.sub_key, seq: key.seq };
    let found = take_part(&mut wire, false)?;
    group[..4].copy_from_slice(&found.form.crc(name, found.stored).to_le_bytes());
    let mut expected = place.follow_first_seq.0;
    for _ in 0..place.follow_count {
        let at = wire.at();
        let found = take_part(&mut wire, true)?;
        let seqs = found.follow?;
        let first = expected.checked_add(seqs.gap)?;
        let last = first.checked_add(seqs.span)?;
        let sub_key = run_sub_key(Seq(first));
        let name = PartName { object: &key.object, kind: Kind::Run, sub_key: &sub_key, seq: Seq(last) };
        group[at..at + 4].copy_from_slice(&found.form.crc(name, found.stored).to_le_bytes());
        expected = last.checked_add(1)?;
    }
    Some(())
}

fn mend_filter(file: &mut [u8], footer: &Footer, salt: u32) {
    let mut offset = footer.filter_offset;
    let mut lines = footer.filter_lines;
    while lines > 0 {
        let here = lines.min(PAGE_LINES);
        let bytes = here * LINE_BYTES as u64;
        let Some(at) = range(file, offset, bytes + 4) else { return };
        let (content, crc) = file[at].split_at_mut(bytes as usize);
        content.fill(0xff);
        crc.copy_from_slice(&page_crc(salt, offset, content).to_le_bytes());
        offset += bytes + 4;
        lines -= here;
    }
}
