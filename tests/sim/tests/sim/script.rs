//! The business that keeps writing: random transactions on a few tables, and what an operator or a stranger does meanwhile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tailrace_memory::{MemoryTransaction, Row, Rows, Stall};
use tailrace_row::{Field, TableName, TableSchema, Value};

use crate::{
    copies,
    plan::{Copies, Plan, Sick, Start},
    random::Random,
    world::{World, schema, table_name, target_of},
};

/// The tables and what is known of their rows.
struct Writer {
    world: Arc<World>,
    random: Random,
    tables: Vec<Arc<TableSchema>>,
    foreign: Arc<TableSchema>,
    /// Makes each written value another one.
    counter: i64,
}

/// Makes the tables, in source and target.
pub(crate) async fn write(world: Arc<World>, random: Random) {
    let foreign = world.source.create_table(schema(TableName::new("other", "noise"), 0));
    let mut writer = Writer { world: Arc::clone(&world), random, tables: Vec::new(), foreign, counter: 0 };
    for _ in 0..world.plan.tables {
        writer.create_table();
    }
    if world.plan.sick == Sick::RefusedRow {
        let refused = Fields { id: 1, kind: "a", total: None, note: String::new() };
        let row = Row::new(&writer.tables[0], &refused.list());
        world.sink.refuse_row(&target_of(writer.tables[0].name()), row.key());
    }
    if let Some(copies) = world.plan.copies {
        (0..copies.transactions).for_each(|_| writer.write_transaction(false));
        if world.plan.start == Start::Earliest {
            // What is purged only the tables have.
            world.source.purge(world.source.transactions().len());
        }
    } else if world.plan.start == Start::Now {
        writer.write_transaction(true);
        world.wait_until("the first checkpoint", Duration::from_secs(300), || copies::has_begun(&world)).await;
    }
    let special = writer.random.below(world.plan.transactions);
    for number in 0..world.plan.transactions {
        let pause = writer.random.millis(0, world.plan.pause_max_ms);
        tokio::time::sleep(pause).await;
        if number == special {
            writer.do_something_special();
        }
        if writer.random.per_mille(world.plan.truncate_per_mille) {
            writer.truncate();
        }
        let is_foreign = writer.random.per_mille(world.plan.foreign_per_mille);
        writer.write_transaction(is_foreign);
    }
}

impl Writer {
    fn create_table(&mut self) {
        let number = self.tables.len();
        let schema = self.world.source.create_table(schema(table_name(number), number));
        self.world.sink.add_table(&schema, &target_of(schema.name()));
        if !copies::has_begun(&self.world) {
            let mut known = self.world.with_history.lock().expect("invariant: nobody panics with it");
            known.insert(schema.name().clone());
        }
        self.tables.push(schema);
    }

    fn do_something_special(&mut self) {
        let world = Arc::clone(&self.world);
        if world.plan.has_late_table {
            self.create_table();
        }
        if world.plan.sick == Sick::Garbage {
            let of_first = world.log.ends().into_keys().filter(|partition| partition.table == table_name(0));
            let partitions: Vec<_> = of_first.collect();
            if !partitions.is_empty() {
                let partition = &partitions[self.random.index(partitions.len())];
                world.trace(|| format!("garbage in {partition}"));
                world.log.append_garbage(partition);
                world.lost.lock().expect("invariant: nobody panics with it").insert(partition.table.clone());
            }
        }
    }

    fn truncate(&mut self) {
        let is_foreign = self.random.per_mille(self.world.plan.foreign_per_mille / 4);
        let table = if is_foreign { &self.foreign } else { &self.tables[self.random.index(self.tables.len())] };
        self.world.trace(|| format!("the source empties {}", table.name()));
        self.world.source.truncate(table.name());
    }

    /// The next transaction may be delivered long before it is seen, and counted even later; it may begin a new file.
    fn upset_readers(&mut self, copies: Copies) {
        let is_stalled = self.random.per_mille(copies.stall_per_mille);
        let mut calls = || if is_stalled { u32::try_from(self.random.below(40)).expect("invariant: small") } else { 0 };
        self.world.source.stall(Stall { visible_calls: calls(), executed_calls: calls() });
        if self.random.per_mille(50) {
            self.world.source.rotate();
        }
    }

    fn write_transaction(&mut self, is_foreign: bool) {
        let is_huge = self.random.per_mille(self.world.plan.huge_per_mille);
        let count = if is_huge { self.random.between(40, 250) } else { self.random.between(0, 6) };
        let mut known: BTreeMap<TableName, Rows> = BTreeMap::new();
        let mut transaction = MemoryTransaction::new();
        for _ in 0..count {
            let is_other = is_foreign || self.random.per_mille(self.world.plan.foreign_per_mille / 4);
            let table = if is_other {
                Arc::clone(&self.foreign)
            } else {
                Arc::clone(&self.tables[self.random.index(self.tables.len())])
            };
            let rows = known.entry(table.name().clone()).or_insert_with(|| self.world.source.rows(table.name()));
            self.counter += 1;
            let drawn = Drawn::new(&mut self.random, &self.world.plan, self.counter);
            drawn.change(&table, rows, &mut transaction);
            if self.random.per_mille(150) {
                transaction.next_event();
            }
        }
        if let Some(copies) = self.world.plan.copies {
            self.upset_readers(copies);
            if self.random.per_mille(copies.in_part_per_mille) {
                transaction.log_in_part();
            }
        }
        self.world.trace(|| format!("the source commits {count} changes"));
        self.world.source.commit(transaction);
    }
}

/// One change as drawn: what it does depends on the rows that are there.
struct Drawn {
    row: Fields,
    other: Fields,
    choice: u64,
}

impl Drawn {
    fn new(random: &mut Random, plan: &Plan, counter: i64) -> Self {
        Self {
            row: Fields::draw(random, plan, counter),
            other: Fields::draw(random, plan, counter),
            choice: random.below(10),
        }
    }

    fn change(&self, schema: &Arc<TableSchema>, rows: &mut Rows, transaction: &mut MemoryTransaction) {
        let row = Row::new(schema, &self.row.list());
        let other = Row::new(schema, &self.other.list());
        let Some(before) = rows.get(&row.key()).cloned() else {
            transaction.insert(schema, &self.row.list());
            rows.insert(row.key(), row);
            return;
        };
        match self.choice {
            0 | 1 => {
                transaction.delete(&before);
                rows.remove(&before.key());
            }
            2..=4 if !rows.contains_key(&other.key()) => {
                transaction.update(&before, &self.other.list());
                rows.remove(&before.key());
                rows.insert(other.key(), other);
            }
            _ => {
                transaction.update(&before, &self.row.list());
                rows.insert(row.key(), row);
            }
        }
    }
}

/// The fields of a row.
pub(crate) struct Fields {
    pub(crate) id: i64,
    pub(crate) kind: &'static str,
    pub(crate) total: Option<i64>,
    pub(crate) note: String,
}

impl Fields {
    fn draw(random: &mut Random, plan: &Plan, counter: i64) -> Self {
        let id = i64::try_from(random.below(plan.ids)).expect("invariant: few ids");
        let kind = random.pick(&["a", "a", "b"]);
        let total = (!random.per_mille(100)).then_some(counter);
        let length = if random.per_mille(20) { 200 } else { random.index(20) };
        Self { id, kind, total, note: "n".repeat(length) }
    }

    pub(crate) fn list(&self) -> [Field<'_>; 4] {
        let total = self.total.map_or(Field::Null, |total| Field::Value(Value::Integer(total)));
        [
            Field::Value(Value::Integer(self.id)),
            Field::Value(Value::Text(self.kind)),
            total,
            Field::Value(Value::Text(&self.note)),
        ]
    }
}
