//! How `tailrace check --print-grants` tells them: statements for an administrator, or JSON.

use super::OutputFormat;
use crate::preflight::{GrantList, Place};

/// What is printed.
pub(super) fn text(lists: &[GrantList], format: OutputFormat) -> String {
    match format {
        OutputFormat::Json => serde_json::to_string_pretty(lists).expect("invariant: grants hold only texts") + "\n",
        OutputFormat::Text => lists.iter().map(one).collect::<Vec<_>>().join("\n"),
    }
}

fn one(list: &GrantList) -> String {
    // A name with a line break must not end the comment.
    let shown = |text: &str| text.replace(char::is_control, "?");
    let (place, account, server) = (list.place.name(), shown(&list.account), shown(&list.server));
    // Commands of a shell, or statements of SQL.
    let (comment, end) = if list.place == Place::Log { ("#", "") } else { ("--", ";") };
    let mut text =
        format!("{comment} {place}: what the account {account} needs; to be run by an administrator of {server}\n");
    for grant in &list.grants {
        text.push_str(&format!("{comment} {}\n{}{end}\n", grant.reason, grant.statement));
    }
    text
}
