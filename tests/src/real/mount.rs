//! Small file systems: ext4 on a loop device, and tmpfs. They are taken away when they are dropped.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

use super::{root, tool};

/// How long a file system may be busy after who used it was killed.
const BUSY_MAX: Duration = Duration::from_secs(20);

fn run(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// An ext4 file system in a file.
#[derive(Debug)]
pub struct Ext4 {
    /// What loop devices are detached before: the folder of image and mount point goes last.
    device: Loop,
    mounted: Option<Mounted>,
    folder: TempDir,
}

#[derive(Debug)]
struct Loop(String);

impl Loop {
    fn over(image: &Path) -> Result<Loop, String> {
        run(Command::new(tool("losetup")?).args(["--find", "--show"]).arg(image)).map(Loop)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("losetup").args(["--detach", &self.0])) {
            eprintln!("{} stays attached: {error}", self.0);
        }
    }
}

#[derive(Debug)]
struct Mounted(PathBuf);

impl Mounted {
    fn take_away(&self) -> io::Result<()> {
        let end = Instant::now() + BUSY_MAX;
        loop {
            match unmount(&self.0, UnmountFlags::empty()) {
                // Who used it was killed, and the last of its calls ends some time.
                Err(rustix::io::Errno::BUSY) if Instant::now() < end => {
                    thread::sleep(Duration::from_millis(1))
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // One that is taken away already is no mount point.
        if unmount(&self.0, UnmountFlags::empty()).is_err() {
            let _ = unmount(&self.0, UnmountFlags::DETACH);
        }
    }
}

impl Ext4 {
    /// A new one of so many MiB, mounted.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn make(mib: u64) -> Result<Ext4, String> {
        root()?;
        let mkfs = tool("mkfs.ext4")?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = folder.path().join("image");
        let made = File::create(&image).and_then(|file| file.set_len(mib << 20));
        made.and_then(|()| fs::create_dir(folder.path().join("mount"))).map_err(|error| error.to_string())?;
        // All of it at once, so that nothing writes beside the engine later.
        let eager = ["-q", "-F", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"];
        run(Command::new(mkfs).args(eager).arg(&image))?;
        let device = Loop::over(&image)?;
        let mut made = Ext4 { device, mounted: None, folder };
        made.mount()?;
        Ok(made)
    }

    /// One that is in this file, mounted.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(image: &Path) -> Result<Ext4, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        fs::create_dir(folder.path().join("mount")).map_err(|error| error.to_string())?;
        let mut made = Ext4 { device: Loop::over(image)?, mounted: None, folder };
        made.mount()?;
        Ok(made)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// The file that it is in.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Mounts it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mount(&mut self) -> Result<(), String> {
        let path = self.path();
        mount(&self.device.0, &path, "ext4", MountFlags::NOATIME, None::<&std::ffi::CStr>)
            .map_err(|error| format!("mounting {}: {error}", self.device.0))?;
        self.mounted = Some(Mounted(path));
        Ok(())
    }

    /// Takes it away; who used it has ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unmount(&mut self) -> Result<(), String> {
        match &self.mounted {
            Some(mounted) => mounted.take_away().map_err(|error| format!("unmounting: {error}"))?,
            None => return Ok(()),
        }
        self.mounted = None;
        Ok(())
    }

    /// Has the kernel find an error in it, after which it is for reading only, whoever has files open for writing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn abort(&self) -> Result<(), String> {
        mount_remount(self.path(), MountFlags::NOATIME, c"abort")
            .map_err(|error| format!("remounting: {error}"))
    }

    /// The power goes: nothing is written any more that was not synced.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn cut(&self) -> Result<(), String> {
        let top = File::open(self.path()).map_err(|error| error.to_string())?;
        shut_down(&top).map_err(|error| format!("shutting ext4 down: {error}"))
    }

    /// Holds everybody up who writes.
    ///
    /// # Errors
    /// What the system says.
    pub fn freeze(&self) -> Result<Frozen<'_>, String> {
        run(Command::new(tool("fsfreeze")?).arg("--freeze").arg(self.path()))?;
        Ok(Frozen(self))
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // In this order: the device is free when nothing of it is mounted.
        self.mounted = None;
    }
}

/// `EXT4_IOC_SHUTDOWN`, and the flag by which not even the journal is written.
const EXT4_IOC_SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587D;
const EXT4_GOING_FLAGS_NOLOGFLUSH: u32 = 2;

#[expect(unsafe_code, reason = "rustix has no name for this ioctl")]
fn shut_down(top: &File) -> rustix::io::Result<()> {
    // SAFETY: by fs/ext4/ext4.h this operation takes a pointer to a `__u32` that it only reads, which is what `Setter`
    // passes. It changes no memory of this process, and a file system that does not know it refuses it.
    unsafe {
        let call = rustix::ioctl::Setter::<EXT4_IOC_SHUTDOWN, u32>::new(EXT4_GOING_FLAGS_NOLOGFLUSH);
        rustix::ioctl::ioctl(top, call)
    }
}

/// A file system that writes nothing until this is dropped.
#[derive(Debug)]
pub struct Frozen<'f>(&'f Ext4);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("fsfreeze").arg("--unfreeze").arg(self.0.path())) {
            eprintln!("{} stays frozen: {error}", self.0.path().display());
        }
    }
}

/// A file system in memory.
#[derive(Debug)]
pub struct Tmpfs {
    mounted: Mounted,
    _folder: TempDir,
}

impl Tmpfs {
    /// A new one with these options, as `size=16m`.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn make(options: &str) -> Result<Tmpfs, String> {
        root()?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
        mount("none", folder.path(), "tmpfs", MountFlags::NOATIME, options.as_c_str())
            .map_err(|error| format!("mounting tmpfs: {error}"))?;
        Ok(Tmpfs { mounted: Mounted(folder.path().to_path_buf()), _folder: folder })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mounted.0
    }

    /// Changes its options.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remount(&self, options: &str) -> Result<(), String> {
        let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
        mount_remount(self.path(), MountFlags::NOATIME, options.as_c_str())
            .map_err(|error| format!("remounting: {error}"))
    }
}
