//! Objects whose packs are whole and whose parts are not: heads, runs and leaves that lie, under a real engine.

use std::sync::{Arc, OnceLock};

use lineal::ObjectKey;
use lineal_snapshot::{
    BlockCache, EntryKey, EntryValue, FooterInput, Kind, Pack, PackHeader, PackNumber, PackWriter, PartSpec,
    SUB_KEY_BYTES_MAX, WriteOptions, run_sub_key,
};
use lineal_wal::{Disk, Seq, sim::SimDisk};

use super::world::{self, Image};
use crate::input::{Input, Output};

/// One entry of the small engine's pack, with the runs that follow it.
#[derive(Clone)]
struct Entry {
    key: EntryKey,
    /// `None`: an end entry.
    part: Option<Stored>,
}

#[derive(Clone)]
struct Stored {
    end_fence: Option<Vec<u8>>,
    payload: Vec<u8>,
    followers: Vec<(u64, u64, Vec<u8>)>,
}

struct Base {
    image: Image,
    path: String,
    header: PackHeader,
    footer: FooterInput,
    entries: Vec<Entry>,
    objects: Vec<ObjectKey>,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| read_base().expect("nothing is damaged"))
}

fn read_base() -> Result<Base, lineal_snapshot::PackError> {
    let image = world::image();
    // A close may add a small one to what a compaction leaves.
    let packs = image.iter().filter(|(path, _)| path.ends_with(".pack"));
    let (path, _) = packs.max_by_key(|(_, bytes)| bytes.len()).expect("a compaction leaves a pack");
    let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name);
    let number = PackNumber::from_file_name(name).expect("packs have such names");
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::from_image(image));
    let pack = Pack::open(&disk, &BlockCache::new(1 << 20), number)?;
    let mut entries = Vec::new();
    for entry in pack.iter(&[]) {
        let (key, value) = entry?;
        let key = EntryKey::decode(&key).expect("nothing is damaged");
        let part = match value {
            EntryValue::End => None,
            EntryValue::Place(place) => {
                let (own, followers) = pack.read_with_followers(&key, &place)?;
                let follower = |part: &lineal_snapshot::Part| {
                    let first = part.sub_key.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
                    (first, part.seq.0, part.payload.to_vec())
                };
                let followers = followers.iter().map(follower).collect();
                Some(Stored { end_fence: place.end_fence, payload: own.payload.to_vec(), followers })
            }
        };
        entries.push(Entry { key, part });
    }
    let footer = pack.footer();
    let mut objects: Vec<ObjectKey> = entries.iter().map(|entry| entry.key.object).collect();
    objects.dedup();
    let mut kept = image.clone();
    kept.retain(|kept, _| kept != path && kept != "catalog.redb");
    Ok(Base {
        image: kept,
        path: path.clone(),
        header: footer.header(),
        footer: FooterInput {
            first_lsn: footer.first_lsn,
            last_lsn: footer.last_lsn,
            line: footer.line,
            live: footer.live.clone(),
            meta: footer.meta.clone(),
        },
        entries,
        objects,
    })
}

/// Payloads of one kind in the small engine's pack, the runs behind heads too, as far as they are small.
pub(crate) fn payloads(kind: u8) -> Vec<Vec<u8>> {
    let parts = base().entries.iter().filter_map(|entry| Some((entry.key.kind, entry.part.as_ref()?)));
    let mut payloads = Vec::new();
    for (found, part) in parts {
        if found.byte() == kind {
            payloads.push(part.payload.clone());
        }
        if kind == Kind::Run.byte() {
            payloads.extend(part.followers.iter().map(|(_, _, payload)| payload.clone()));
        }
    }
    payloads.retain(|payload| payload.len() < 3_000);
    payloads
}

/// Heads with their seqs, where those are small.
pub(crate) fn heads() -> Vec<(u8, Vec<u8>)> {
    let heads = base().entries.iter().filter(|entry| entry.key.kind == Kind::Head);
    heads
        .filter_map(|entry| Some((u8::try_from(entry.key.seq.0).ok()?, entry.part.as_ref()?.payload.clone())))
        .filter(|(seq, _)| *seq < 0xff)
        .collect()
}

/// What the footer says of the engine.
pub(crate) fn meta() -> Vec<u8> {
    base().footer.meta.clone()
}

/// A list of entries; see [`write`] for how each is spelled. The first byte says whether the pack has the meta of the small
/// engine's, or what comes next.
pub(crate) fn object(bytes: &[u8]) {
    let base = base();
    let mut input = Input::new(bytes);
    let mut footer = base.footer.clone();
    if input.u8() & 1 != 0 {
        footer.meta = input.long().to_vec();
    }
    let mut entries = Vec::new();
    while !input.is_empty() && entries.len() < 96 {
        entries.push(read(&mut input));
    }
    entries.sort_by_cached_key(|entry| entry.key.encode());
    entries.dedup_by_key(|entry| entry.key.encode());
    let disk = SimDisk::new();
    let handle: Arc<dyn Disk> = Arc::new(disk.clone());
    pack(handle, base.header, footer, &entries);
    let mut image = base.image.clone();
    image.extend(disk.image().remove(&base.path).map(|file| (base.path.clone(), file)));
    world::exercise(&world::disk(&image));
}

const END: u8 = 1;
const FENCE: u8 = 2;
const OWN: u8 = 4;

fn read(input: &mut Input<'_>) -> Entry {
    let base = base();
    let flags = input.u8();
    let object = base.objects[usize::from(input.u8()) % base.objects.len()];
    let kind = Kind::from_byte(1 + input.u8() % 4).expect("there are four kinds");
    let sub_key = input.short().to_vec();
    let key = EntryKey { object, kind, sub_key, seq: Seq(input.number()) };
    if flags & END != 0 && kind == Kind::Leaf {
        return Entry { key, part: None };
    }
    let end_fence = (flags & FENCE != 0).then(|| input.short().to_vec());
    let payload = match flags & OWN {
        0 => input.long().to_vec(),
        // As the small engine has it: the rest of what it says can then be reached with few bytes.
        _ => {
            let own = base.entries.iter().find(|entry| entry.key == key);
            own.and_then(|entry| entry.part.as_ref()).map_or(Vec::new(), |part| part.payload.clone())
        }
    };
    let count = if kind == Kind::Head { input.u8() % 8 } else { 0 };
    let followers = (0..count).map(|_| (input.number(), input.number(), input.long().to_vec())).collect();
    Entry { key, part: Some(Stored { end_fence, payload, followers }) }
}

fn write(entry: &Entry, out: &mut Output) {
    let base = base();
    let fence = entry.part.as_ref().and_then(|part| part.end_fence.as_ref());
    let large = entry.part.as_ref().is_some_and(|part| part.payload.len() > 1_500);
    let end = if entry.part.is_none() { END } else { 0 };
    out.u8(end | if fence.is_some() { FENCE } else { 0 } | if large { OWN } else { 0 });
    let object = base.objects.iter().position(|object| *object == entry.key.object);
    out.u8(object.and_then(|object| u8::try_from(object).ok()).expect("there are few objects"));
    out.u8(entry.key.kind.byte() - 1);
    out.short(&entry.key.sub_key);
    out.number(entry.key.seq.0);
    let Some(part) = &entry.part else { return };
    fence.into_iter().for_each(|fence| out.short(fence));
    if !large {
        out.long(&part.payload);
    }
    if entry.key.kind == Kind::Head {
        out.u8(u8::try_from(part.followers.len()).expect("few runs follow a head"));
        for (first, last, payload) in &part.followers {
            out.number(*first);
            out.number(*last);
            out.long(payload);
        }
    }
}

/// Writes a pack of these entries, as far as the writer takes them: it trusts its caller with order and bounds.
fn pack(disk: Arc<dyn Disk>, header: PackHeader, footer: FooterInput, entries: &[Entry]) {
    let written = (|| {
        let mut pack = PackWriter::create(disk, header, WriteOptions::default())?;
        for Entry { key, part } in entries.iter().filter(|entry| entry.key.sub_key.len() <= SUB_KEY_BYTES_MAX)
        {
            let Some(part) = part else {
                pack.end_entry(key.object, &key.sub_key, key.seq)?;
                continue;
            };
            let spec = PartSpec {
                object: key.object,
                kind: key.kind,
                sub_key: &key.sub_key,
                seq: key.seq,
                follows: false,
                end_fence: part.end_fence.as_deref(),
            };
            pack.part(&spec, &part.payload)?;
            let mut before = 0;
            for (first, last, payload) in &part.followers {
                if *first <= before || last < first || *last == u64::MAX {
                    continue;
                }
                before = *last;
                let sub_key = run_sub_key(Seq(*first));
                let (kind, seq) = (Kind::Run, Seq(*last));
                pack.part(
                    &PartSpec { kind, sub_key: &sub_key, seq, follows: true, end_fence: None, ..spec },
                    payload,
                )?;
            }
        }
        pack.finish(footer)
    })();
    written.expect("a simulated disk has room");
}

/// Seeds: the small engine's pack, and for each of its objects its own entries beside those of the system.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let base = base();
    let mut seeds = Vec::new();
    let mut of = |wanted: &dyn Fn(&ObjectKey) -> bool| {
        let mut out = Output(vec![0]);
        base.entries
            .iter()
            .filter(|entry| wanted(&entry.key.object))
            .for_each(|entry| write(entry, &mut out));
        seeds.push(out.0);
    };
    of(&|_| true);
    let system = base.objects[0];
    base.objects.iter().for_each(|object| of(&|found| *found == system || found == object));
    let mut meta = Output(vec![1]);
    meta.long(&base.footer.meta);
    base.entries.iter().filter(|entry| entry.key.object == system).for_each(|entry| write(entry, &mut meta));
    seeds.push(meta.0);
    seeds
}
