//! What a log and a target must do with the documents of a ledger.

use tailrace_contract::{
    BarrierAct, BarrierPlace, Encounter, ErrorKind, LedgerEntry, LogWriter, Meeting, Owner, Result, Sink,
    StreamProgress, StreamStep, TableChanges, TableMapping, TargetAct,
};
use tailrace_row::{RecordBatch, TableName};

use crate::{
    barrier::truncate,
    log::{LogBench, LogHarness},
    sample::{Change, Row},
    sink::{Batch, STREAM, SinkBench, SinkHarness, checkpoint, kind},
};

/// A document, or that it is forgotten.
fn entry(key: &str, value: Option<&str>) -> LedgerEntry {
    LedgerEntry { key: key.into(), value: value.map(Into::into) }
}

/// Documents in the order of their keys' bytes, some with all that a key and a text may hold.
fn sample() -> [LedgerEntry; 4] {
    [
        entry("", Some("")),
        entry("B/shop.orders/2", Some("{\"text\": \"'\\\u{fc}\n\u{1f600}\"}")),
        entry("b/'\"$1 \u{fc}", Some("null")),
        entry("b/\u{fc}", Some(&"long ".repeat(20_000))),
    ]
}

impl LogBench<'_> {
    async fn note(&mut self, writer: &mut dyn LogWriter, entries: &[LedgerEntry]) {
        writer.append_ledger(entries).await.unwrap();
        self.transaction += 1;
        self.commit(writer).await.unwrap();
    }
}

/// Documents are durable with the commit, replaced and forgotten by later ones, and read in order by whoever asks.
pub async fn log_keeps_a_ledger(harness: &dyn LogHarness) {
    assert_eq!(harness.log().ledger().await.unwrap(), [], "nothing was ever made");
    let mut bench = LogBench::new(harness).await;
    assert_eq!(bench.log.ledger().await.unwrap(), []);
    let mut writer = bench.writer().await;
    let mut documents = sample();
    documents.reverse();
    bench.append(&mut *writer, &[Change::Insert(Row::new(1, "a"))]).await.unwrap();
    bench.note(&mut *writer, &documents).await;
    assert_eq!(bench.log.ledger().await.unwrap(), sample());
    assert_eq!(bench.log.checkpoint().await.unwrap(), Some(bench.checkpoint()), "with its checkpoint");

    let [first, second, third, fourth] = sample();
    let replaced = entry(&second.key, Some("last"));
    writer.append_ledger(&[entry(&second.key, Some("first")), entry(&third.key, None)]).await.unwrap();
    bench.note(&mut *writer, &[replaced.clone(), entry("was never there", None)]).await;
    let expect = [first, replaced, fourth];
    assert_eq!(bench.log.ledger().await.unwrap(), expect);
    bench.note(&mut *writer, &[third.clone(), entry("z", Some("gone")), entry("z", None)]).await;
    let expect = [expect[0].clone(), expect[1].clone(), third, expect[2].clone()];
    assert_eq!(harness.elsewhere().ledger().await.unwrap(), expect, "another process reads the same");
    bench.note(&mut *writer, &[]).await;

    drop(writer);
    bench.log.forget_checkpoint().await.unwrap();
    assert_eq!(bench.log.ledger().await.unwrap(), expect, "who forgets the checkpoint forgets no document");
}

/// What a writer appended that died, or was fenced, is never read, and is not in the next commit.
pub async fn log_forgets_documents_that_were_not_committed(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut died = bench.writer().await;
    bench.note(&mut *died, &[entry("a", Some("kept"))]).await;
    died.append_ledger(&[entry("a", Some("lost")), entry("b", Some("lost"))]).await.unwrap();
    drop(died);
    let mut fenced = bench.writer().await;
    assert_eq!(bench.log.ledger().await.unwrap(), [entry("a", Some("kept"))]);
    fenced.append_ledger(&[entry("a", None), entry("c", Some("lost"))]).await.unwrap();
    let mut writer = bench.writer().await;
    assert_eq!(kind(bench.commit(&mut *fenced).await), ErrorKind::Fenced);
    let appended = fenced.append_ledger(&[entry("d", Some("lost"))]).await;
    assert!(appended.is_err() || bench.commit(&mut *fenced).await.is_err(), "it stays fenced");
    bench.note(&mut *writer, &[entry("e", Some("kept too"))]).await;
    drop(fenced);
    let expect = [entry("a", Some("kept")), entry("e", Some("kept too"))];
    assert_eq!(bench.log.ledger().await.unwrap(), expect);
}

/// Documents are something appended: no barrier is committed over them.
pub async fn log_refuses_a_barrier_over_open_documents(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut writer = bench.writer().await;
    writer.append_ledger(&[entry("a", Some("lost"))]).await.unwrap();
    bench.transaction += 1;
    let change = truncate(bench.schema.name(), bench.transaction);
    assert_eq!(kind(writer.commit_barrier(&change, &bench.checkpoint()).await), ErrorKind::Corrupt);
    drop(writer);
    let mut writer = bench.writer().await;
    assert_eq!(bench.log.ledger().await.unwrap(), []);
    bench.note(&mut *writer, &[entry("b", Some("kept"))]).await;
    writer.commit_barrier(&change, &bench.checkpoint()).await.unwrap();
    assert_eq!(bench.log.ledger().await.unwrap(), [entry("b", Some("kept"))]);
}

/// The stream of the kit with its documents.
struct LedgerBench<'h> {
    bench: SinkBench<'h>,
    owner: Owner,
    saves: i64,
}

impl<'h> LedgerBench<'h> {
    async fn new(harness: &'h dyn SinkHarness) -> Self {
        let bench = SinkBench::new(harness, "orders").await;
        let StreamProgress { owner, saves, .. } = bench.claim_stream().await;
        Self { bench, owner, saves }
    }

    async fn ledger(&self) -> Vec<LedgerEntry> {
        self.sink().ledger(STREAM).await.unwrap()
    }

    fn sink(&self) -> &'h dyn Sink {
        self.bench.harness.sink()
    }

    /// Applies the batch with the documents as this owner, from so many saves.
    async fn save(&self, batch: &Batch, owner: Owner, saves: i64, ledger: &[LedgerEntry]) -> Result<()> {
        let checkpoint = &checkpoint(1, false);
        let stream = Some(StreamStep { stream: STREAM, saves, owner, checkpoint, ledger });
        let mut writer = self.sink().open_writer(STREAM).await.unwrap();
        let (records, changes) = (&batch.records, batch.changes.as_slice());
        let batch = tailrace_contract::ApplyBatch { records, changes, progress: &[], stream };
        writer.apply(batch).await.map(drop)
    }

    async fn note(&mut self, batch: &Batch, ledger: &[LedgerEntry]) {
        self.save(batch, self.owner, self.saves, ledger).await.unwrap();
        self.saves += 1;
    }
}

fn nothing() -> Batch {
    Batch { records: RecordBatch::new(), changes: Vec::new() }
}

/// Documents are stored with rows and checkpoint or alone, replaced, forgotten, read in order; each stream has its own.
pub async fn sink_keeps_a_ledger_with_its_checkpoint(harness: &dyn SinkHarness) {
    assert_eq!(harness.sink().ledger(STREAM).await.unwrap(), [], "nothing was ever made");
    let mut bench = LedgerBench::new(harness).await;
    assert_eq!(bench.ledger().await, []);
    let mut documents = sample();
    documents.reverse();
    let rows = bench.bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    bench.note(&rows, &documents).await;
    assert_eq!(bench.ledger().await, sample());
    assert_eq!(bench.bench.rows().await, [Row::new(1, "a")]);

    let [first, second, third, fourth] = sample();
    let (replaced, again) = (entry(&second.key, Some("last")), entry("a new one", Some("{}")));
    let changes = [
        entry(&second.key, Some("first")),
        entry(&third.key, None),
        replaced.clone(),
        entry("was never there", None),
        entry(&again.key, None),
        again.clone(),
        entry("gone", Some("gone")),
        entry("gone", None),
    ];
    bench.note(&nothing(), &changes).await;
    let expect = [first, replaced, again, fourth];
    assert_eq!(bench.ledger().await, expect);

    let other = bench.sink().claim_stream("another stream").await.unwrap();
    let (owner, of_other) = (other.owner, [entry("a", Some("of the other"))]);
    let step =
        StreamStep { stream: "another stream", saves: 0, owner, checkpoint: &checkpoint(1, true), ledger: &of_other };
    let nothing = nothing();
    let batch = tailrace_contract::ApplyBatch {
        records: &nothing.records,
        changes: &nothing.changes,
        progress: &[],
        stream: Some(step),
    };
    bench.sink().open_writer("another stream").await.unwrap().apply(batch).await.unwrap();
    assert_eq!(bench.ledger().await, expect);
    bench.sink().forget(STREAM).await.unwrap();
    assert_eq!(bench.ledger().await, [], "forgotten with the checkpoint");
    assert_eq!(bench.sink().ledger("another stream").await.unwrap(), of_other);
}

/// Where the rows or the checkpoint are not written, no document is: not of an older owner, not from elsewhere, not of a refused
/// batch.
pub async fn sink_writes_no_document_of_a_refused_batch(harness: &dyn SinkHarness) {
    let mut bench = LedgerBench::new(harness).await;
    let kept = [entry("a", Some("kept"))];
    bench.note(&nothing(), &kept).await;
    let old = bench.owner;
    bench.owner = bench.bench.claim_stream().await.owner;
    let lost = [entry("a", None), entry("b", Some("lost"))];
    let mut batch = bench.bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    for (owner, saves) in [(old, bench.saves), (Owner(bench.owner.0 + 1), bench.saves), (bench.owner, bench.saves - 1)]
    {
        assert_eq!(kind(bench.save(&batch, owner, saves, &lost).await), ErrorKind::Fenced);
        assert_eq!(bench.ledger().await, kept);
    }
    let missing = TableMapping::new(TableName::new("shop", "none"), harness.target("none"));
    batch.changes.push(TableChanges { mapping: missing.into(), ..batch.changes[0].clone() });
    batch.changes[0].upserts.clear();
    assert_eq!(kind(bench.save(&batch, bench.owner, bench.saves, &lost).await), ErrorKind::TableFailed);
    assert_eq!(bench.ledger().await, kept);

    bench.sink().forget(STREAM).await.unwrap();
    assert_eq!(kind(bench.save(&nothing(), bench.owner, bench.saves, &lost).await), ErrorKind::Fenced);
    assert_eq!(bench.ledger().await, []);
    assert_eq!(bench.bench.rows().await, []);
}

/// At a barrier documents are stored with the act and the checkpoint, and not while the table waits.
pub async fn sink_meets_with_documents(harness: &dyn SinkHarness) {
    let mut bench = LedgerBench::new(harness).await;
    let rows = bench.bench.batch(1, &[Change::Insert(Row::new(1, "before"))]);
    bench.note(&rows, &[entry("a", Some("before")), entry("b", Some("before"))]).await;
    let before = bench.ledger().await;
    let (behind, change) = (checkpoint(2, false), truncate(&bench.bench.partition.table, 2));
    let ledger = [entry("a", Some("behind")), entry("b", None)];
    let (sink, mapping) = (harness.sink(), &bench.bench.mapping);
    let meet = |act, owner, saves| {
        let step = StreamStep { stream: STREAM, saves, owner, checkpoint: &behind, ledger: &ledger };
        let place = BarrierPlace::Stream(Some(step));
        sink.meet(Encounter { log: STREAM, mapping, number: 2, change: &change, act, place })
    };
    let (pause, empty) = (BarrierAct::Pause("why".into()), BarrierAct::CarryOut(vec![TargetAct::Truncate]));
    assert_eq!(kind(meet(&empty, Owner(bench.owner.0 + 1), bench.saves).await), ErrorKind::Fenced);
    assert_eq!(kind(meet(&empty, bench.owner, bench.saves - 1).await), ErrorKind::Fenced);
    assert_eq!(meet(&pause, bench.owner, bench.saves).await.unwrap(), Meeting::Paused("why".into()));
    assert_eq!(bench.ledger().await, before);
    assert_eq!(meet(&empty, bench.owner, bench.saves).await.unwrap(), Meeting::Done);
    assert_eq!(bench.ledger().await, [entry("a", Some("behind"))]);
    assert_eq!(bench.bench.rows().await, []);
}
