//! Every target reads its seeds, its corpus and everything that was ever found with it, within bounds of memory and time.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use lineal_fuzz::{TARGETS, Target};

/// Most memory that an input may take beside what was there: 64 MiB, and the largest size that a format lets anybody
/// declare, that of a part of a pack.
const MEMORY_MAX: usize = (64 + 65) << 20;

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn add(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: everything is left to the system's allocator; what is beside it only counts.
#[allow(unsafe_code, reason = "an allocator is unsafe to be one")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<_> = (target.seeds)()
        .into_iter()
        .enumerate()
        .map(|(number, seed)| (format!("seed {number}"), seed))
        .collect();
    for folder in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target.name);
        let Ok(files) = fs::read_dir(folder) else { continue };
        for file in files {
            let path = file.unwrap().path();
            inputs.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    inputs
}

// One test: the count of memory is the whole process's.
#[test]
fn what_was_kept_is_read_within_bounds() {
    for target in TARGETS {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "{} has no seeds", target.name);
        for (name, input) in &inputs {
            let before = NOW.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            println!("{} {name}", target.name);
            (target.run)(input);
            let taken = PEAK.load(Ordering::Relaxed).saturating_sub(before);
            assert!(taken <= MEMORY_MAX, "{} {name}: {} MiB", target.name, taken >> 20);
        }
    }
}
