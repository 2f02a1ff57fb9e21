//! The least that an account which owns nothing needs to write a target: what `tailrace check --print-grants` shows.
//!
//! What every account has by default (CONNECT, TEMPORARY, USAGE on the schema public) stands here as well: where somebody took
//! it away, it is needed.

use tailrace_contract::{Grant, TargetScope};

use crate::ddl::quoted;

/// What rows are written with.
pub(crate) const TABLE_PRIVILEGES: &str = "SELECT, INSERT, UPDATE, DELETE";

/// The statements. `own_schema` holds Tailrace's own tables.
pub(crate) fn least(user: &str, database: &str, own_schema: &str, scopes: &[TargetScope]) -> Vec<Grant> {
    let (user, database, own_schema) = (quoted(user), quoted(database), quoted(own_schema));
    let grant = |statement: String, reason| Grant { statement, reason };
    let mut grants = vec![
        grant(connect(&database, &user), "connects"),
        grant(format!("GRANT TEMPORARY ON DATABASE {database} TO {user}"), "writes big batches fast"),
        grant(format!("CREATE SCHEMA IF NOT EXISTS {own_schema}"), "holds Tailrace's own tables"),
        grant(
            format!("GRANT USAGE, CREATE ON SCHEMA {own_schema} TO {user}"),
            "makes Tailrace's own tables, which it then owns",
        ),
    ];
    let mut schemas: Vec<&str> = scopes.iter().map(schema_of).collect();
    schemas.sort_unstable();
    schemas.dedup();
    for schema in schemas {
        let statement = format!("GRANT USAGE ON SCHEMA {} TO {user}", quoted(schema));
        grants.push(grant(statement, "finds the tables in it"));
    }
    for scope in scopes {
        let object = match scope {
            TargetScope::Table(table) => format!("{}.{}", quoted(&table.schema), quoted(&table.table)),
            TargetScope::Schema(schema) => format!("ALL TABLES IN SCHEMA {}", quoted(schema)),
        };
        let reason = match scope {
            TargetScope::Table(_) => "writes the rows",
            TargetScope::Schema(_) => "writes the rows; to be run again when tables were added",
        };
        grants.push(grant(format!("GRANT {TABLE_PRIVILEGES} ON {object} TO {user}"), reason));
    }
    grants
}

/// Names quoted.
pub(crate) fn connect(database: &str, user: &str) -> String {
    format!("GRANT CONNECT ON DATABASE {database} TO {user}")
}

fn schema_of(scope: &TargetScope) -> &str {
    match scope {
        TargetScope::Table(table) => &table.schema,
        TargetScope::Schema(schema) => schema,
    }
}

#[cfg(test)]
mod tests {
    use tailrace_contract::TargetTable;

    use super::*;

    #[test]
    fn grants_name_the_tables_and_nothing_more() {
        let scopes = [
            TargetScope::Table(TargetTable { schema: "public".into(), table: "Or\"ders".into() }),
            TargetScope::Table(TargetTable { schema: "public".into(), table: "items".into() }),
            TargetScope::Schema("crm".into()),
        ];
        let statements: Vec<String> =
            least("app", "shop", "tailrace", &scopes).into_iter().map(|grant| grant.statement).collect();
        assert_eq!(
            statements,
            [
                r#"GRANT CONNECT ON DATABASE "shop" TO "app""#,
                r#"GRANT TEMPORARY ON DATABASE "shop" TO "app""#,
                r#"CREATE SCHEMA IF NOT EXISTS "tailrace""#,
                r#"GRANT USAGE, CREATE ON SCHEMA "tailrace" TO "app""#,
                r#"GRANT USAGE ON SCHEMA "crm" TO "app""#,
                r#"GRANT USAGE ON SCHEMA "public" TO "app""#,
                r#"GRANT SELECT, INSERT, UPDATE, DELETE ON "public"."Or""ders" TO "app""#,
                r#"GRANT SELECT, INSERT, UPDATE, DELETE ON "public"."items" TO "app""#,
                r#"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "crm" TO "app""#,
            ]
        );
    }
}
