//! The file system that SQLite sees: one database file per connection, which is the pages of an object, and temporary
//! files, which are memory. There is no other file, whatever a statement names.
//!
//! All `unsafe` of the engine that C calls is here. SQLite's rules for these callbacks are in its `sqlite3.h` at
//! `sqlite3_vfs` and `sqlite3_io_methods`: it hands `xOpen` a block of `szOsFile` bytes that is ours until `xClose`, calls
//! a file's methods only between the two, and never two of one connection at once.
#![allow(unsafe_code, reason = "SQLite calls back through C")]

use std::{
    cell::Cell,
    ffi::{CStr, c_char, c_int, c_void},
    ptr::{NonNull, null_mut},
    slice,
    sync::OnceLock,
};

use rusqlite::ffi;

use super::port::Port;
use crate::{Result, sql::error::SqlError};

/// The name that connections are opened with.
pub(super) const NAME: &CStr = c"lineal";

/// The longest path, in bytes. Ours are made up, and short.
const PATH_BYTES_MAX: usize = 64;

thread_local! {
    /// The port of the connection that this thread is opening.
    static OPENING: Cell<Option<NonNull<Port>>> = const { Cell::new(None) };
}

/// Tells `xOpen` which port the connection that `f` opens belongs to. SQLite opens the main file within
/// `sqlite3_open_v2`, on the same thread.
pub(super) fn opening<R>(port: &Port, f: impl FnOnce() -> R) -> R {
    struct Leave(Option<NonNull<Port>>);
    impl Drop for Leave {
        fn drop(&mut self) {
            OPENING.set(self.0);
        }
    }
    let _leave = Leave(OPENING.replace(Some(NonNull::from(port))));
    f()
}

/// Makes the file system known to SQLite, once per process. It holds no state: which object is behind a file, the file
/// itself knows.
pub(super) fn register() -> Result<()> {
    static OUTCOME: OnceLock<c_int> = OnceLock::new();
    let code = *OUTCOME.get_or_init(|| {
        let vfs = Box::leak(Box::new(vfs()));
        // SAFETY: the structure is complete, lives for ever, and nothing else writes to it.
        unsafe { ffi::sqlite3_vfs_register(vfs, 0) }
    });
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(SqlError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).into())
}

#[repr(C)]
struct MainFile {
    base: ffi::sqlite3_file,
    port: *const Port,
}

#[repr(C)]
struct TempFile {
    base: ffi::sqlite3_file,
    /// Owned; made by `xOpen`, taken by `xClose`.
    temp: *mut Temp,
}

/// A temporary file: what a sort or a materialised subquery spills.
struct Temp {
    bytes: Vec<u8>,
    port: *const Port,
}

fn vfs() -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<MainFile>().max(size_of::<TempFile>()) as c_int,
        mxPathname: PATH_BYTES_MAX as c_int,
        pNext: null_mut(),
        zName: NAME.as_ptr(),
        pAppData: null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: Some(no_library),
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_millis),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

static MAIN: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    xClose: Some(main_close),
    xRead: Some(main_read),
    xWrite: Some(main_write),
    xTruncate: Some(main_truncate),
    xFileSize: Some(main_size),
    ..METHODS
};

static TEMP: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    xClose: Some(temp_close),
    xRead: Some(temp_read),
    xWrite: Some(temp_write),
    xTruncate: Some(temp_truncate),
    xFileSize: Some(temp_size),
    ..METHODS
};

/// What both kinds of file share. Nothing is locked, because a turn is exclusive; nothing is synced, because the log is.
const METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: None,
    xRead: None,
    xWrite: None,
    xTruncate: None,
    xSync: Some(sync),
    xFileSize: None,
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    _name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `file` is a block of `szOsFile` bytes; without methods SQLite does not close what failed to open.
    unsafe { (*file).pMethods = std::ptr::null() };
    let is_temporary = flags
        & (ffi::SQLITE_OPEN_TEMP_DB
            | ffi::SQLITE_OPEN_TRANSIENT_DB
            | ffi::SQLITE_OPEN_SUBJOURNAL
            | ffi::SQLITE_OPEN_TEMP_JOURNAL)
        != 0;
    let opened = if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 {
        OPENING.take().map(|port| {
            let main = MainFile { base: ffi::sqlite3_file { pMethods: &MAIN }, port: port.as_ptr() };
            // SAFETY: the block is large enough, and aligned as SQLite's allocator aligns.
            unsafe { file.cast::<MainFile>().write(main) };
        })
    } else if is_temporary {
        Port::current(|port| {
            port.map(|port| {
                let temp = Box::into_raw(Box::new(Temp { bytes: Vec::new(), port }));
                let temp = TempFile { base: ffi::sqlite3_file { pMethods: &TEMP }, temp };
                // SAFETY: as above.
                unsafe { file.cast::<TempFile>().write(temp) };
            })
        })
    } else {
        None
    };
    if opened.is_none() {
        return ffi::SQLITE_CANTOPEN;
    }
    if !out_flags.is_null() {
        // SAFETY: SQLite gives a place for it, or null.
        unsafe { *out_flags = flags };
    }
    ffi::SQLITE_OK
}

/// The port behind an open main file.
///
/// # Safety
/// `file` is a main file between `xOpen` and `xClose`. The connection's owner keeps the port for longer than that.
unsafe fn port_of<'p>(file: *mut ffi::sqlite3_file) -> &'p Port {
    // SAFETY: the caller's word.
    unsafe { &*(*file.cast::<MainFile>()).port }
}

/// The temporary file behind `file`.
///
/// # Safety
/// `file` is a temporary file between `xOpen` and `xClose`, and no other reference to it is alive.
unsafe fn temp_of<'t>(file: *mut ffi::sqlite3_file) -> &'t mut Temp {
    // SAFETY: the caller's word.
    unsafe { &mut *(*file.cast::<TempFile>()).temp }
}

unsafe extern "C" fn main_close(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn main_read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: called between open and close; `to` has room for `count` bytes.
    let (port, to) = unsafe { (port_of(file), slice::from_raw_parts_mut(to.cast::<u8>(), count as usize)) };
    port.guard(ffi::SQLITE_IOERR_READ, || {
        let whole = port.read(offset as u64, to)?;
        Ok(if whole { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ })
    })
}

unsafe extern "C" fn main_write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: called between open and close; `from` has `count` bytes.
    let (port, from) = unsafe { (port_of(file), slice::from_raw_parts(from.cast::<u8>(), count as usize)) };
    port.guard(ffi::SQLITE_IOERR_WRITE, || {
        port.write(offset as u64, from)?;
        Ok(ffi::SQLITE_OK)
    })
}

unsafe extern "C" fn main_truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: called between open and close.
    let port = unsafe { port_of(file) };
    port.guard(ffi::SQLITE_IOERR_TRUNCATE, || {
        port.truncate(size as u64)?;
        Ok(ffi::SQLITE_OK)
    })
}

unsafe extern "C" fn main_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: called between open and close; `size` is a place for the result.
    unsafe { *size = i64::from(port_of(file).page_count()) * super::port::PAGE_BYTES as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn temp_close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: `open` made the box, and SQLite closes a file once. The port outlives the connection's files.
    unsafe {
        let temp = Box::from_raw((*file.cast::<TempFile>()).temp);
        (*temp.port).release_temp(temp.bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn temp_read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: called between open and close; `to` has room for `count` bytes.
    let (temp, to) = unsafe { (temp_of(file), slice::from_raw_parts_mut(to.cast::<u8>(), count as usize)) };
    let there = temp.bytes.get(offset as usize..).unwrap_or_default();
    let have = there.len().min(to.len());
    to[..have].copy_from_slice(&there[..have]);
    to[have..].fill(0);
    if have == to.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
}

unsafe extern "C" fn temp_write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: called between open and close; `from` has `count` bytes; the port outlives the connection's files.
    let (temp, from) = unsafe { (temp_of(file), slice::from_raw_parts(from.cast::<u8>(), count as usize)) };
    // SAFETY: as above.
    let port = unsafe { &*temp.port };
    let offset = offset as usize;
    let end = offset.saturating_add(from.len());
    let grown = end.saturating_sub(temp.bytes.len());
    if grown > 0 {
        if !port.charge_temp(grown) {
            return ffi::SQLITE_FULL;
        }
        if temp.bytes.try_reserve(grown).is_err() {
            port.release_temp(grown);
            return ffi::SQLITE_IOERR_NOMEM;
        }
        temp.bytes.resize(end, 0);
    }
    temp.bytes[offset..end].copy_from_slice(from);
    ffi::SQLITE_OK
}

unsafe extern "C" fn temp_truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: called between open and close; the port outlives the connection's files.
    unsafe {
        let temp = temp_of(file);
        let before = temp.bytes.len();
        temp.bytes.truncate(size as usize);
        (*temp.port).release_temp(before - temp.bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn temp_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: called between open and close; `size` is a place for the result.
    unsafe { *size = temp_of(file).bytes.len() as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn sync(_file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(_file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved(_file: *mut ffi::sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: a place for the result.
    unsafe { *reserved = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(_file: *mut ffi::sqlite3_file, _op: c_int, _arg: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    super::port::PAGE_BYTES as c_int
}

unsafe extern "C" fn characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE | ffi::SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char, _sync_dir: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn access(
    _vfs: *mut ffi::sqlite3_vfs,
    _name: *const c_char,
    _flags: c_int,
    exists: *mut c_int,
) -> c_int {
    // SAFETY: a place for the result. No other file exists, no journal either.
    unsafe { *exists = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    to: *mut c_char,
) -> c_int {
    // SAFETY: `name` ends with a zero, `to` has `room` bytes.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > room as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(name.as_ptr().cast(), to, name.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn no_library(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char) -> *mut c_void {
    null_mut()
}

unsafe extern "C" fn randomness(_vfs: *mut ffi::sqlite3_vfs, count: c_int, to: *mut c_char) -> c_int {
    // SAFETY: `to` has room for `count` bytes.
    let to = unsafe { slice::from_raw_parts_mut(to.cast::<u8>(), count as usize) };
    Port::current(|port| {
        for piece in to.chunks_mut(8) {
            let random = port.map_or(0, |port| port.guard(0, || Ok((port.random)())));
            piece.copy_from_slice(&random.to_le_bytes()[..piece.len()]);
        }
    });
    count
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, _micros: c_int) -> c_int {
    0
}

/// The Julian day of the Unix epoch, in milliseconds, as SQLite counts time.
const EPOCH_MILLIS: i64 = 210_866_760_000_000;

unsafe extern "C" fn current_time_millis(_vfs: *mut ffi::sqlite3_vfs, to: *mut ffi::sqlite3_int64) -> c_int {
    let millis = |port: &Port| port.guard(None, || Ok(i64::try_from((port.clock)().0 / 1_000).ok()));
    let Some(millis) = Port::current(|port| port.and_then(millis)) else { return ffi::SQLITE_ERROR };
    // SAFETY: a place for the result.
    unsafe { *to = EPOCH_MILLIS.saturating_add(millis) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, to: *mut f64) -> c_int {
    let mut millis = 0;
    // SAFETY: both places are the function's own or SQLite's.
    unsafe {
        let code = current_time_millis(vfs, &mut millis);
        *to = millis as f64 / 86_400_000.0;
        code
    }
}

unsafe extern "C" fn last_error(_vfs: *mut ffi::sqlite3_vfs, _room: c_int, _to: *mut c_char) -> c_int {
    0
}
