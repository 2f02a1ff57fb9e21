//! What PostgreSQL's catalog says of a table: columns, unique indexes, what may interfere.
//!
//! Reads only, and judges nothing: that is the plan's and the check's matter.

use sqlx::{
    Arguments as _, Row as _,
    postgres::{PgArguments, PgRow, types::Oid},
};
use tailrace_contract::{Error, TargetTable};

use crate::{errors::Failure, session::Session, target_type::TargetType};

/// A table as it is.
#[derive(Debug)]
pub(crate) struct TableShape {
    pub(crate) oid: u32,
    /// `r` table, `p` partitioned table; all else can't be written.
    pub(crate) kind: String,
    pub(crate) columns: Vec<TargetColumn>,
    pub(crate) unique_indexes: Vec<UniqueIndex>,
    /// Everything that holds values apart, the key's index among them.
    pub(crate) barriers: Vec<UniqueBarrier>,
    /// The last transaction that wrote the catalog rows of the columns: every change of a column writes its row anew.
    pub(crate) stamp: i64,
    /// Policies would hide rows from us.
    pub(crate) hides_rows: bool,
    /// Which of SELECT, INSERT, UPDATE and DELETE the account lacks.
    pub(crate) missing_privileges: Vec<String>,
    pub(crate) may_use_schema: bool,
    /// Who we are to the server.
    pub(crate) account: String,
    /// Those that fire.
    pub(crate) triggers: Vec<String>,
    pub(crate) rules: Vec<String>,
    /// Foreign keys of this table, and of others to it.
    pub(crate) foreign_keys: Vec<String>,
    /// What drops each of them.
    pub(crate) foreign_key_drops: Vec<String>,
}

/// A column as it is.
#[derive(Debug)]
pub(crate) struct TargetColumn {
    pub(crate) name: String,
    pub(crate) number: i16,
    /// None: a type that we don't write.
    pub(crate) target_type: Option<TargetType>,
    pub(crate) type_name: String,
    pub(crate) is_nullable: bool,
    pub(crate) has_default: bool,
    /// `GENERATED ALWAYS AS (…)`.
    pub(crate) is_generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`.
    pub(crate) is_identity_always: bool,
    /// Whether equality is that of bytes.
    pub(crate) is_deterministic: bool,
}

/// A unique index over plain columns, valid, without a condition, checked at once.
#[derive(Debug)]
pub(crate) struct UniqueIndex {
    pub(crate) name: String,
    /// Column numbers.
    pub(crate) columns: Vec<i16>,
    pub(crate) is_deterministic: bool,
    /// Not deferrable.
    pub(crate) is_immediate: bool,
}

/// A unique index of any kind, or an exclusion constraint.
#[derive(Debug)]
pub(crate) struct UniqueBarrier {
    pub(crate) name: String,
    /// Column numbers, 0 for an expression.
    pub(crate) columns: Vec<i16>,
    /// Over plain columns, without a condition.
    pub(crate) is_plain: bool,
    /// Values are told apart by their bytes.
    pub(crate) is_deterministic: bool,
    /// The statement that drops it.
    pub(crate) drop: String,
}

impl TableShape {
    /// The column of that name.
    pub(crate) fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether equality in the column of that number is that of bytes.
    pub(crate) fn is_deterministic(&self, number: i16) -> bool {
        self.columns.iter().all(|column| column.number != number || column.is_deterministic)
    }

    /// A unique index over exactly these columns.
    pub(crate) fn unique_index(&self, columns: &[i16]) -> Option<&UniqueIndex> {
        self.indexes_on(columns).find(|index| index.is_immediate)
    }

    /// One on the same columns that checks only at the end of the transaction. ON CONFLICT fails where there is one, even
    /// beside another index.
    pub(crate) fn deferrable_index(&self, columns: &[i16]) -> Option<&UniqueIndex> {
        self.indexes_on(columns).find(|index| !index.is_immediate)
    }

    fn indexes_on(&self, columns: &[i16]) -> impl Iterator<Item = &UniqueIndex> {
        self.unique_indexes.iter().filter(|index| {
            index.columns.len() == columns.len() && columns.iter().all(|column| index.columns.contains(column))
        })
    }
}

const TABLE: &str = "
SELECT c.oid, c.relkind::text AS kind,
       row_security_active(c.oid) AS hides_rows,
       ARRAY(SELECT wanted FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted
             WHERE NOT has_table_privilege(c.oid, wanted)) AS missing_privileges,
       has_schema_privilege(n.oid, 'USAGE') AS may_use_schema,
       current_user::text AS account,
       (SELECT coalesce(max(a.xmin::text::bigint), 0) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) AS stamp,
       ARRAY(SELECT tgname::text FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal AND tgenabled IN ('O', 'A') ORDER BY 1) AS triggers,
       ARRAY(SELECT rulename::text FROM pg_catalog.pg_rewrite WHERE ev_class = c.oid ORDER BY 1) AS rules,
       ARRAY(SELECT conname::text FROM pg_catalog.pg_constraint
             WHERE contype = 'f' AND (conrelid = c.oid OR confrelid = c.oid) ORDER BY 1) AS foreign_keys,
       ARRAY(SELECT format('ALTER TABLE %I.%I DROP CONSTRAINT %I', fn.nspname, fc.relname, f.conname)
             FROM pg_catalog.pg_constraint f JOIN pg_catalog.pg_class fc ON fc.oid = f.conrelid
               JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
             WHERE f.contype = 'f' AND f.conparentid = 0 AND (f.conrelid = c.oid OR f.confrelid = c.oid)
             ORDER BY f.conname) AS foreign_key_drops
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

const COLUMNS: &str = "
SELECT a.attname::text AS name, a.attnum AS number, a.atttypid AS type_oid, a.atttypmod AS modifier,
       format_type(a.atttypid, a.atttypmod) AS type_name, NOT a.attnotnull AS is_nullable,
       a.atthasdef OR a.attidentity <> '' AS has_default, a.attgenerated <> '' AS is_generated,
       a.attidentity = 'a' AS is_identity_always, coalesce(c.collisdeterministic, true) AS is_deterministic
FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const UNIQUE_INDEXES: &str = "
SELECT c.relname::text AS name, (i.indkey::int2[])[0:i.indnkeyatts - 1] AS columns,
       NOT EXISTS (SELECT FROM unnest(i.indcollation::oid[]) AS used (collation_oid)
                   JOIN pg_catalog.pg_collation k ON k.oid = used.collation_oid WHERE NOT k.collisdeterministic) AS is_deterministic,
       i.indimmediate AS is_immediate
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, c.relname";

const BARRIERS: &str = "
SELECT x.relname::text AS name, (i.indkey::int2[])[0:i.indnkeyatts - 1] AS columns,
       i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AS is_plain,
       NOT EXISTS (SELECT FROM unnest(i.indcollation::oid[]) AS used (collation_oid)
                   JOIN pg_catalog.pg_collation l ON l.oid = used.collation_oid WHERE NOT l.collisdeterministic) AS is_deterministic,
       CASE WHEN k.oid IS NULL THEN format('DROP INDEX %I.%I', n.nspname, x.relname)
            ELSE format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname) END AS \"drop\"
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion) ORDER BY x.relname";

/// Reads a table's shape; none if there is no table of that name.
pub(crate) async fn read_table(session: &mut Session, table: &TargetTable) -> Result<Option<TableShape>, Failure> {
    let doing = format!("reading the shape of {table}");
    let mut arguments = PgArguments::default();
    add(&mut arguments, &*table.schema);
    add(&mut arguments, &*table.table);
    let rows = session.read(TABLE, arguments, &doing).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let oid: Oid = get(row, "oid")?;
    let by_oid = || {
        let mut arguments = PgArguments::default();
        add(&mut arguments, oid);
        arguments
    };
    let columns = session.read(COLUMNS, by_oid(), &doing).await?;
    let indexes = session.read(UNIQUE_INDEXES, by_oid(), &doing).await?;
    let barriers = session.read(BARRIERS, by_oid(), &doing).await?;
    Ok(Some(TableShape {
        oid: oid.0,
        kind: get(row, "kind")?,
        columns: columns.iter().map(read_column).collect::<Result<_, _>>()?,
        unique_indexes: indexes.iter().map(read_index).collect::<Result<_, _>>()?,
        barriers: barriers.iter().map(read_barrier).collect::<Result<_, _>>()?,
        stamp: get(row, "stamp")?,
        hides_rows: get(row, "hides_rows")?,
        missing_privileges: get(row, "missing_privileges")?,
        may_use_schema: get(row, "may_use_schema")?,
        account: get(row, "account")?,
        triggers: get(row, "triggers")?,
        rules: get(row, "rules")?,
        foreign_keys: get(row, "foreign_keys")?,
        foreign_key_drops: get(row, "foreign_key_drops")?,
    }))
}

fn read_column(row: &PgRow) -> Result<TargetColumn, Failure> {
    let type_oid: Oid = get(row, "type_oid")?;
    Ok(TargetColumn {
        name: get(row, "name")?,
        number: get(row, "number")?,
        target_type: TargetType::read(type_oid.0, get(row, "modifier")?),
        type_name: get(row, "type_name")?,
        is_nullable: get(row, "is_nullable")?,
        has_default: get(row, "has_default")?,
        is_generated: get(row, "is_generated")?,
        is_identity_always: get(row, "is_identity_always")?,
        is_deterministic: get(row, "is_deterministic")?,
    })
}

fn read_index(row: &PgRow) -> Result<UniqueIndex, Failure> {
    Ok(UniqueIndex {
        name: get(row, "name")?,
        columns: get(row, "columns")?,
        is_deterministic: get(row, "is_deterministic")?,
        is_immediate: get(row, "is_immediate")?,
    })
}

fn read_barrier(row: &PgRow) -> Result<UniqueBarrier, Failure> {
    Ok(UniqueBarrier {
        name: get(row, "name")?,
        columns: get(row, "columns")?,
        is_plain: get(row, "is_plain")?,
        is_deterministic: get(row, "is_deterministic")?,
        drop: get(row, "drop")?,
    })
}

/// Adds a value of a type that can't fail to encode.
pub(crate) fn add<'v, T>(arguments: &mut PgArguments, value: T)
where
    T: sqlx::Encode<'v, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    arguments.add(value).expect("invariant: names and numbers can be encoded");
}

/// A field of an answer of our own making.
pub(crate) fn get<'r, T>(row: &'r PgRow, field: &str) -> Result<T, Failure>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(field)
        .map_err(|_| Error::refused(format!("the target's answer has no field {field} of the type asked for")).into())
}
