//! What an application may add to the connections of a namespace.

use std::panic::{RefUnwindSafe, UnwindSafe};

use rusqlite::{
    Connection,
    functions::{Aggregate, Context, FunctionFlags, SqlFnOutput},
    vtab::{Module, VTab},
};

use crate::{Result, sync::Arc};

/// Called for each new connection.
pub(crate) type Connect = Arc<dyn Fn(&mut Setup<'_>) -> Result<()> + Send + Sync>;

/// Registers functions, collations and virtual tables with a connection that is being opened; see
/// [`Namespace::on_connection`](crate::Namespace::on_connection). The connection itself is not handed out, because it could
/// take the guards off.
///
/// What is used by a schema (an index on an expression, a view, a trigger, a generated column) must be flagged
/// [`SQLITE_INNOCUOUS`](FunctionFlags::SQLITE_INNOCUOUS), and for an index also deterministic. All objects of the
/// namespace must find the same functions for as long as their schemas name them.
pub struct Setup<'c> {
    db: &'c Connection,
    modules: Vec<String>,
}

impl<'c> Setup<'c> {
    pub(super) fn new(db: &'c Connection) -> Setup<'c> {
        Setup { db, modules: Vec::new() }
    }

    pub(super) fn into_modules(self) -> Vec<String> {
        self.modules
    }

    /// Adds a function of `args` arguments; −1 is any number.
    ///
    /// # Errors
    /// [`Error::Sql`](crate::Error::Sql).
    pub fn function<F, T>(&mut self, name: &str, args: i32, flags: FunctionFlags, f: F) -> Result<()>
    where
        F: Fn(&Context<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: SqlFnOutput,
    {
        Ok(self.db.create_scalar_function(name, args, flags, f)?)
    }

    /// Adds an aggregate function.
    ///
    /// # Errors
    /// [`Error::Sql`](crate::Error::Sql).
    pub fn aggregate<A, D, T>(
        &mut self,
        name: &str,
        args: i32,
        flags: FunctionFlags,
        aggregate: D,
    ) -> Result<()>
    where
        A: RefUnwindSafe + UnwindSafe + Send,
        D: Aggregate<A, T> + Send + 'static,
        T: SqlFnOutput,
    {
        Ok(self.db.create_aggregate_function(name, args, flags, aggregate)?)
    }

    /// Adds a collation.
    ///
    /// # Errors
    /// [`Error::Sql`](crate::Error::Sql).
    pub fn collation<C>(&mut self, name: &str, compare: C) -> Result<()>
    where
        C: Fn(&str, &str) -> std::cmp::Ordering + Send + 'static,
    {
        Ok(self.db.create_collation(name, compare)?)
    }

    /// Adds a virtual table module. What it reaches is its author's business; whoever may write SQL can use it.
    ///
    /// # Errors
    /// [`Error::Sql`](crate::Error::Sql).
    pub fn module<'vtab, T: VTab<'vtab>>(
        &mut self,
        name: &str,
        module: &'static Module<'vtab, T>,
        aux: Option<T::Aux>,
    ) -> Result<()> {
        self.db.create_module(name, module, aux)?;
        self.modules.push(name.to_owned());
        Ok(())
    }
}

impl std::fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").finish_non_exhaustive()
    }
}
