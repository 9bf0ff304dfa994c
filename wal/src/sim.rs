//! A simulated disk: it forgets what was not synced, runs full, fails on demand, and counts what is asked of it.
//!
//! # Fault model
//!
//! * A write, or a change of length, is durable after a successful sync of its file. At a crash each one that is not may
//!   be kept, lost or torn: torn at a 512-byte boundary, with either end kept, over the old bytes or over zeros. Later
//!   ones may survive earlier ones.
//! * A failed sync dooms what it should have made durable: reads go on to show it, no later sync saves it, and a crash
//!   loses it, as on ext4.
//! * New, removed and renamed names are durable after a sync of their folder. At a crash a prefix of the changes that are
//!   not is kept, per folder.
//! * A failed write has written any part: here its first half.
//! * [`Tears`] ask for more than that: other boundaries, and stale bytes where a write did not arrive.
//! * Space is what files are long, linked or not allocated alike; a file that is unlinked gives it back at once.

use crate::disk::{Disk, DiskFile, DiskLock, OpenMode};
use crate::sync::{Arc, unsplit::Mutex};
use std::collections::BTreeMap;
use std::io;

const TEAR_BYTES: usize = 512;

/// What a crash may do to writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tears {
    /// Writes are torn at multiples of this in their file. 0: none is torn, each is kept or lost.
    pub bytes: usize,
    /// Whether behind a torn write's head there may also be what an earlier use has left on the device: bytes of the
    /// same file from elsewhere, or of nobody.
    pub stale: bool,
    /// Whether no fate is chosen for what would change nothing.
    pub terse: bool,
}

impl Default for Tears {
    /// At sectors, over old bytes and zeros.
    fn default() -> Self {
        Self { bytes: TEAR_BYTES, stale: false, terse: false }
    }
}

/// The disk as it was before an operation.
#[derive(Clone)]
pub struct Frame {
    /// The operation's number.
    pub op: u64,
    /// What was asked for.
    pub kind: OpKind,
    /// Where.
    pub path: String,
    /// The disk; nothing is done to it any more.
    pub disk: SimDisk,
    /// What was taken down with it; see [`SimDisk::film`].
    pub beside: Option<Beside>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}, {:?} {})", self.op, self.kind, self.path)
    }
}

/// Something that belongs to one moment of a disk, like the state of a store beside it.
pub type Beside = Arc<dyn std::any::Any + Send + Sync>;

/// Takes down what is beside the disk, while the disk stands still. It must not use the disk.
pub type LookBeside = Arc<dyn Fn() -> Beside + Send + Sync>;

/// All frames since filming began.
#[derive(Clone, Default)]
struct Film {
    frames: Vec<Frame>,
    look: Option<LookBeside>,
}

impl std::fmt::Debug for Film {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Film").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

/// What is asked of the disk, for [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpKind {
    /// Opening or making a file.
    Open,
    /// Making a folder.
    CreateDir,
    /// Reading a file; not counted as an operation.
    Read,
    /// Writing.
    Write,
    /// `sync_data` and `sync_all`.
    Sync,
    /// Changing a length.
    SetLen,
    /// Allocating.
    Allocate,
    /// Removing a file.
    Remove,
    /// Renaming a file.
    Rename,
    /// Syncing a folder.
    SyncDir,
}

/// A failure that is due. All conditions that are set must hold.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Only the operation of this number; see [`SimDisk::ops`].
    pub at_op: Option<u64>,
    /// Only operations of this kind.
    pub kind: Option<OpKind>,
    /// Only on paths that contain this.
    pub path: Option<String>,
    /// Whether it stays for later operations.
    pub sticky: bool,
    /// The error.
    pub error: io::ErrorKind,
}

impl Fault {
    /// An I/O error at the operation of number `op`.
    #[must_use]
    pub fn at(op: u64) -> Self {
        Self { at_op: Some(op), kind: None, path: None, sticky: false, error: io::ErrorKind::Other }
    }

    /// An I/O error at the next operation of this kind.
    #[must_use]
    pub fn on(kind: OpKind) -> Self {
        Self { at_op: None, kind: Some(kind), path: None, sticky: false, error: io::ErrorKind::Other }
    }

    /// Only on paths that contain `part`.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Now and from then on.
    #[must_use]
    pub fn sticky(mut self) -> Self {
        self.sticky = true;
        self
    }

    /// With this error.
    #[must_use]
    pub fn error(mut self, error: io::ErrorKind) -> Self {
        self.error = error;
        self
    }

    fn is_due(&self, op: u64, kind: OpKind, path: &str) -> bool {
        self.at_op.is_none_or(|at| at == op || (self.sticky && op > at))
            && self.kind.is_none_or(|wanted| wanted == kind)
            && self.path.as_ref().is_none_or(|part| path.contains(part.as_str()))
    }
}

/// A simulated disk. A clone is the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    ambush: Arc<Mutex<Option<Ambush>>>,
}

/// What happens once, just before some read.
struct Ambush {
    path: String,
    act: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Ambush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ambush").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    folders: BTreeMap<String, Folder>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    capacity: Option<u64>,
    ops: u64,
    power_off_at: Option<u64>,
    faults: Vec<Fault>,
    syncs: BTreeMap<String, u64>,
    locks: BTreeMap<String, Locked>,
    film: Option<Film>,
}

#[derive(Clone, Copy, Debug)]
enum Locked {
    Shared(usize),
    Exclusive,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    durable: BTreeMap<String, Node>,
    current: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Folder,
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    durable: Arc<Vec<u8>>,
    view: Arc<Vec<u8>>,
    unsynced: Vec<Unsynced>,
}

#[derive(Clone, Debug)]
struct Unsynced {
    change: Edit,
    doomed: bool,
}

#[derive(Clone, Debug)]
enum Edit {
    Write { offset: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

impl Edit {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(content, *offset, bytes),
            Self::SetLen(len) => content.resize(*len, 0),
        }
    }

    fn changes(&self, content: &[u8]) -> bool {
        match self {
            Self::Write { offset, bytes } => content.get(*offset..offset + bytes.len()) != Some(&bytes[..]),
            Self::SetLen(len) => content.len() != *len,
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl Content {
    fn edit(&mut self, change: Edit) {
        change.apply(Arc::make_mut(&mut self.view));
        self.unsynced.push(Unsynced { change, doomed: false });
    }

    fn sync(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        // Not as a copy of the view: a view that is shared is copied whole by the next write.
        let durable = Arc::make_mut(&mut self.durable);
        self.unsynced.retain(|edit| {
            if !edit.doomed {
                edit.change.apply(durable);
            }
            edit.doomed
        });
    }

    fn crash(&self, tears: Tears, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        let mut after = Arc::clone(&self.durable);
        for edit in self.unsynced.iter().filter(|edit| !edit.doomed) {
            if !tears.terse || edit.change.changes(&after) {
                tear(&edit.change, tears, &mut after, choose);
            }
        }
        Self { durable: Arc::clone(&after), view: after, unsynced: Vec::new() }
    }
}

/// Applies what a crash leaves of one edit.
fn tear(edit: &Edit, tears: Tears, content: &mut Arc<Vec<u8>>, choose: &mut dyn FnMut(usize) -> usize) {
    let Edit::Write { offset, bytes } = edit else {
        if choose(2) == 0 {
            edit.apply(Arc::make_mut(content));
        }
        return;
    };
    let (first_cut, cuts) = match tears.bytes {
        0 => (0, 0),
        grain => {
            let first = grain - offset % grain;
            (first, bytes.len().saturating_sub(first).div_ceil(grain))
        }
    };
    let fate = choose(match (cuts, tears.stale) {
        (0, _) => 2,
        (_, false) => 5,
        (_, true) => 7,
    });
    if fate == 1 {
        return;
    }
    let content = Arc::make_mut(content);
    if fate == 0 {
        return edit.apply(content);
    }
    let cut = first_cut + choose(cuts) * tears.bytes;
    let (head, tail) = bytes.split_at(cut);
    if fate != 3 {
        write(content, *offset, head);
    }
    match fate {
        2 => {}
        3 => write(content, offset + cut, tail),
        4 => write(content, offset + cut, &vec![0; tail.len()]),
        5 => {
            let stale = elsewhere(content, *offset, tail.len());
            write(content, offset + cut, &stale);
        }
        _ => {
            let nobodys: Vec<u8> = (0..tail.len())
                .map(|at| ((at + cut) as u32).wrapping_mul(0x9E37_79B1).to_be_bytes()[0])
                .collect();
            write(content, offset + cut, &nobodys);
        }
    }
}

/// As many bytes as asked for that stand before this place in the file, sector for sector; zeros where there are none.
/// They look like what an earlier use of the file has left.
fn elsewhere(content: &[u8], place: usize, len: usize) -> Vec<u8> {
    let back = len.next_multiple_of(TEAR_BYTES);
    let mut bytes = place.checked_sub(back).map_or_else(Vec::new, |from| content[from..from + len].to_vec());
    bytes.resize(len, 0);
    bytes
}

fn error(kind: io::ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, what.to_owned())
}

fn split(path: &str) -> io::Result<(&str, &str)> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let odd = |part: &str| part == "." || part == ".." || part.contains('/');
    if name.is_empty() || odd(name) || odd(folder) || path.starts_with('/') {
        return Err(error(io::ErrorKind::InvalidInput, "the path leads out of the data directory"));
    }
    Ok((folder, name))
}

impl State {
    /// Counts an operation and lets it fail if that is due.
    fn operate(&mut self, kind: OpKind, path: &str) -> io::Result<()> {
        let op = self.ops;
        if kind != OpKind::Read {
            self.take_frame(kind, path);
            self.ops += 1;
        }
        if self.power_off_at.is_some_and(|at| op >= at) {
            return Err(error(io::ErrorKind::Other, "the power is off"));
        }
        let Some(due) = self.faults.iter().position(|fault| fault.is_due(op, kind, path)) else {
            return Ok(());
        };
        let kind = self.faults[due].error;
        if !self.faults[due].sticky {
            self.faults.remove(due);
        }
        Err(error(kind, "a simulated fault"))
    }

    fn take_frame(&mut self, kind: OpKind, path: &str) {
        let Some(mut film) = self.film.take() else { return };
        let disk = SimDisk::of(self.still());
        let beside = film.look.as_ref().map(|look| look());
        film.frames.push(Frame { op: self.ops, kind, path: path.to_owned(), disk, beside });
        self.film = Some(film);
    }

    /// The files and names, without what is to happen to them.
    fn still(&self) -> State {
        State {
            folders: self.folders.clone(),
            files: self.files.clone(),
            next_file: self.next_file,
            capacity: self.capacity,
            ..State::default()
        }
    }

    fn folder(&mut self, name: &str) -> io::Result<&mut Folder> {
        self.folders.get_mut(name).ok_or_else(|| error(io::ErrorKind::NotFound, "no such folder"))
    }

    fn find(&mut self, path: &str) -> io::Result<Option<Node>> {
        let (folder, name) = split(path)?;
        Ok(self.folder(folder)?.current.get(name).copied())
    }

    fn change(&mut self, folder: &str, change: Change) -> io::Result<()> {
        let folder = self.folder(folder)?;
        change.apply(&mut folder.current);
        folder.pending.push(change);
        Ok(())
    }

    fn content(&mut self, file: u64) -> &mut Content {
        self.files.get_mut(&file).expect("a file that was opened is kept")
    }

    fn used(&self) -> u64 {
        let files = self.folders.values().flat_map(|folder| folder.current.values());
        let len = |node: &Node| match node {
            Node::File(file) => self.files[file].view.len() as u64,
            Node::Folder => 0,
        };
        files.map(len).sum()
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(1 << 50, |capacity| capacity.saturating_sub(self.used()))
    }

    /// Refuses to let the file grow to `end` if there is no room.
    fn grow(&mut self, file: u64, end: usize) -> io::Result<()> {
        let len = self.content(file).view.len();
        if end > len && (end - len) as u64 > self.free() {
            return Err(error(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        Ok(())
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk without limits.
    #[must_use]
    pub fn new() -> Self {
        let mut state = State::default();
        state.folders.insert(String::new(), Folder::default());
        Self::of(state)
    }

    fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)), ambush: Arc::default() }
    }

    /// Limits the disk to this many bytes of files; `None` takes the limit away.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Operations so far, those that failed too. Reads, lookups and locks are not counted.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.state.lock().ops
    }

    /// Lets an operation fail.
    pub fn fail(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Takes back all faults that are still due.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
    }

    /// Does something once, on the reading thread and before it reads, when next a path is read that contains `part`.
    /// So a test lets one thing happen in the middle of another.
    pub fn before_read(&self, part: &str, act: impl FnOnce() + Send + 'static) {
        *self.ambush.lock() = Some(Ambush { path: part.to_owned(), act: Box::new(act) });
    }

    /// From the operation of this number on everything fails, reads too.
    pub fn power_off_at(&self, op: u64) {
        self.state.lock().power_off_at = Some(op);
    }

    /// Changes that a crash may lose.
    #[must_use]
    pub fn unsynced_count(&self) -> usize {
        let state = self.state.lock();
        let files = state.files.values().flat_map(|file| &file.unsynced).filter(|edit| !edit.doomed).count();
        files + state.folders.values().map(|folder| folder.pending.len()).sum::<usize>()
    }

    /// Syncs that were asked for on this path, those that failed too.
    #[must_use]
    pub fn syncs(&self, path: &str) -> u64 {
        self.state.lock().syncs.get(path).copied().unwrap_or(0)
    }

    /// The disk as the next start finds it after a power cut. `choose(n)` picks one of n fates; 0 is always that the
    /// change is kept. This disk is left as it is, so that many crashes can start from it.
    #[must_use]
    pub fn crash(&self, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        self.crash_with(Tears::default(), choose)
    }

    /// As [`crash`](Self::crash), with writes torn as it is said.
    #[must_use]
    pub fn crash_with(&self, tears: Tears, choose: &mut dyn FnMut(usize) -> usize) -> Self {
        let state = self.state.lock();
        let mut after = State { capacity: state.capacity, next_file: state.next_file, ..State::default() };
        for (path, folder) in &state.folders {
            // A folder is kept if its own name is; the root always is, and comes first.
            let known =
                path.is_empty() || after.folders.get("").is_some_and(|root| root.durable.contains_key(path));
            if !known {
                continue;
            }
            let mut names = folder.durable.clone();
            if !folder.pending.is_empty() {
                let lost = choose(folder.pending.len() + 1);
                folder.pending[..folder.pending.len() - lost]
                    .iter()
                    .for_each(|change| change.apply(&mut names));
            }
            after
                .folders
                .insert(path.clone(), Folder { durable: names.clone(), current: names, pending: Vec::new() });
        }
        let kept: Vec<u64> = after
            .folders
            .values()
            .flat_map(|folder| folder.current.values())
            .filter_map(|node| if let Node::File(file) = node { Some(*file) } else { None })
            .collect();
        for file in kept {
            after.files.insert(file, state.files[&file].crash(tears, choose));
        }
        Self::of(after)
    }

    /// The disk as the next start finds it after the process was killed: everything written is there, what was not
    /// synced can still be lost by a later power cut.
    #[must_use]
    pub fn kill(&self) -> Self {
        Self::of(self.state.lock().still())
    }

    /// From now on keeps a copy of the disk from before each operation. So one run shows every moment at which the power
    /// could go. `look` takes down what else belongs to that moment.
    pub fn film(&self, look: Option<LookBeside>) {
        self.state.lock().film = Some(Film { frames: Vec::new(), look });
    }

    /// What was filmed; filming ends, with one more frame of how the disk is now.
    #[must_use]
    pub fn take_film(&self) -> Vec<Frame> {
        let mut state = self.state.lock();
        state.take_frame(OpKind::Read, "");
        state.film.take().map_or_else(Vec::new, |film| film.frames)
    }

    /// All files as a reader sees them, by path, shared with the disk. Equal addresses are equal bytes.
    #[must_use]
    pub fn contents(&self) -> Vec<(String, Arc<Vec<u8>>)> {
        let state = self.state.lock();
        let mut contents = Vec::new();
        for (folder, names) in &state.folders {
            for (name, node) in &names.current {
                if let Node::File(file) = node {
                    let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                    contents.push((path, Arc::clone(&state.files[file].view)));
                }
            }
        }
        contents
    }

    /// Turns one bit of a file over, for good.
    ///
    /// # Panics
    /// If there is no such file or it is too short.
    pub fn flip_bit(&self, path: &str, bit: u64) {
        self.rot(path, |content| content[usize::try_from(bit / 8).expect("in memory")] ^= 1 << (bit % 8));
    }

    /// Cuts a file, for good.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn truncate(&self, path: &str, len: u64) {
        self.rot(path, |content| content.truncate(usize::try_from(len).expect("in memory")));
    }

    fn rot(&self, path: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let Ok(Some(Node::File(file))) = state.find(path) else { panic!("no file {path}") };
        let content = state.content(file);
        change(Arc::make_mut(&mut content.view));
        change(Arc::make_mut(&mut content.durable));
    }

    /// The paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.contents().into_iter().map(|(path, _)| path).collect();
        paths.sort_unstable();
        paths
    }

    /// All files as a reader sees them, by path.
    #[must_use]
    pub fn image(&self) -> BTreeMap<String, Vec<u8>> {
        self.contents().into_iter().map(|(path, bytes)| (path, bytes.to_vec())).collect()
    }

    /// A disk with these files, all durable.
    #[must_use]
    pub fn from_image(image: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::new();
        {
            let mut state = disk.state.lock();
            for (path, bytes) in image {
                let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
                let node = Node::File(state.next_file);
                let bytes = Arc::new(bytes.clone());
                let content = Content { durable: Arc::clone(&bytes), view: bytes, unsynced: Vec::new() };
                let file = state.next_file;
                state.files.insert(file, content);
                state.next_file += 1;
                if !folder.is_empty() {
                    let root = state.folders.get_mut("").expect("there is always a root");
                    root.durable.insert(folder.to_owned(), Node::Folder);
                    root.current.insert(folder.to_owned(), Node::Folder);
                }
                let folder = state.folders.entry(folder.to_owned()).or_default();
                folder.durable.insert(name.to_owned(), node);
                folder.current.insert(name.to_owned(), node);
            }
        }
        disk
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let (folder, name) = split(path)?;
        let mut state = self.state.lock();
        let found = state.find(path)?;
        let file = match (found, mode) {
            (Some(Node::Folder), _) => return Err(error(io::ErrorKind::InvalidInput, "not a plain file")),
            (Some(Node::File(_)), OpenMode::CreateNew) => {
                return Err(error(io::ErrorKind::AlreadyExists, "the file exists"));
            }
            (Some(Node::File(file)), _) => file,
            (None, OpenMode::Read | OpenMode::ReadWrite) => {
                return Err(error(io::ErrorKind::NotFound, "no such file"));
            }
            (None, OpenMode::Create | OpenMode::CreateNew) => {
                state.operate(OpKind::Open, path)?;
                let file = state.next_file;
                state.next_file += 1;
                state.files.insert(file, Content::default());
                state.change(folder, Change::Link(name.to_owned(), Node::File(file)))?;
                file
            }
        };
        if state.power_off_at.is_some_and(|at| state.ops >= at) {
            return Err(error(io::ErrorKind::Other, "the power is off"));
        }
        Ok(Box::new(SimFile {
            disk: self.clone(),
            file,
            path: path.to_owned(),
            writable: mode != OpenMode::Read,
        }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        let (parent, name) = split(path)?;
        let mut state = self.state.lock();
        match state.find(path)? {
            Some(Node::Folder) => return Ok(()),
            Some(Node::File(_)) => return Err(error(io::ErrorKind::AlreadyExists, "a file has the name")),
            None => {}
        }
        state.operate(OpKind::CreateDir, path)?;
        state.change(parent, Change::Link(name.to_owned(), Node::Folder))?;
        state.folders.insert(path.to_owned(), Folder::default());
        Ok(())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.operate(OpKind::Read, dir)?;
        let names = state.folder(dir)?.current.iter();
        Ok(names.filter(|(_, node)| matches!(node, Node::File(_))).map(|(name, _)| name.clone()).collect())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let mut state = self.state.lock();
        state.operate(OpKind::Read, path)?;
        if path.is_empty() {
            return Ok(true);
        }
        Ok(state.find(path).is_ok_and(|found| found.is_some()))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let mut state = self.state.lock();
        let Some(Node::File(_)) = state.find(path)? else {
            return Err(error(io::ErrorKind::NotFound, "no such file"));
        };
        state.operate(OpKind::Remove, path)?;
        state.change(folder, Change::Unlink(name.to_owned()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (folder, from_name) = split(from)?;
        let (other, to_name) = split(to)?;
        if folder != other {
            return Err(error(io::ErrorKind::InvalidInput, "a rename stays in its folder"));
        }
        let mut state = self.state.lock();
        if state.find(from)?.is_none() {
            return Err(error(io::ErrorKind::NotFound, "no such file"));
        }
        state.operate(OpKind::Rename, from)?;
        state.change(folder, Change::Rename(from_name.to_owned(), to_name.to_owned()))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        *state.syncs.entry(dir.to_owned()).or_default() += 1;
        state.operate(OpKind::SyncDir, dir)?;
        let folder = state.folder(dir)?;
        folder.pending.clear();
        folder.durable = folder.current.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().free())
    }

    fn lock(&self, path: &str, exclusive: bool) -> io::Result<Box<dyn DiskLock>> {
        let mode = if exclusive { OpenMode::Create } else { OpenMode::Read };
        drop(self.open(path, mode)?);
        let mut state = self.state.lock();
        let now = match (state.locks.get(path), exclusive) {
            (None, true) => Locked::Exclusive,
            (None, false) => Locked::Shared(1),
            (Some(Locked::Shared(holders)), false) => Locked::Shared(holders + 1),
            _ => return Err(error(io::ErrorKind::WouldBlock, "somebody holds the lock")),
        };
        state.locks.insert(path.to_owned(), now);
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: String,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        match state.locks.remove(&self.path) {
            Some(Locked::Shared(holders)) if holders > 1 => {
                state.locks.insert(self.path.clone(), Locked::Shared(holders - 1));
            }
            _ => {}
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: u64,
    path: String,
    writable: bool,
}

impl SimFile {
    fn refuse_read_only(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(error(io::ErrorKind::PermissionDenied, "opened for reading")) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        *state.syncs.entry(self.path.clone()).or_default() += 1;
        // A sync that the power cut ends has done any part of its work; only one that reports a failure dooms.
        let cut = state.power_off_at.is_some_and(|at| state.ops >= at);
        let outcome = state.operate(OpKind::Sync, &self.path);
        let content = state.content(self.file);
        match outcome {
            Ok(()) => content.sync(),
            Err(_) if cut => {}
            Err(_) => content.unsynced.iter_mut().for_each(|edit| edit.doomed = true),
        }
        outcome
    }
}

impl DiskFile for SimFile {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let sprung = {
            let mut ambush = self.disk.ambush.lock();
            ambush.take_if(|ambush| self.path.contains(&ambush.path))
        };
        if let Some(ambush) = sprung {
            (ambush.act)();
        }
        let mut state = self.disk.state.lock();
        state.operate(OpKind::Read, &self.path)?;
        let content = &state.content(self.file).view;
        let start = usize::try_from(offset).expect("in memory");
        match content.get(start..start + bytes.len()) {
            Some(found) => bytes.copy_from_slice(found),
            None => return Err(error(io::ErrorKind::UnexpectedEof, "the file ends before")),
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.refuse_read_only()?;
        let mut state = self.disk.state.lock();
        let offset = usize::try_from(offset).expect("in memory");
        let cut = state.power_off_at.is_some_and(|at| state.ops >= at);
        let fault = state.operate(OpKind::Write, &self.path);
        if cut {
            return fault;
        }
        state.grow(self.file, offset + bytes.len())?;
        let written = if fault.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        state.content(self.file).edit(Edit::Write { offset, bytes: written.into() });
        fault
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().content(self.file).view.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.refuse_read_only()?;
        let mut state = self.disk.state.lock();
        state.operate(OpKind::SetLen, &self.path)?;
        let len = usize::try_from(len).expect("in memory");
        state.grow(self.file, len)?;
        state.content(self.file).edit(Edit::SetLen(len));
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.refuse_read_only()?;
        let mut state = self.disk.state.lock();
        state.operate(OpKind::Allocate, &self.path)?;
        let len = usize::try_from(len).expect("in memory");
        state.grow(self.file, len)?;
        if len > state.content(self.file).view.len() {
            state.content(self.file).edit(Edit::SetLen(len));
        }
        Ok(())
    }

    fn start_writeback(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
