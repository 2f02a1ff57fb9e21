//! One connection of the shop and what it does: an act is a transaction over some tables. What it remembers of its own rows
//! changes only once the commit is answered.
//!
//! Deadlocks and lock timeouts are part of a shop's life: the transaction is rolled back and counted as such. Every other
//! error ends the worker.

use std::sync::Arc;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Value};

use super::tally::{Change, Pending, Table, Tally};
use super::values::Values;
use super::{Dice, Settings};

/// Products that all connections sell.
const SHARED_PRODUCTS: u64 = 24;
/// Orders that one connection keeps before it only cancels.
const ORDERS_MAX: usize = 20_000;
const FIRST_CUSTOMERS: u64 = 100;
const FIRST_PRODUCTS: u64 = 40;
const WAREHOUSES: [&str; 3] = ["EAST", "W", "N-2"];

pub(super) struct Worker {
    conn: Conn,
    tally: Arc<Tally>,
    values: Values,
    number: u64,
    connections: u64,
    next: u64,
    customers: Vec<u64>,
    products: Vec<String>,
    orders: Vec<Order>,
    payments: Vec<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    id: u64,
    customer: u64,
}

/// What the worker remembers once the commit is answered.
enum After {
    Nothing,
    Customer(u64),
    CustomerGone(usize),
    CustomerMoved(usize, u64),
    Product(String),
    ProductGone(usize),
    ProductMoved(usize, String),
    Order(Order),
    OrderGone(usize),
    OrderMoved(usize, u64),
    Payment(Vec<u8>),
    PaymentGone(usize),
    PaymentMoved(usize, Vec<u8>),
    /// The act ends without a commit, on purpose.
    RollBack,
}

type Act = Result<After, Error>;

impl Worker {
    pub(super) fn new(settings: &Settings, number: u32, conn: Conn, tally: Arc<Tally>) -> Worker {
        let dice = Dice::new(settings.seed.wrapping_mul(1000).wrapping_add(u64::from(number)));
        Worker {
            conn,
            tally,
            values: Values::new(dice),
            number: u64::from(number),
            connections: u64::from(settings.connections),
            next: 0,
            customers: Vec::new(),
            products: Vec::new(),
            orders: Vec::new(),
            payments: Vec::new(),
        }
    }

    pub(super) async fn stock_shared_products(&mut self) -> Result<()> {
        for number in 0..SHARED_PRODUCTS {
            self.commit_act(Plan::SharedProduct(number)).await?;
        }
        Ok(())
    }

    pub(super) async fn open_shop(&mut self) -> Result<()> {
        for _ in 0..FIRST_CUSTOMERS {
            self.commit_act(Plan::NewCustomer).await?;
        }
        for _ in 0..FIRST_PRODUCTS {
            self.commit_act(Plan::NewProduct).await?;
        }
        Ok(())
    }

    pub(super) async fn transact(&mut self) -> Result<()> {
        let plan = self.plan();
        self.commit_act(plan).await
    }

    pub(super) async fn close(self) -> Result<()> {
        self.conn.disconnect().await.context("closing a connection")
    }

    /// One transaction from start to commit or rollback.
    async fn commit_act(&mut self, plan: Plan) -> Result<()> {
        let mut pending = Pending::default();
        self.conn.query_drop("START TRANSACTION").await.context("starting a transaction")?;
        match self.act(plan, &mut pending).await {
            Ok(After::RollBack) => self.roll_back().await,
            Ok(after) => {
                self.conn.query_drop("COMMIT").await.context("committing")?;
                self.tally.commit(&pending);
                self.remember(after);
                Ok(())
            }
            // Deadlock, lock wait timeout.
            Err(Error::Server(error)) if matches!(error.code, 1213 | 1205) => self.roll_back().await,
            Err(error) => Err(error).with_context(|| format!("{plan:?}")),
        }
    }

    async fn roll_back(&mut self) -> Result<()> {
        self.conn.query_drop("ROLLBACK").await.context("rolling back")?;
        self.tally.roll_back();
        Ok(())
    }

    fn remember(&mut self, after: After) {
        match after {
            After::Nothing | After::RollBack => {}
            After::Customer(id) => self.customers.push(id),
            After::CustomerGone(index) => drop(self.customers.swap_remove(index)),
            After::CustomerMoved(index, id) => self.customers[index] = id,
            After::Product(sku) => self.products.push(sku),
            After::ProductGone(index) => drop(self.products.swap_remove(index)),
            After::ProductMoved(index, sku) => self.products[index] = sku,
            After::Order(order) => self.orders.push(order),
            After::OrderGone(index) => drop(self.orders.swap_remove(index)),
            After::OrderMoved(index, id) => self.orders[index].id = id,
            After::Payment(id) => self.payments.push(id),
            After::PaymentGone(index) => drop(self.payments.swap_remove(index)),
            After::PaymentMoved(index, id) => self.payments[index] = id,
        }
    }

    fn plan(&mut self) -> Plan {
        if self.orders.len() < 5 || self.payments.len() < 5 {
            return if self.orders.len() < 5 { Plan::PlaceOrder } else { Plan::PayOrder };
        }
        if self.orders.len() > ORDERS_MAX {
            return Plan::CancelOrder;
        }
        match self.values.dice.below(100) {
            0..16 => Plan::PlaceOrder,
            16..30 => Plan::PayOrder,
            30..38 => Plan::SendOrder,
            38..46 => Plan::CancelOrder,
            46..48 => Plan::ReplaceOrder,
            48..51 => Plan::RenumberOrder,
            51..74 => Plan::ChangeCustomer,
            74..78 => Plan::NewCustomer,
            78..80 if self.customers.len() > 50 => Plan::DropCustomer,
            78..83 => Plan::MoveCustomer,
            83..88 => Plan::ChangeProduct,
            88..90 => Plan::NewProduct,
            90..92 if self.products.len() > 20 => Plan::DropProduct,
            90..94 => Plan::RenameProduct,
            94..96 => Plan::Refund,
            96..97 => Plan::ChangePayment,
            97..99 => Plan::MovePayment,
            _ => Plan::ChangeOfMind,
        }
    }

    async fn act(&mut self, plan: Plan, pending: &mut Pending) -> Act {
        match plan {
            Plan::SharedProduct(number) => self.new_product(shared_sku(number), pending).await.map(|_| After::Nothing),
            Plan::NewProduct => {
                let sku = self.values.sku(self.number);
                self.new_product(sku, pending).await
            }
            Plan::ChangeProduct => self.change_product(pending).await,
            Plan::RenameProduct => self.rename_product(pending).await,
            Plan::DropProduct => self.drop_product(pending).await,
            Plan::NewCustomer => self.new_customer(pending).await,
            Plan::ChangeCustomer => self.change_customer(pending).await,
            Plan::MoveCustomer => self.move_customer(pending).await,
            Plan::DropCustomer => self.drop_customer(pending).await,
            Plan::PlaceOrder => {
                let id = self.new_id();
                self.place_order(id, pending).await
            }
            Plan::PayOrder => self.pay_order(pending).await,
            Plan::SendOrder => self.send_order(pending).await,
            Plan::CancelOrder => self.cancel_order(pending).await,
            Plan::ReplaceOrder => self.replace_order(pending).await,
            Plan::RenumberOrder => self.renumber_order(pending).await,
            Plan::Refund => self.refund(pending).await,
            Plan::ChangePayment => self.change_payment(pending).await,
            Plan::MovePayment => self.move_payment(pending).await,
            Plan::ChangeOfMind => {
                self.change_customer(pending).await?;
                Ok(After::RollBack)
            }
        }
    }

    async fn new_product(&mut self, sku: String, pending: &mut Pending) -> Act {
        let product = self.values.product(&sku);
        let sql = "INSERT INTO products VALUES (?,?,?,?,?,?,?,?,?,?)";
        self.run(sql, product, (Table::Products, Change::Insert), pending).await?;
        for warehouse in WAREHOUSES {
            let on_hand = self.values.dice.below(1000);
            let row = vec![warehouse.into(), sku.clone().into(), on_hand.into(), 0.into(), self.values.moment().into()];
            self.run("INSERT INTO stock VALUES (?,?,?,?,?)", row, (Table::Stock, Change::Insert), pending).await?;
        }
        Ok(After::Product(sku))
    }

    async fn change_product(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.products.len());
        let sku = self.products[index].clone();
        let mut row = self.values.product(&sku);
        row.rotate_left(1);
        let sql = "UPDATE products SET title=?, price=?, weight=?, ratio=?, attributes=?, picture=?, made=?, opens=?, flags=? WHERE sku=?";
        self.run(sql, row, (Table::Products, Change::Update), pending).await?;
        Ok(After::Nothing)
    }

    async fn rename_product(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.products.len());
        let (old, new) = (self.products[index].clone(), self.values.sku(self.number));
        let names = || vec![Value::from(new.clone()), Value::from(old.clone())];
        self.run("UPDATE products SET sku=? WHERE sku=?", names(), (Table::Products, Change::KeyChange), pending)
            .await?;
        self.run("UPDATE stock SET sku=? WHERE sku=?", names(), (Table::Stock, Change::KeyChange), pending).await?;
        Ok(After::ProductMoved(index, new))
    }

    async fn drop_product(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.products.len());
        let sku = Value::from(self.products[index].clone());
        self.run("DELETE FROM stock WHERE sku=?", vec![sku.clone()], (Table::Stock, Change::Delete), pending).await?;
        self.run("DELETE FROM products WHERE sku=?", vec![sku], (Table::Products, Change::Delete), pending).await?;
        Ok(After::ProductGone(index))
    }

    async fn new_customer(&mut self, pending: &mut Pending) -> Act {
        let id = self.new_id();
        let mut row = vec![Value::from(id)];
        row.extend(self.values.customer());
        let sql = "INSERT INTO customers (id, email, name, balance, points, tags, born, note, created) VALUES (?,?,?,?,?,?,?,?,NOW(6))";
        self.run(sql, row, (Table::Customers, Change::Insert), pending).await?;
        Ok(After::Customer(id))
    }

    async fn change_customer(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.customers.len());
        let mut row = self.values.customer();
        row.push(self.customers[index].into());
        let sql = "UPDATE customers SET email=?, name=?, balance=?, points=?, tags=?, born=?, note=? WHERE id=?";
        self.run(sql, row, (Table::Customers, Change::Update), pending).await?;
        Ok(After::Nothing)
    }

    /// There and, another time, back: an old key comes to life again.
    async fn move_customer(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.customers.len());
        let (old, new) = (self.customers[index], self.customers[index] ^ (1 << 62));
        let row = vec![new.into(), old.into()];
        self.run("UPDATE customers SET id=? WHERE id=?", row, (Table::Customers, Change::KeyChange), pending).await?;
        Ok(After::CustomerMoved(index, new))
    }

    async fn drop_customer(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.customers.len());
        let row = vec![self.customers[index].into()];
        self.run("DELETE FROM customers WHERE id=?", row, (Table::Customers, Change::Delete), pending).await?;
        Ok(After::CustomerGone(index))
    }

    async fn place_order(&mut self, id: u64, pending: &mut Pending) -> Act {
        let customer = *self.values.dice.pick(&self.customers);
        let lines = 1 + self.values.dice.below(3);
        let total = self.values.amount();
        let row = vec![id.into(), customer.into(), total.clone(), self.values.address(), self.values.memo()];
        let sql =
            "INSERT INTO orders (id, customer, status, total, placed, address, memo) VALUES (?,?,'new',?,NOW(6),?,?)";
        self.run(sql, row, (Table::Orders, Change::Insert), pending).await?;
        for line in 0..lines {
            let sku = self.sold_sku();
            let quantity = 1 + self.values.dice.below(9);
            let row = vec![id.into(), line.into(), sku.clone().into(), quantity.into(), self.values.amount()];
            let sql = "INSERT INTO order_items VALUES (?,?,?,?,?)";
            self.run(sql, row, (Table::OrderItems, Change::Insert), pending).await?;
            let warehouse = *self.values.dice.pick(&WAREHOUSES);
            let row = vec![quantity.into(), quantity.into(), warehouse.into(), sku.into()];
            let sql = "UPDATE stock SET on_hand = on_hand - CAST(? AS SIGNED), reserved = reserved + ? WHERE warehouse=? AND sku=?";
            self.run(sql, row, (Table::Stock, Change::Update), pending).await?;
        }
        let sql = "UPDATE customers SET balance = balance - ?, points = points + 1 WHERE id=?";
        self.run(sql, vec![total, customer.into()], (Table::Customers, Change::Update), pending).await?;
        Ok(After::Order(Order { id, customer }))
    }

    async fn pay_order(&mut self, pending: &mut Pending) -> Act {
        let order = *self.values.dice.pick(&self.orders);
        let sql = "UPDATE orders SET status='paid', paid=NOW(3) WHERE id=?";
        self.run(sql, vec![order.id.into()], (Table::Orders, Change::Update), pending).await?;
        let id = self.values.dice.bytes(16);
        let row =
            vec![id.clone().into(), order.id.into(), self.values.amount(), self.values.method(), self.values.receipt()];
        let sql = "INSERT INTO payments VALUES (?,?,?,?,?,NOW(3))";
        self.run(sql, row, (Table::Payments, Change::Insert), pending).await?;
        Ok(After::Payment(id))
    }

    async fn send_order(&mut self, pending: &mut Pending) -> Act {
        let order = *self.values.dice.pick(&self.orders);
        let status = *self.values.dice.pick(&["packed", "sent", "returned"]);
        let row = vec![status.into(), self.values.memo(), order.id.into()];
        self.run("UPDATE orders SET status=?, memo=? WHERE id=?", row, (Table::Orders, Change::Update), pending)
            .await?;
        let row = vec![order.id.into()];
        let sql = "UPDATE order_items SET quantity = quantity % 100 + 1 WHERE order_id=?";
        self.run(sql, row, (Table::OrderItems, Change::Update), pending).await?;
        Ok(After::Nothing)
    }

    async fn cancel_order(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.orders.len());
        self.delete_order(self.orders[index].id, pending).await?;
        Ok(After::OrderGone(index))
    }

    /// Deleted and inserted again under the same key, in one transaction.
    async fn replace_order(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.orders.len());
        let id = self.orders[index].id;
        self.delete_order(id, pending).await?;
        self.place_order(id, pending).await?;
        Ok(After::Nothing)
    }

    async fn renumber_order(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.orders.len());
        let (old, new) = (self.orders[index].id, self.orders[index].id ^ (1 << 63));
        let row = || vec![Value::from(new), Value::from(old)];
        self.run("UPDATE orders SET id=? WHERE id=?", row(), (Table::Orders, Change::KeyChange), pending).await?;
        let sql = "UPDATE order_items SET order_id=? WHERE order_id=?";
        self.run(sql, row(), (Table::OrderItems, Change::KeyChange), pending).await?;
        let sql = "UPDATE customers SET points = points - 1 WHERE id=?";
        let row = vec![self.orders[index].customer.into()];
        self.run(sql, row, (Table::Customers, Change::Update), pending).await?;
        Ok(After::OrderMoved(index, new))
    }

    async fn refund(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.payments.len());
        let row = vec![self.payments[index].clone().into()];
        self.run("DELETE FROM payments WHERE id=?", row, (Table::Payments, Change::Delete), pending).await?;
        Ok(After::PaymentGone(index))
    }

    async fn change_payment(&mut self, pending: &mut Pending) -> Act {
        let id = self.values.dice.pick(&self.payments).clone();
        let row = vec![self.values.amount(), self.values.receipt(), id.into()];
        self.run("UPDATE payments SET amount=?, receipt=? WHERE id=?", row, (Table::Payments, Change::Update), pending)
            .await?;
        Ok(After::Nothing)
    }

    async fn move_payment(&mut self, pending: &mut Pending) -> Act {
        let index = self.values.dice.index(self.payments.len());
        let new = self.values.dice.bytes(16);
        let row = vec![new.clone().into(), self.payments[index].clone().into()];
        self.run("UPDATE payments SET id=? WHERE id=?", row, (Table::Payments, Change::KeyChange), pending).await?;
        Ok(After::PaymentMoved(index, new))
    }

    async fn delete_order(&mut self, id: u64, pending: &mut Pending) -> Result<(), Error> {
        let row = || vec![Value::from(id)];
        self.run("DELETE FROM order_items WHERE order_id=?", row(), (Table::OrderItems, Change::Delete), pending)
            .await?;
        self.run("DELETE FROM orders WHERE id=?", row(), (Table::Orders, Change::Delete), pending).await
    }

    async fn run(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
        (table, change): (Table, Change),
        pending: &mut Pending,
    ) -> Result<(), Error> {
        self.conn.exec_drop(sql, values).await?;
        pending.note(table, change, self.conn.affected_rows());
        Ok(())
    }

    /// No two connections make the same; some lie above the largest signed number.
    fn new_id(&mut self) -> u64 {
        let id = self.number + self.connections * self.next;
        self.next += 1;
        if self.next.is_multiple_of(16) { id | 1 << 63 } else { id }
    }

    fn sold_sku(&mut self) -> String {
        if self.values.dice.once_in(3) {
            shared_sku(self.values.dice.below(SHARED_PRODUCTS))
        } else {
            self.values.dice.pick(&self.products).clone()
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Plan {
    SharedProduct(u64),
    NewProduct,
    ChangeProduct,
    RenameProduct,
    DropProduct,
    NewCustomer,
    ChangeCustomer,
    MoveCustomer,
    DropCustomer,
    PlaceOrder,
    PayOrder,
    SendOrder,
    CancelOrder,
    ReplaceOrder,
    RenumberOrder,
    Refund,
    ChangePayment,
    MovePayment,
    ChangeOfMind,
}

fn shared_sku(number: u64) -> String {
    format!("SHARED-{number:03}")
}
