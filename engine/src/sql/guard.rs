//! What a statement may do. The engine's own statements pass.

use rusqlite::{
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};

use super::{SqlOptions, error::Refusal, port::Port};

/// Pragmas that only tell something, with or without an argument.
const TELLING: &[&str] = &[
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "module_list",
    "page_count",
    "pragma_list",
    "quick_check",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// Of those that tell, the ones whose value would change something.
const WITHOUT_VALUE: &[&str] = &["encoding", "schema_version", "data_version"];

/// Pragmas that may be set: what they set is in the database, or ends with the transaction.
const SETTING: &[&str] =
    &["application_id", "defer_foreign_keys", "incremental_vacuum", "optimize", "user_version"];

/// Pragmas that a script often has and whose value is fixed: reading them is allowed, and so is setting them to what they
/// are.
const FIXED: &[(&str, &[&str])] = &[
    ("foreign_keys", &["on", "1", "true", "yes"]),
    ("page_size", &["4096"]),
    ("trusted_schema", &["off", "0", "false", "no"]),
    ("temp_store", &["memory", "2"]),
];

/// Names that begin so belong to the engine.
pub(crate) const RESERVED: &str = "_lineal";

/// Virtual table modules that a schema may use. Those of [`Setup`](super::Setup) are added to them.
const MODULES: &[&str] =
    &["fts5", "fts5vocab", "fts3", "fts4", "fts3tokenize", "fts4aux", "rtree", "rtree_i32", "geopoly"];

pub(super) fn authorize(
    context: AuthContext<'_>,
    own_modules: &[String],
    port: &Port,
) -> Result<Authorization, Refusal> {
    use AuthAction as A;
    let reserved = |name: &str| {
        if is_reserved(name) { Err(Refusal::Reserved) } else { Ok(Authorization::Allow) }
    };
    let creates = matches!(
        context.action,
        A::CreateTable { .. }
            | A::CreateIndex { .. }
            | A::CreateTrigger { .. }
            | A::CreateView { .. }
            | A::CreateVtable { .. }
    );
    if creates && context.database_name.is_some_and(|name| name.eq_ignore_ascii_case("temp")) {
        return Err(Refusal::Temporary);
    }
    match context.action {
        A::Transaction { .. } | A::Savepoint { .. } => Err(Refusal::Transaction),
        A::Attach { .. } | A::Detach { .. } => Err(Refusal::Attach),
        A::CreateTempIndex { .. }
        | A::CreateTempTable { .. }
        | A::CreateTempTrigger { .. }
        | A::CreateTempView { .. } => Err(Refusal::Temporary),
        A::Pragma { pragma_name, pragma_value } => pragma(pragma_name, pragma_value, port.is_writable()),
        // `fts3_tokenizer` takes a pointer as a bound parameter, whatever the switch of its name says.
        A::Function { function_name }
            if ["load_extension", "fts3_tokenizer"]
                .iter()
                .any(|name| function_name.eq_ignore_ascii_case(name)) =>
        {
            Err(Refusal::Extension)
        }
        A::CreateVtable { table_name, module_name } => {
            let known = |name: &str| name.eq_ignore_ascii_case(module_name);
            if !MODULES.iter().any(|name| known(name)) && !own_modules.iter().any(|name| known(name)) {
                return Err(Refusal::Module);
            }
            reserved(table_name)
        }
        A::CreateIndex { index_name, table_name } | A::DropIndex { index_name, table_name } => {
            reserved(index_name).and(reserved(table_name))
        }
        A::CreateTrigger { trigger_name, table_name } | A::DropTrigger { trigger_name, table_name } => {
            reserved(trigger_name).and(reserved(table_name))
        }
        A::AlterTable { table_name, .. } => {
            // Its new name is not told.
            port.set_renames();
            reserved(table_name)
        }
        A::CreateTable { table_name }
        | A::DropTable { table_name }
        | A::Insert { table_name }
        | A::Delete { table_name }
        | A::Update { table_name, .. }
        | A::Read { table_name, .. }
        | A::DropVtable { table_name, .. } => reserved(table_name),
        A::CreateView { view_name } | A::DropView { view_name } => reserved(view_name),
        A::Unknown { .. } => Ok(Authorization::Deny),
        _ => Ok(Authorization::Allow),
    }
}

pub(crate) fn is_reserved(name: &str) -> bool {
    name.as_bytes().get(..RESERVED.len()).is_some_and(|head| head.eq_ignore_ascii_case(RESERVED.as_bytes()))
}

fn pragma(name: &str, value: Option<&str>, writable: bool) -> Result<Authorization, Refusal> {
    let name = name.to_ascii_lowercase();
    let name = name.as_str();
    let telling = TELLING.contains(&name) && (value.is_none() || !WITHOUT_VALUE.contains(&name));
    if telling {
        return Ok(Authorization::Allow);
    }
    if SETTING.contains(&name) {
        // `optimize` writes without a value.
        let sets = value.is_some() || name == "optimize" || name == "incremental_vacuum";
        return if writable || !sets { Ok(Authorization::Allow) } else { Err(Refusal::ReadOnly) };
    }
    match (FIXED.iter().find(|(fixed, _)| *fixed == name), value) {
        (Some(_), None) => Ok(Authorization::Allow),
        // To ignore a pragma is to prepare a statement that does nothing.
        (Some((_, values)), Some(value)) if values.iter().any(|same| same.eq_ignore_ascii_case(value)) => {
            Ok(Authorization::Ignore)
        }
        _ => Err(Refusal::Pragma),
    }
}

/// Switches of a connection.
pub(super) const CONFIG: &[(DbConfig, bool)] = &[
    (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
    (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
    (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
    (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
    (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
];

pub(super) fn limits(options: &SqlOptions) -> [(Limit, usize); 13] {
    [
        (Limit::SQLITE_LIMIT_LENGTH, options.length_max),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, options.statement_bytes_max),
        (Limit::SQLITE_LIMIT_COLUMN, options.columns_max),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, options.variables_max),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, options.pattern_bytes_max),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, EXPR_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, COMPOUND_MAX),
        (Limit::SQLITE_LIMIT_VDBE_OP, VDBE_OPS_MAX),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, FUNCTION_ARGS_MAX),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, TRIGGER_DEPTH_MAX),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        (Limit::SQLITE_LIMIT_PARSER_DEPTH, PARSER_DEPTH_MAX),
    ]
}

// Source: between SQLite's defaults and what its page on untrusted SQL (sqlite.org/security.html) uses as examples; wide
// enough for what query builders make.
const EXPR_DEPTH_MAX: usize = 200;
const COMPOUND_MAX: usize = 100;
const VDBE_OPS_MAX: usize = 250_000;
const FUNCTION_ARGS_MAX: usize = 100;
const TRIGGER_DEPTH_MAX: usize = 50;
const PARSER_DEPTH_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pragmas_are_allowed_by_name_and_value() {
        for (name, value, allowed) in [
            ("table_info", Some("t"), true),
            ("TABLE_INFO", Some("t"), true),
            ("user_version", Some("7"), true),
            ("schema_version", None, true),
            ("schema_version", Some("7"), false),
            ("foreign_keys", Some("ON"), true),
            ("foreign_keys", Some("OFF"), false),
            ("journal_mode", None, false),
            ("journal_mode", Some("wal"), false),
            ("writable_schema", Some("on"), false),
            ("mmap_size", Some("1"), false),
        ] {
            assert_eq!(pragma(name, value, true).is_ok(), allowed, "{name} {value:?}");
        }
    }

    #[test]
    fn a_view_sets_nothing() {
        assert!(pragma("user_version", None, false).is_ok());
        for (name, value) in
            [("user_version", Some("1")), ("optimize", None), ("defer_foreign_keys", Some("1"))]
        {
            assert_eq!(pragma(name, value, false).err(), Some(Refusal::ReadOnly));
        }
    }

    #[test]
    fn reserved_names_are_known_in_any_case() {
        assert!(is_reserved("_lineal") && is_reserved("_LINEAL_x"));
        assert!(!is_reserved("_line") && !is_reserved("lineal") && !is_reserved("é_lineal"));
    }
}
