//! Tables that earlier versions made narrower than today's records need. The format stays what it was: whoever wrote
//! such a ledger reads the wider one.

use rusqlite::{Connection, TransactionBehavior};

use super::SCHEMA;

/// The tables that once knew no continued sessions, each before those that refer to it.
const TABLES: [&str; 2] = ["attempts", "usage"];

/// How their rule was written.
const NARROW: &str = "%CHECK (part IN (''work'', ''ask''))%";

/// Lets the tables of an older ledger keep continued sessions.
pub(super) fn widen(conn: &mut Connection) -> rusqlite::Result<()> {
    let is_narrow: bool = conn.query_row(
        &format!(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND sql LIKE '{NARROW}')"
        ),
        [],
        |row| row.get(0),
    )?;
    if !is_narrow {
        return Ok(());
    }
    // A table that others refer to can only be replaced while nobody looks at what refers to what.
    conn.pragma_update(None, "foreign_keys", false)?;
    let widened = replace(conn);
    conn.pragma_update(None, "foreign_keys", true)?;
    widened
}

fn replace(conn: &mut Connection) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    for table in TABLES {
        let made = statement(table).replacen(table, &format!("{table}_wide"), 1);
        tx.execute_batch(&format!(
            "{made}; INSERT INTO {table}_wide SELECT * FROM {table}; DROP TABLE {table};
             ALTER TABLE {table}_wide RENAME TO {table};"
        ))?;
    }
    tx.commit()
}

/// The statement of the schema that makes a table.
fn statement(table: &str) -> &'static str {
    let begin = format!("CREATE TABLE {table} (");
    let from = SCHEMA.find(&begin).map_or("", |at| &SCHEMA[at..]);
    from.split_inclusive("STRICT, WITHOUT ROWID")
        .next()
        .unwrap_or(from)
}
