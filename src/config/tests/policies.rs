//! What the file may say of columns.

use tailrace_contract::Policy;
use tailrace_row::TableName;

use super::{LOG, SOURCE, TABLE, TARGET, check_text, config};

/// Lines in the only `[[table]]`, from line 3 on.
fn columns(lines: &str, expect: &str) {
    check_text(&format!("{TABLE}{lines}\n{SOURCE}{LOG}{TARGET}"), expect);
}

/// Whatever line names a policy, the file understands it.
#[test]
fn policies_arrive_as_their_lines_say() {
    let sentinel = |text: &str| Policy::Sentinel(text.into());
    for policy in [Policy::Reject, Policy::Null, Policy::Text, sentinel("1970-01-01"), sentinel("\"\u{7f}\n")] {
        for column in ["shipped", "größe", "a.b", "a b\"", "1"] {
            let config = config(&format!("{SOURCE}{LOG}{TARGET}{TABLE}{}\n", policy.line(column)));
            let mapping = config.rules.mapping(&TableName::new("shop", "orders")).unwrap();
            assert_eq!(mapping.policy(column), &policy, "{column}");
            assert_eq!(mapping.policy("other"), &Policy::Reject);
        }
    }
    for lines in [
        "columns = { shipped = { on_unholdable = \"null\" } }",
        "[table.columns.shipped]\non_unholdable = \"null\"",
        "[table.columns]\nshipped.on_unholdable = \"null\"",
    ] {
        let config = config(&format!("{SOURCE}{LOG}{TARGET}{TABLE}{lines}\n"));
        let mapping = config.rules.mapping(&TableName::new("shop", "orders")).unwrap();
        assert_eq!(mapping.policy("shipped"), &Policy::Null, "{lines}");
    }
}

#[test]
fn policies_are_checked() {
    columns("columns = {}", "ok");
    columns(
        "columns = 1",
        "3:11: table[1].columns: expected a table, found a whole number; write columns = { shipped = { on_unholdable = \"null\" } }",
    );
    columns(
        "columns.paid = \"null\"",
        "3:16: table[1].columns.paid: expected a table, found text; write paid = { on_unholdable = \"null\" }",
    );
    columns("columns.paid = {}", "3:16: table[1].columns.paid: names no policy; add on_unholdable = \"null\"");
    let at = "3:32: table[1].columns.paid.on_unholdable";
    columns(
        "columns.paid.on_unholdable =   1",
        &format!("{at}: expected a word in quotes or a table, found a whole number; write on_unholdable = \"null\""),
    );
    columns(
        "columns.paid.on_unholdable =   \"nul\"",
        &format!("{at}: \"nul\" is not known here; did you mean \"null\"?"),
    );
    columns(
        "columns.paid.on_unholdable =   \"1970-01-01\"",
        &format!("{at}: \"1970-01-01\" is not known here; use \"reject\", \"null\" or \"text\""),
    );
    let write = "write { sentinel = \"…\" } with the value that is to be written";
    columns("columns.paid.on_unholdable =   \"sentinel\"", &format!("{at}: a sentinel without its value; {write}"));
    columns("columns.paid.on_unholdable =   {}", &format!("{at}: names no sentinel; {write}"));
    columns(
        "columns.paid.on_unholdable =   { sentinel = 0 }",
        "3:45: table[1].columns.paid.on_unholdable.sentinel: expected a value of the column in quotes, found a whole number; \
         write sentinel = \"1970-01-01\"",
    );
    columns("columns.paid.on_unholdable = { sentinel = \"\" }", "ok");
    columns(
        "columns.paid.on_unholdble = \"null\"",
        "3:14: table[1].columns.paid.on_unholdble: unknown key; did you mean on_unholdable?",
    );
    columns(
        "columns.paid.on_unholdable = \"null\"\ncolumns.paid.on_unholdable = \"text\"",
        "4:14: table[1].columns.paid.on_unholdable: stands here for the second time; leave one of the two",
    );
    check_text(
        &format!("[[table]]\nsource = \"shop.*\"\ncolumns.paid.on_unholdable = \"null\"\n{SOURCE}{LOG}{TARGET}"),
        "3:1: table[1].columns: a policy changes what is written, so it is asked for table by table, not for all of a database; \
         name the table in a [[table]] of its own, and the column there",
    );
}
