//! `tailrace tail`: how a change is printed.

use tailrace_contract::{Error, Result};
use tailrace_row::TableName;

use super::{OutputFormat, TailArguments, output};
use crate::{
    config::{Config, moment},
    tail::{self, Change, ColumnShape, From, Place, Request, Shown},
};

/// Prints changes until the limit, or until nobody reads.
pub(super) async fn run(config: &Config, options: &TailArguments) -> Result<()> {
    let request = request(options)?;
    tail::tail(config, &request, |change| {
        let text = match options.format {
            OutputFormat::Json => {
                serde_json::to_string(change).expect("invariant: a change has only texts and numbers") + "\n"
            }
            OutputFormat::Text => text(change),
        };
        output::print_to_reader(&text)
            .map_err(|error| Error::refused("can't write to standard output").caused_by(error))
    })
    .await
}

fn request(options: &TailArguments) -> Result<Request> {
    let Some((database, table)) = options.table.split_once('.') else {
        return Err(Error::refused(format!("{:?} names no table", options.table)).hint("write DATABASE.TABLE"));
    };
    let from = match options.from.as_str() {
        "now" => From::Now,
        "earliest" => From::Earliest,
        other => match other.parse() {
            Ok(offset) if offset >= 0 => From::Offset(offset),
            Ok(_) | Err(_) => {
                return Err(Error::refused(format!("{other:?} is no place to begin at"))
                    .hint("write now, earliest, or an offset together with --partition"));
            }
        },
    };
    Ok(Request {
        table: TableName::new(database, table),
        partition: options.partition,
        from,
        shown: if options.values { Shown::Values } else { Shown::Shapes },
        limit: options.limit,
    })
}

fn text(change: &Change) -> String {
    let time = change.committed_at_micros.map_or_else(|| "-".to_owned(), moment::text);
    let place = match &change.place {
        Place::Log { partition, offset } => format!("{}[{partition}]@{offset}", change.table),
        Place::Source { file, offset } => format!("{} {file}:{offset}", change.table),
    };
    let mut text = format!("{time} {:<6} {} {}", change.operation, shown(&place), change.sequence);
    if change.before.is_none() && change.after.is_none() {
        text.push_str(&format!("  key: {}", shapes(&change.key)));
        if !change.changed.is_empty() {
            text.push_str(&format!("  changed: {}", shapes(&change.changed)));
        }
        return text + "\n";
    }
    text.push('\n');
    let (before, after) = (change.before.as_deref().unwrap_or_default(), change.after.as_deref().unwrap_or_default());
    for place in 0..before.len().max(after.len()) {
        let (old, new) = (before.get(place), after.get(place));
        let Some(column) = old.or(new).map(|column| shown(&column.column)) else { continue };
        let values = match (old, new) {
            (Some(old), Some(new)) if old.value == new.value => format!("{column} = {}", new.value),
            (Some(old), Some(new)) => format!("{column}: {} -> {}", old.value, new.value),
            (Some(only), None) | (None, Some(only)) => format!("{column} = {}", only.value),
            (None, None) => continue,
        };
        text.push_str(&format!("    {values}\n"));
    }
    text
}

fn shapes(shapes: &[ColumnShape]) -> String {
    let one = |shape: &ColumnShape| match shape.bytes {
        Some(bytes) => format!("{} {}({bytes})", shown(&shape.column), shape.kind),
        None => format!("{} {}", shown(&shape.column), shape.kind),
    };
    shapes.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Names are somebody else's: none may move the cursor.
fn shown(text: &str) -> String {
    text.replace(|c: char| c.is_control(), "?")
}
