//! The judge itself: made-up histories with a lost, a doubled, a swapped change must not pass.

use super::binlog::Parser;
use super::{Judged, Operation, Place, Seen, Statement, judge};
use Operation::{Delete, Insert, Update};

const OUTPUT: &str = "\
# at 4
#261122 18:07:13 server id 1  end_log_pos 126 CRC32 0x1 \tStart: binlog v 4, server v 9.7.4
# at 200
#261122 18:07:13 server id 1  end_log_pos 300 CRC32 0x1 \tTable_map: `shop`.`orders` mapped to number 163
# at 300
#261122 18:07:13 server id 1  end_log_pos 400 CRC32 0x1 \tWrite_rows: table id 163 flags: STMT_END_F
### INSERT INTO `shop`.`orders`
### SET
###   @1=1
###   @2='### DELETE FROM `shop`.`orders`'
### INSERT INTO `shop`.`orders`
### SET
###   @1=2
# at 400
#261122 18:07:13 server id 1  end_log_pos 450 CRC32 0x1 \tXid = 1
COMMIT/*!*/;
# at 500
# at 550
# at 600
#261122 18:07:13 server id 1  end_log_pos 650 CRC32 0x1 \tUpdate_rows: table id 163 flags: 0x0
# at 650
#261122 18:07:13 server id 1  end_log_pos 700 CRC32 0x1 \tUpdate_rows: table id 163 flags: STMT_END_F
### UPDATE `shop`.`orders`
### WHERE
###   @1=1
### SET
###   @1=1
### UPDATE `shop`.`orders`
### WHERE
###   @1=2
### SET
###   @1=3
# at 700
#261122 18:07:13 server id 1  end_log_pos 800 CRC32 0x1 \tDelete_rows: table id 163 flags: STMT_END_F
### DELETE FROM `shop`.`orders`
### WHERE
###   @1=3
";

fn parse(text: &str) -> anyhow::Result<Vec<Statement>> {
    let mut parser = Parser::new("shop", 7);
    for line in text.lines() {
        parser.line(line.as_bytes())?;
    }
    parser.end()
}

fn statement(events: &[u64], rows: &[Operation]) -> Statement {
    Statement { table: "orders".to_owned(), file: 7, events: events.to_vec(), rows: rows.to_vec() }
}

#[test]
fn the_output_of_mysqlbinlog_is_understood() {
    let expected = vec![
        statement(&[300], &[Insert, Insert]),
        statement(&[600, 650], &[Update, Update]),
        statement(&[700], &[Delete]),
    ];
    assert_eq!(parse(OUTPUT).expect("parsing"), expected);
    let rowless = OUTPUT.replace("### DELETE FROM `shop`.`orders`\n", "");
    assert!(parse(&rowless).is_err(), "an event whose rows are not printed must not pass for one without rows");
    let foreign = OUTPUT.replace("### UPDATE `shop`", "### UPDATE `other`");
    assert!(parse(&foreign).is_err(), "rows of another database must not be taken for ours");
}

fn change(partition: i32, key: &str, place: (u64, u32), operation: Operation) -> Seen {
    let place = Place { file: 7, event: place.0, row: place.1 };
    Seen { table: "orders".to_owned(), partition, key: key.into(), change: Some((place, operation)) }
}

fn tombstone(partition: i32, key: &str) -> Seen {
    Seen { table: "orders".to_owned(), partition, key: key.into(), change: None }
}

/// What a consumer sees of the history in [`OUTPUT`]: keys 1 and 3 in partition 0, key 2 in partition 1.
fn truth() -> Vec<Seen> {
    vec![
        change(0, "1", (300, 0), Insert),
        change(0, "1", (600, 0), Update),
        change(0, "3", (650, 0), Insert),
        change(0, "3", (700, 0), Delete),
        tombstone(0, "3"),
        change(1, "2", (300, 1), Insert),
        change(1, "2", (650, 0), Delete),
        tombstone(1, "2"),
    ]
}

/// Judges what a consumer saw after `spoil` changed it.
fn check(what: &str, spoil: impl FnOnce(&mut Vec<Seen>)) {
    let statements = parse(OUTPUT).expect("parsing");
    let mut seen = truth();
    spoil(&mut seen);
    assert!(judge(&statements, seen).is_err(), "{what} must not pass");
}

#[test]
fn the_truth_passes() {
    let judged = judge(&parse(OUTPUT).expect("parsing"), truth()).expect("judging");
    assert_eq!(judged, Judged { changes: 5, records: 8, keys: 3, key_changes: 1 });
}

#[test]
fn what_is_not_the_truth_does_not_pass() {
    for index in 0..truth().len() {
        check("a lost record", |seen| drop(seen.remove(index)));
        check("a doubled record", |seen| seen.insert(index, truth()[index].clone()));
        check("a record that comes again at the end", |seen| seen.push(truth()[index].clone()));
    }
    check("a swap within a key", |seen| seen.swap(0, 1));
    check("a delete before its insert", |seen| seen.swap(2, 3));
    check("a key that changes its partition", |seen| seen[1].partition = 1);
    check("an update seen as an insert", |seen| seen[1] = change(0, "1", (600, 0), Insert));
    check("another row of the event", |seen| seen[1] = change(0, "1", (600, 1), Update));
    check("a change that never happened", |seen| seen.push(change(0, "9", (900, 0), Insert)));
    check("the row that follows the last of an event", |seen| seen.push(change(0, "9", (300, 2), Insert)));
    check("a last tombstone that is missing", |seen| drop(seen.pop()));
}
