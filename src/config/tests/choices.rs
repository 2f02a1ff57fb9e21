//! Which columns and rows of a table are moved, as the configuration says it.

use super::tables;

#[test]
fn chosen_columns_and_rows_are_checked() {
    let table = |keys: &str, expect: &str| tables(&format!("[[table]]\nsource = \"shop.orders\"\n{keys}"), expect);
    table("only_columns = [\"id\", \"total\"]\nbackfill_where = \"total > 5\"", "ok");
    table("exclude_columns = [\"card\"]\ncolumns.total.on_unholdable = \"null\"", "ok");
    table(
        "exclude_columns = \"card\"",
        "3:19: table[1].exclude_columns: expected a list of names in quotes, found text; write exclude_columns = [\"card_number\"]",
    );
    table(
        "exclude_columns = []",
        "3:19: table[1].exclude_columns: names no column; write the names of columns, as in [\"id\", \"total\"]",
    );
    table(
        "only_columns = [\"id\"]\nexclude_columns = [\"card\"]",
        "4:19: table[1].exclude_columns: stands beside only_columns; leave one of the two",
    );
    table(
        "exclude_columns = [\"Card\"]\ncolumns.card.on_unholdable = \"null\"",
        "1:1: table[1]: \"card\" has a policy, and is left out by exclude_columns; leave one of the two",
    );
    table(
        "backfill_where = \" \"",
        "3:18: table[1].backfill_where: is empty; write what stands behind WHERE, as in \"placed >= '2024-01-01'\"",
    );
    tables(
        "[[table]]\nsource = \"shop.*\"\nonly_columns = [\"id\"]\nbackfill_where = \"id > 5\"",
        "3:16: table[1].only_columns: columns are those of one table; name the table in a [[table]] of its own\n\
         4:18: table[1].backfill_where: a condition is one of a single table; name the table in a [[table]] of its own",
    );
}
