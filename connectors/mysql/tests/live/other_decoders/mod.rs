//! Three decoders read the same binlog: ours, the server's own `mysqlbinlog --verbose`, and the crate `mysql_cdc`. They share no
//! code, so a mistake in one of them is a difference.
//!
//! Tables, rows and transactions are random. The seed is printed; `TAILRACE_SEED=17 cargo test -p tailrace-mysql --test live
//! other_decoders` writes the same rows again. What another decoder can't carry or prints otherwise is listed beside the
//! comparison that allows for it (`verbose`, `independent`); everything else is a mismatch.

#![expect(clippy::print_stdout, reason = "the seed and what was compared are the test's report")]

mod independent;
mod random;
mod verbose;

use std::{io::BufReader, path::PathBuf, process::Stdio};

use lab::{Flavor, Mariadb, Mysql, dice::Dice};
use tailrace_contract::{BatchLimits, Source as _};
use tailrace_row::{Operation, Record, RecordBatch, RowImage, TableSchema};

use self::random::{RandomTable, Reach};
use crate::harness::{Database, LIMITS, Stream};

/// Transactions of each of the two runs.
const TRANSACTIONS: usize = 5_000;
/// Transactions in one message to the server.
const AT_ONCE: usize = 50;
/// One binlog file holds a run, written fast.
const OPTIONS: [&str; 3] = ["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0", "--max-binlog-size=1G"];

#[tokio::test]
async fn other_decoders_see_the_same_rows() {
    compare_both(Mysql::fresh("decoders", &OPTIONS).unwrap()).await;
}

#[tokio::test]
async fn other_decoders_see_the_same_rows_of_mariadb() {
    compare_both(Mariadb::fresh("decoders", &OPTIONS).unwrap()).await;
}

async fn compare_both(server: Mysql) {
    let seed = match std::env::var("TAILRACE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => {
            u64::from(std::process::id()) << 32 | u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos())
        }
    };
    println!("{:?}: TAILRACE_SEED={seed}", server.flavor());
    let mut dice = Dice::new(seed);
    let everything = compare(&server, &mut dice, Reach::Everything).await;
    let carried = compare(&server, &mut dice, Reach::OfMysqlCdc).await;
    println!("{everything} records beside mysqlbinlog, {carried} more beside mysqlbinlog and mysql_cdc");
    assert!(everything > TRANSACTIONS && carried > TRANSACTIONS, "the transactions changed rows");
    server.remove().unwrap();
}

/// Writes a binlog file of random transactions and reads it in all ways; tells how many records it holds.
async fn compare(server: &Mysql, dice: &mut Dice, reach: Reach) -> usize {
    let mut database = Database::on(server.clone(), reach.database()).await;
    let tables: Vec<RandomTable> =
        (0..6).map(|number| RandomTable::roll(dice, number, reach, server.flavor())).collect();
    for table in &tables {
        database.run(&table.create()).await;
    }
    database.run("FLUSH BINARY LOGS").await;
    let file = match server.flavor() {
        Flavor::Mysql => "SELECT JSON_UNQUOTE(LOCAL->'$.binary_log_file') FROM performance_schema.log_status",
        Flavor::Mariadb | Flavor::Mariadb11 => {
            "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'BINLOG_SNAPSHOT_FILE'"
        }
    };
    let file = database.text(file).await;
    let names: Vec<&str> = tables.iter().map(|table| &*table.name).collect();
    let mut stream = database.follow(&names).await;
    database.run("SET sql_mode = ''").await;
    for _ in 0..TRANSACTIONS / AT_ONCE {
        let transactions: String = (0..AT_ONCE).map(|_| random::transaction(dice, &tables)).collect();
        database.run(&transactions).await;
    }
    // A last record tells that all before it were read.
    database.run(&tables[0].last_insert()).await;
    let batches = read_ours(&mut stream).await;
    let records = || batches.iter().flat_map(|batch| batch.records().iter().map(move |record| Seen { batch, record }));
    // Signs, lengths and members: the other decoders don't tell them.
    let declared = database.source().tables(&database.filter(&names)).await.unwrap();
    for seen in records() {
        let declared = declared.iter().find(|declared| declared.name() == seen.schema().name()).unwrap();
        assert_eq!(seen.schema(), &**declared, "what the table map says is what the dictionary says");
    }
    let path = fetch(server, &file);
    verbose::compare(server.flavor(), BufReader::new(print(server, &path)), reach.database(), records());
    if reach == Reach::OfMysqlCdc {
        independent::compare(&path, reach.database(), records());
    }
    records().count()
}

async fn read_ours(stream: &mut Stream) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    loop {
        stream.next_within(BatchLimits { bytes_max: 4 << 20, ..LIMITS }).await.unwrap();
        let batch = std::mem::take(&mut stream.batch);
        let is_last = batch.records().last().is_some_and(|record| random::is_last(batch.after(record)));
        batches.push(batch);
        if is_last {
            return batches;
        }
    }
}

/// Copies the server's binlog file.
fn fetch(server: &Mysql, file: &str) -> PathBuf {
    let folder = server.folder().join("fetched");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = server.mysqlbinlog().unwrap();
    command.arg("--raw").arg(format!("--result-file={}/", folder.display())).arg(file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join(file)
}

/// The file as the server's own program prints it.
fn print(server: &Mysql, file: &std::path::Path) -> impl std::io::Read {
    let mut command = server.mysqlbinlog_of_files().unwrap();
    command.args(["--verbose", "--verbose", "--base64-output=decode-rows"]).arg(file);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap().stdout.unwrap()
}

/// A record of ours.
#[derive(Clone, Copy)]
struct Seen<'a> {
    batch: &'a RecordBatch,
    record: &'a Record,
}

impl<'a> Seen<'a> {
    fn schema(self) -> &'a TableSchema {
        self.batch.schema(self.record)
    }

    fn table(self) -> &'a str {
        &self.schema().name().table
    }

    fn operation(self) -> Operation {
        self.record.operation
    }

    /// Before and after, as far as the operation has them.
    fn images(self) -> impl Iterator<Item = RowImage<'a>> {
        [self.batch.before(self.record), self.batch.after(self.record)].into_iter().flatten()
    }
}
