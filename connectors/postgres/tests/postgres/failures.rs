//! Lost connections, answers and servers, locks, owners and altered tables: rows and progress stay together.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use lab::{Postgres, proxy::Proxy};
use sqlx::PgConnection;
use tailrace_contract::{Applied, ErrorKind, PartitionProgress, Result, Sink as _, SinkWriter};
use tailrace_postgres::PostgresSink;
use tailrace_row::{ColumnType, Field, Value};

use crate::bench::{BIGINT, Bench, Changes, LOG, connect, partition, run, schema, settings, step};

fn row(id: i64, n: i64) -> [Field<'static>; 2] {
    [Field::Value(Value::Integer(id)), Field::Value(Value::Integer(n))]
}

/// Rows 1 to `count`, all with the same number.
fn rows(count: i64, n: i64) -> Changes {
    let mut changes = Changes::new(&schema(&[("id", BIGINT), ("n", BIGINT)], &[0]));
    for id in 1..=count {
        changes.upsert(&row(id, n));
    }
    changes
}

async fn table(bench: &Bench) {
    bench.create_as("id bigint PRIMARY KEY, n bigint").await;
}

/// The number that all rows have, and the stored offset: they must always be the same.
async fn state(bench: &Bench) -> Vec<String> {
    bench.ask("SELECT min(n), max(n), (SELECT next_offset FROM tailrace.offsets) FROM shop.things").await
}

fn kind(result: Result<Applied>) -> ErrorKind {
    result.unwrap_err().kind()
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} within a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A transaction that holds row 1, and has written another number into it.
async fn lock(bench: &Bench) -> PgConnection {
    let mut other = bench.sql().await;
    run(&mut other, "BEGIN; UPDATE shop.things SET n = n WHERE id = 1").await;
    other
}

/// Waits until the sink's statement waits for the lock.
async fn until_blocked(bench: &Bench) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tailrace' AND wait_event_type = 'Lock'
               AND datname = current_database()";
    until("the batch waits for the lock", async || bench.ask(sql).await == ["1"]).await;
}

/// Applies while `meanwhile` happens.
async fn apply_beside(
    bench: &Bench,
    writer: &mut dyn SinkWriter,
    changes: Changes,
    from: &PartitionProgress,
    meanwhile: impl Future<Output = ()>,
) -> Result<Applied> {
    let steps = [step(from)];
    tokio::join!(changes.apply(bench, writer, &steps), meanwhile).0
}

/// Many rows come as new, by one writer: those that are there are replaced all the same, and what the batch had written of others before
/// that was known is written once.
#[tokio::test]
async fn rows_that_come_as_new_may_be_there() {
    let bench = Bench::new("as_new").await;
    table(&bench).await;
    let mut writer = bench.writer().await;
    let mut expect = 0;
    for (round, (first, last)) in (1_i64..).zip([
        (1, 4_000),
        (4_000, 8_000),
        (8_001, 12_000),
        (12_001, 16_000),
        (1, 5_000),
        (16_001, 20_000),
        (20_001, 24_000),
        (24_001, 28_000),
    ]) {
        let mut changes = Changes::new(&schema(&[("id", BIGINT), ("n", BIGINT)], &[0]));
        for id in first..=last {
            changes.upsert(&row(id, round));
        }
        let applied = changes.apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
        assert_eq!(applied.upserted, u64::try_from(last - first + 1).unwrap());
        expect = expect.max(last);
        let found = bench.ask(&format!("SELECT count(*), count(*) FILTER (WHERE n = {round}) FROM shop.things")).await;
        assert_eq!(found, [format!("{expect}|{}", last - first + 1)], "round {round}");
    }
}

#[tokio::test]
async fn an_ended_session_is_noticed_and_the_writer_goes_on() {
    let bench = Bench::new("ended_session").await;
    table(&bench).await;
    let mut writer = bench.writer().await;
    rows(3_000, 1).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    let from = bench.claim().await;
    let mut admin = bench.admin_sql().await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tailrace' AND datname = current_database()";
    run(&mut admin, end).await;
    assert_eq!(kind(rows(3_000, 2).apply(&bench, &mut *writer, &[step(&from)]).await), ErrorKind::Transient);
    assert_eq!(state(&bench).await, ["1|1|1"]);
    // In the middle of a batch.
    let mut other = lock(&bench).await;
    let ended = apply_beside(&bench, &mut *writer, rows(3_000, 2), &from, async {
        until_blocked(&bench).await;
        run(&mut admin, end).await;
    });
    assert_eq!(kind(ended.await), ErrorKind::Transient);
    run(&mut other, "ROLLBACK").await;
    assert_eq!(state(&bench).await, ["1|1|1"]);
    rows(3_000, 2).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    assert_eq!(state(&bench).await, ["2|2|2"]);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up() {
    let bench = Bench::new("statement_timeout").await;
    table(&bench).await;
    bench.apply(&rows(10, 1)).await.unwrap();
    let mut settings = settings(&bench.server, &bench.database);
    settings.statement_timeout = Duration::from_millis(200);
    let sink = PostgresSink::new(settings).unwrap();
    let mut writer = sink.open_writer(LOG).await.unwrap();
    let mut other = lock(&bench).await;
    let from = bench.claim().await;
    let error = rows(10, 2).apply(&bench, &mut *writer, &[step(&from)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("statement_timeout"), "{error}");
    run(&mut other, "ROLLBACK").await;
    rows(10, 2).apply(&bench, &mut *writer, &[step(&from)]).await.unwrap();
    assert_eq!(state(&bench).await, ["2|2|2"]);
}

/// A network that is silent but not closed: the wait ends by itself.
#[tokio::test]
async fn a_dead_network_is_noticed() {
    let bench = Bench::new("dead_network").await;
    table(&bench).await;
    let proxy = Proxy::start(bench.server.port().unwrap()).unwrap();
    let mut settings = settings(&bench.server, &bench.database);
    settings.endpoint.port = proxy.port();
    settings.statement_timeout = Duration::from_millis(500);
    let sink = PostgresSink::new(settings).unwrap();
    let mut writer = sink.open_writer(LOG).await.unwrap();
    rows(10, 1).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    let from = bench.claim().await;
    proxy.stall_both();
    let begin = Instant::now();
    assert_eq!(kind(rows(10, 2).apply(&bench, &mut *writer, &[step(&from)]).await), ErrorKind::Transient);
    assert!(begin.elapsed() < Duration::from_secs(15), "noticed after {:?}", begin.elapsed());
    proxy.pass();
    proxy.cut();
    until("the lost session has ended", async || bench.ask(SESSIONS).await == ["0"]).await;
    rows(10, 2).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    assert_eq!(state(&bench).await, ["2|2|2"]);
}

const SESSIONS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tailrace' AND datname = current_database()";

/// F39: the target committed and nobody told us. The caller learns it by a claim.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown() {
    let bench = Bench::new("commit_unknown").await;
    table(&bench).await;
    let proxy = Proxy::start(bench.server.port().unwrap()).unwrap();
    let mut settings = settings(&bench.server, &bench.database);
    settings.endpoint.port = proxy.port();
    let sink = PostgresSink::new(settings).unwrap();
    let mut writer = sink.open_writer(LOG).await.unwrap();
    let from = bench.claim().await;
    proxy.swallow_answer_to(b"COMMIT\0");
    let lost = apply_beside(&bench, &mut *writer, rows(10, 1), &from, async {
        until("the commit is sent", async || proxy.trap_sprung()).await;
        until("the commit is done", async || bench.ask("SELECT count(*) FROM shop.things").await == ["10"]).await;
        proxy.reset();
    });
    assert_eq!(kind(lost.await), ErrorKind::Transient);
    proxy.pass();
    assert_eq!(kind(rows(10, 1).apply(&bench, &mut *writer, &[step(&from)]).await), ErrorKind::Fenced, "it is done");
    assert_eq!(state(&bench).await, ["1|1|1"]);
    rows(10, 2).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    assert_eq!(state(&bench).await, ["2|2|2"]);
}

/// Connections reset at any moment of many batches: rows and progress always agree, and in the end all is there.
#[tokio::test]
async fn resets_at_any_moment_change_nothing() {
    const BATCHES: i64 = 60;
    let bench = Bench::new("resets").await;
    table(&bench).await;
    let proxy = Proxy::start(bench.server.port().unwrap()).unwrap();
    let mut settings = settings(&bench.server, &bench.database);
    settings.endpoint.port = proxy.port();
    let sink = PostgresSink::new(settings).unwrap();
    let mut writer = sink.open_writer(LOG).await.unwrap();
    let (mut from, mut tries) = (bench.claim().await, 0);
    let (mut lost, mut known) = (0, 0);
    while from.next_offset.unwrap_or(0) < BATCHES {
        let number = from.next_offset.unwrap_or(0) + 1;
        let size = if number % 2 == 0 { 2_200 } else { 20 };
        // A different moment each time, from before the first byte to behind the commit; every third try is left alone.
        tries += 1;
        let delay = Duration::from_micros(tries * 997 % 60_000 / if size == 20 { 10 } else { 1 });
        let result = apply_beside(&bench, &mut *writer, rows(size, number), &from, async {
            tokio::time::sleep(delay).await;
            (tries % 3 != 0).then(|| proxy.reset());
        });
        match result.await {
            Ok(_) => known += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
                lost += 1;
            }
        }
        from = bench.claim().await;
        let stored = from.next_offset.unwrap_or(0);
        assert!(stored == number || stored == number - 1, "one batch or none");
        let first = bench.ask("SELECT coalesce(max(n), 0) FROM shop.things WHERE id <= 20").await;
        assert_eq!(first, [stored.to_string()], "rows and progress agree");
    }
    assert!(lost > 20 && known > 20, "{lost} batches were hit, {known} were not");
}

/// Applies batch after batch until the server, which is killed meanwhile, is gone; returns the last that was acknowledged.
async fn apply_until_killed(bench: &Bench, writer: &mut dyn SinkWriter) -> i64 {
    let mut from = bench.claim().await;
    let first = from.next_offset.unwrap_or(0) + 1;
    let mut killing = None;
    for number in first.. {
        if number == first + 20 {
            let server = bench.server.clone();
            killing = Some(tokio::task::spawn_blocking(move || server.kill()));
        }
        if let Err(error) = rows(200, number).apply(bench, writer, &[step(&from)]).await {
            assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
            break;
        }
        from.next_offset = Some(number);
    }
    killing.expect("the server worked until it was killed").await.unwrap().unwrap();
    from.next_offset.unwrap()
}

/// The server is killed under load and comes back; nothing that was acknowledged is missing.
#[tokio::test]
async fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let bench = Bench::on(Postgres::fresh("connector-kill", &[]).unwrap(), "killed_server").await;
    table(&bench).await;
    for round in 0..3 {
        let mut writer = bench.writer().await;
        let acknowledged = apply_until_killed(&bench, &mut *writer).await;
        let down = bench.sink.claim(LOG, &[partition()]).await.unwrap_err();
        assert_eq!(down.kind(), ErrorKind::Transient, "{down}");
        let server = bench.server.clone();
        tokio::task::spawn_blocking(move || server.start()).await.unwrap().unwrap();
        let stored = bench.claim().await.next_offset.unwrap();
        assert!(stored == acknowledged || stored == acknowledged + 1, "round {round}: {stored} after {acknowledged}");
        assert_eq!(state(&bench).await, [format!("{stored}|{stored}|{stored}")]);
        // A writer that lost its server finds the new one.
        rows(200, stored + 1).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    }
    bench.server.remove().unwrap();
}

/// A call that is dropped half-way writes nothing, and the writer is not confused by answers that come later.
#[tokio::test]
async fn a_dropped_call_leaves_nothing() {
    let bench = Bench::new("dropped_call").await;
    table(&bench).await;
    let mut writer = bench.writer().await;
    rows(3_000, 1).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    let from = bench.claim().await;
    for count in [10, 3_000] {
        let mut other = lock(&bench).await;
        tokio::select! {
            _ = async { rows(count, 2).apply(&bench, &mut *writer, &[step(&from)]).await } => panic!("the row is locked"),
            () = until_blocked(&bench) => {}
        }
        run(&mut other, "ROLLBACK").await;
        until("the dropped session has ended", async || bench.ask(SESSIONS).await == ["0"]).await;
        assert_eq!(state(&bench).await, ["1|1|1"]);
    }
    rows(3_000, 2).apply(&bench, &mut *writer, &[step(&from)]).await.unwrap();
    assert_eq!(state(&bench).await, ["2|2|2"]);
}

/// A batch is under way when another process claims: the claim does not wait, and the batch leaves nothing.
#[tokio::test]
async fn a_claim_in_the_middle_of_a_batch_fences_it() {
    let bench = Bench::new("claim_in_the_middle").await;
    table(&bench).await;
    bench.apply(&rows(10, 1)).await.unwrap();
    let mut writer = bench.writer().await;
    let from = bench.claim().await;
    let mut other = lock(&bench).await;
    let mut claimed = None;
    let fenced = apply_beside(&bench, &mut *writer, rows(10, 2), &from, async {
        until_blocked(&bench).await;
        claimed = Some(bench.claim().await);
        run(&mut other, "ROLLBACK").await;
    });
    assert_eq!(kind(fenced.await), ErrorKind::Fenced);
    assert_eq!(state(&bench).await, ["1|1|1"]);
    rows(10, 2).apply(&bench, &mut *writer, &[step(&claimed.unwrap())]).await.unwrap();
    assert_eq!(state(&bench).await, ["2|2|2"]);
}

/// Set back by hand while apply stands, the progress is where it goes on; while it runs, it is a rival.
#[tokio::test]
async fn progress_set_back_by_hand() {
    let bench = Bench::new("set_back_by_hand").await;
    table(&bench).await;
    for n in 1..=3 {
        bench.apply(&rows(10, n)).await.unwrap();
    }
    let mut writer = bench.writer().await;
    let running = bench.claim().await;
    bench.run("UPDATE tailrace.offsets SET next_offset = 1, sequence = '{0,1,0,0}'").await;
    let error = rows(10, 4).apply(&bench, &mut *writer, &[step(&running)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("shop.things[0] had its progress changed by somebody else"), "{error}");
    let from = bench.claim().await;
    assert_eq!((from.next_offset, from.sequence.unwrap().to_string()), (Some(1), "0-1-0-0".into()));
    rows(10, 2).apply(&bench, &mut *writer, &[step(&from)]).await.unwrap();
    assert_eq!(state(&bench).await, ["2|2|2"]);
}

/// F40: of two transactions that wait for each other one is ended; it is tried again.
#[tokio::test]
async fn a_deadlock_passes() {
    let bench = Bench::new("deadlock").await;
    table(&bench).await;
    bench.apply(&rows(2, 1)).await.unwrap();
    let mut writer = bench.writer().await;
    let from = bench.claim().await;
    let mut other = bench.admin_sql().await;
    run(&mut other, "SET deadlock_timeout = '1min'; BEGIN; UPDATE shop.things SET n = n WHERE id = 2").await;
    let ended = apply_beside(&bench, &mut *writer, rows(2, 2), &from, async {
        until_blocked(&bench).await;
        run(&mut other, "UPDATE shop.things SET n = n WHERE id = 1; COMMIT").await;
    });
    let error = ended.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("40P01"), "{error}");
    rows(2, 2).apply(&bench, &mut *writer, &[step(&from)]).await.unwrap();
    assert_eq!(state(&bench).await, ["2|2|2"]);
}

const DECIMAL: ColumnType = ColumnType::Decimal { precision: 10, scale: 4 };

/// A column that would round what we write, altered behind our back: nothing of the batch is kept, the column is named.
#[tokio::test]
async fn an_altered_column_stops_the_batch() {
    use tailrace_row::Decimal;
    let bench = Bench::new("altered_column").await;
    bench.create_as("id bigint PRIMARY KEY, v numeric(10,4)").await;
    let schema = schema(&[("id", BIGINT), ("v", DECIMAL)], &[0]);
    let changes = |number: u8| {
        let mut changes = Changes::new(&schema);
        let unscaled = [number];
        changes.upsert(&[
            Field::Value(Value::Integer(1)),
            Field::Value(Value::Decimal(Decimal { unscaled: &unscaled, scale: 4 })),
        ]);
        changes
    };
    let mut writer = bench.writer().await;
    changes(1).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    bench.run("ALTER TABLE shop.things ADD COLUMN note text").await;
    changes(2).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    assert_eq!(bench.ask("SELECT v FROM shop.things").await, ["0.0002"], "a harmless change is taken up");
    bench.run("ALTER TABLE shop.things ALTER v TYPE numeric(10,2)").await;
    let error = changes(3).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableFailed);
    assert!(error.to_string().contains("shop.things.v: type numeric(10,2): it would round"), "{error}");
    assert_eq!(bench.ask("SELECT v, (SELECT next_offset FROM tailrace.offsets) FROM shop.things").await, ["0.00|2"]);
    bench.run("ALTER TABLE shop.things ALTER v TYPE numeric(12,6)").await;
    changes(4).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap();
    bench.run("ALTER TABLE shop.things RENAME v TO w").await;
    let error = changes(5).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap_err();
    assert!(error.to_string().contains("shop.things.v: no such column"), "{error}");
    bench.run("DROP TABLE shop.things").await;
    let error = changes(5).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap_err();
    assert!(error.to_string().contains("no table shop.things"), "{error}");
    bench.run("CREATE TABLE shop.things (id bigint PRIMARY KEY, v text)").await;
    let error = changes(5).apply(&bench, &mut *writer, &[step(&bench.claim().await)]).await.unwrap_err();
    assert!(error.to_string().contains("type text"), "{error}");
}

/// Whatever the account's or the database's defaults are.
#[tokio::test]
async fn sessions_are_set_up_as_needed() {
    let bench = Bench::new("session_settings").await;
    table(&bench).await;
    let mut admin = connect(&bench.server.admin_url("postgres").unwrap()).await;
    run(
        &mut admin,
        "ALTER DATABASE session_settings SET synchronous_commit = off;
         ALTER DATABASE session_settings SET timezone = 'Asia/Tokyo';
         ALTER DATABASE session_settings SET default_transaction_isolation = 'serializable'",
    )
    .await;
    bench
        .run(
            "CREATE TABLE shop.seen (name text, value text);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
               INSERT INTO shop.seen SELECT s, current_setting(s) FROM unnest(ARRAY['synchronous_commit', 'timezone',
                 'transaction_isolation', 'client_min_messages', 'statement_timeout', 'row_security', 'application_name']) AS s;
               RETURN new; END$$;
             CREATE TRIGGER look BEFORE INSERT ON shop.things FOR EACH ROW EXECUTE FUNCTION look()",
        )
        .await;
    bench.apply(&rows(1, 1)).await.unwrap();
    assert_eq!(
        bench.ask("SELECT name, value FROM shop.seen ORDER BY name").await,
        [
            "application_name|tailrace",
            "client_min_messages|error",
            "row_security|off",
            "statement_timeout|30s",
            "synchronous_commit|on",
            "timezone|UTC",
            "transaction_isolation|read committed",
        ]
    );
}
