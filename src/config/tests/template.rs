//! The file that `tailrace init` writes: right as it stands, complete, and its defaults are the real ones.

use super::{ALL, SECTIONS, Surroundings, checked};
use crate::config::TEMPLATE;

fn check(text: &str) -> super::Config {
    let variable = |_: &str| Some("hunter2".into());
    checked::check(text, ALL, &Surroundings { directory: std::path::Path::new(""), variable: &variable, unread: None })
        .unwrap_or_else(|problems| panic!("{problems:?} in:\n{text}"))
}

/// The lines that are commented out, as if they were not; what has no default, or stands for a file, stays out.
fn with_defaults() -> String {
    let has_no_default = |line: &str| {
        [
            "tls = ",
            "read_url = ",
            "sasl = ",
            "password = ",
            "columns = ",
            "only_columns = ",
            "exclude_columns = ",
            "backfill_where = ",
            "debezium = ",
            "max_rate = ",
            "throttle = ",
            "token = ",
        ]
        .iter()
        .any(|key| line.starts_with(key))
    };
    let is_setting =
        |line: &str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
    let line = |line: &'static str| match line.strip_prefix("# ") {
        Some(setting) if is_setting(setting) && !has_no_default(setting) => setting,
        Some(_) | None => line,
    };
    TEMPLATE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn it_is_right_as_it_stands() {
    assert_eq!(check(TEMPLATE).rules.filter().patterns.len(), 1);
}

#[test]
fn what_it_calls_a_default_is_one() {
    let text = with_defaults().replace("target = \"public.orders\"", "");
    assert!(text.contains("\nworkers = 4"), "{text}");
    let (plain, explicit) = (check(TEMPLATE), check(&text));
    assert_eq!(format!("{plain:?}"), format!("{explicit:?}"));
}

#[test]
fn every_key_is_in_it() {
    for section in SECTIONS.iter().filter(|section| !section.path.contains('.')) {
        for key in section.keys {
            let shown = [format!("\n{} = ", key.name), format!("\n# {} = ", key.name), format!("[{}]", key.name)];
            assert!(shown.iter().any(|line| TEMPLATE.contains(line)), "{}.{}", section.path, key.name);
        }
    }
}
