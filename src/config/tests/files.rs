//! Files as targets: their URLs, and the names of their tables.

use tailrace_row::TableName;

use super::{LOG, SOURCE, TABLE, check_text, config, source_url, target_url};

/// Tables of a file, from line 1 on.
fn file_tables(lines: &str, expect: &str) {
    check_text(&format!("{lines}\n{SOURCE}{LOG}[target]\nurl = \"sqlite:///data/shop.db\"\n"), expect);
}

#[test]
fn files_are_targets() {
    let target = |url: &str| {
        let config = config(&format!("[target]\nurl = \"{url}\"\n{SOURCE}{LOG}{TABLE}"));
        let mapping = config.rules.mapping(&TableName::new("shop", "orders")).unwrap();
        assert_eq!(mapping.target.to_string(), "main.orders");
        config.target().unwrap().endpoint.to_string()
    };
    assert_eq!(target("sqlite:///data/shop.db"), "sqlite:///data/shop.db");
    assert_eq!(target("sqlite://data/a%20b.db"), "sqlite:///etc/tailrace/data/a b.db");
    target_url(
        "sqlite://",
        "2:7: target.url: the URL names no file; write SCHEME:///ABSOLUTE/PATH or SCHEME://RELATIVE/PATH",
    );
    target_url("sqlite://:memory:", "2:7: target.url: a database in memory ends with the process; name a file");
    target_url(
        "sqlite://a:hunter2@db/shop.db",
        "2:7: target.url: an @ stands in the URL of a file, which has no account; write @ in a file's name as %40",
    );
    source_url("sqlite:///data/shop.db", "2:7: source.url: sqlite:// is no source; write mysql:// or mariadb://");
    check_text(
        &format!(
            "[target]\nurl = \"sqlite:///a.db\"\ntls.mode = \"disabled\"\npassword.env = \"PASSWORD\"\n{SOURCE}{LOG}{TABLE}"
        ),
        "3:1: target.tls: a file has no TLS; leave it out\n\
         4:1: target.password: a file has no password; leave it out: the file's permissions protect it",
    );
}

#[test]
fn tables_of_a_file_are_checked() {
    let table = |source: &str, target: &str| format!("[[table]]\nsource = \"{source}\"\ntarget = \"{target}\"\n");
    file_tables(&table("shop.orders", "main.purchases"), "ok");
    file_tables(&table("shop.*", "MAIN.*"), "ok");
    file_tables(
        &table("shop.orders", "public.orders"),
        "3:10: table[1].target: \"public\" is no schema of a file; write \"main.orders\" or \"main.*\"",
    );
    file_tables(
        &table("shop.orders", "main.Tailrace_x"),
        "3:10: table[1].target: main.Tailrace_x would be named like Tailrace's own tables tailrace_*; \
         name another target, or another schema in [target]",
    );
    file_tables(
        "[[table]]\nsource = \"shop.orders\"\n[[table]]\nsource = \"old.Orders\"\n",
        "4:10: table[2].source: main.Orders is the target of shop.orders already; name another target",
    );
}
