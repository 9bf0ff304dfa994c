//! Databases of objects as ordinary files of SQLite: out of any point of the history, and in as one commit.

use std::path::Path;

use super::{sql::PageChanges, tx::Tx, view::View};
use crate::{
    Error, Gated, Kind, Object, Result,
    gate::inside::Inside,
    sql::{Exported, Image, Imported, PAGE_BYTES, export},
};

impl View<'_> {
    /// Writes the object's database, as this view sees it, to a new file that any SQLite opens. When it returns the file
    /// is whole, synced and under its name; before that nothing has that name. Page by page: it needs no memory to speak
    /// of. Names that [`Namespace::on_connection`](crate::Namespace::on_connection) registers are not in the file: what
    /// uses them needs them there too.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the object has no database at that point; [`Error::Invalid`] if there is something of
    /// that name; [`Error::Io`] and [`Error::NoSpace`] for the file; [`Error::Damaged`] if a page cannot be read.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path().join("data"))?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// lobby.transact(|tx| tx.sql().execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")).wait()?;
    /// let before = lobby.bookmark().wait()?;
    /// lobby.transact(|tx| tx.sql().execute("DELETE FROM t", [])).wait()?;
    /// let file = dir.path().join("before.db");
    /// lobby.at(&before)?.export_sqlite(&file)?;
    /// let x: i64 = lineal::rusqlite::Connection::open(&file)?.query_row("SELECT x FROM t", [], |row| row.get(0))?;
    /// assert_eq!(x, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn export_sqlite(&self, path: impl AsRef<Path>) -> Result<Exported> {
        self.export(path.as_ref(), false)
    }

    /// As [`export_sqlite`](View::export_sqlite); a file of that name is replaced, in one step, when the new one is whole.
    ///
    /// # Errors
    /// As [`export_sqlite`](View::export_sqlite).
    pub fn export_sqlite_over(&self, path: impl AsRef<Path>) -> Result<Exported> {
        self.export(path.as_ref(), true)
    }

    fn export(&self, path: &Path, replace: bool) -> Result<Exported, Error> {
        let bytes = export::write(self, path, replace, (self.engine().options.random)())?;
        Ok(Exported { seq: self.seq(), bytes })
    }
}

impl Object {
    /// Writes the object's database as it is now to a new file; see [`View::export_sqlite`]. Takes the object's turn only to
    /// see where it is: others go on meanwhile.
    ///
    /// # Errors
    /// As [`View::export_sqlite`] and [`bookmark`](Object::bookmark).
    pub fn export_sqlite(&self, path: impl AsRef<Path>) -> Result<Exported> {
        self.at(&self.bookmark().wait()?)?.export_sqlite(path)
    }

    /// Makes a file of SQLite the object's database, in one commit of the kind [`Kind::Install`]. A database that the
    /// object has is replaced, and stays in the history; its key-values stay as they are. The file is copied first, with
    /// the write-ahead log beside it, and never changed.
    ///
    /// It is checked before anything changes: that it is whole (`PRAGMA integrity_check`), that its schema passes the guards
    /// that SQL in objects has, and that views and triggers can be used.
    ///
    /// In a namespace with [`migrations`](crate::Namespace::migrations) the file counts as being at their newest version, so
    /// it must have that schema.
    ///
    /// When it returns the new database is seen by every later transaction; when the gate opens it is durable.
    ///
    /// # Errors
    /// Inside the gate: [`Error::NotImportable`] for a file that does not pass; [`Error::TooLarge`] for a database over
    /// [`Options::transaction_bytes_max`](crate::Options::transaction_bytes_max), because it is one transaction, and for a
    /// file over sixteen times that, which is not looked at;
    /// [`Error::Io`]; else as [`transact`](Object::transact). The object is as it was.
    ///
    /// ```
    /// # fn main() -> lineal::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = lineal::Engine::open(dir.path().join("data"))?;
    /// let file = dir.path().join("chat.db");
    /// lineal::rusqlite::Connection::open(&file)?.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")?;
    /// let lobby = engine.namespace("rooms")?.object("lobby")?;
    /// assert_eq!(lobby.import_sqlite(&file).wait()?.tables, 1);
    /// let x: i64 = lobby.read(|view| view.sql().query_one("SELECT x FROM t", [], |row| row.get(0))).wait()?;
    /// assert_eq!(x, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn import_sqlite(&self, file: impl AsRef<Path>) -> Gated<Imported> {
        self.import_sqlite_because(file, "")
    }

    /// As [`import_sqlite`](Object::import_sqlite), with a cause that is kept with the commit.
    ///
    /// # Errors
    /// As [`import_sqlite`](Object::import_sqlite); [`Error::TooLarge`] for a cause over 4 KiB.
    pub fn import_sqlite_because(&self, file: impl AsRef<Path>, cause: &str) -> Gated<Imported> {
        let image = match self.image(file.as_ref()) {
            Ok(image) => image,
            Err(error) => return Gated::open(Err(error)),
        };
        self.transact(|tx| {
            tx.cause(cause)?;
            tx.install(&image)?;
            Ok(image.imported())
        })
    }

    /// Checks a file as [`import_sqlite`](Object::import_sqlite) does, and changes nothing.
    ///
    /// # Errors
    /// As [`import_sqlite`](Object::import_sqlite), as far as they are about the file.
    pub fn check_sqlite(&self, file: impl AsRef<Path>) -> Result<Imported> {
        Ok(self.image(file.as_ref())?.imported())
    }

    fn image(&self, file: &Path) -> Result<Image, Error> {
        // Before the work, and not after it.
        Inside::refuse(self.engine.output.tag)?;
        Image::of(&self.engine, self.key().namespace, file)
    }
}

impl Tx<'_> {
    /// Makes the object's database what the image is.
    fn install(&mut self, image: &Image) -> Result<()> {
        self.set_kind(Kind::Install);
        let mut page = vec![0; PAGE_BYTES];
        let layers = self.layers();
        let mut changes = PageChanges::over(&layers, self.engine.options.transaction_bytes_max);
        changes.cut_after(image.pages(), self.layers())?;
        for number in 1..=image.pages() {
            image.read_page(number, &mut page)?;
            changes.page(number, &page)?;
        }
        let changed = changes.end();
        drop(layers);
        self.take_pages(changed)
    }
}
