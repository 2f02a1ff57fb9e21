//! Names that tables give each other: the swap with which gh-ost and pt-online-schema-change end, by the statements that they send;
//! the same in two steps; a table that is dropped and made again.

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;

use super::{LIMIT, end};
use crate::harness::{Scene, Servers, wait_until};

const TABLES: &str = "
    CREATE TABLE orders (id INT PRIMARY KEY, note VARCHAR(20), qty INT NOT NULL) DEFAULT CHARSET utf8mb4;
    CREATE TABLE items (id INT PRIMARY KEY, note VARCHAR(20), qty INT NOT NULL) DEFAULT CHARSET utf8mb4;
    CREATE TABLE slips (id INT PRIMARY KEY, note VARCHAR(20), qty INT NOT NULL) DEFAULT CHARSET utf8mb4";

#[test]
fn f23_swaps_of_names() -> Result<()> {
    check(Scene::new("ddl_swap")?)
}

#[test]
fn f23_swaps_of_names_of_mariadb() -> Result<()> {
    check(Scene::on("ddl_swap_mariadb", Servers::shared_mariadb()?)?)
}

fn check(scene: Scene) -> Result<()> {
    let config = scene.config();
    let (rest, _) = config.split_once("[[table]]").context("the configuration names tables")?;
    let table = |name: &str, policy: &str| {
        format!("\n[[table]]\nsource = \"{}.{name}\"\nbackfill = \"off\"\non_ddl = \"{policy}\"\n", scene.database)
    };
    let (tools, plain) = ("evolve-swaps", "evolve");
    let tables = [(Scene::MARKERS, plain), ("orders", tools), ("items", tools), ("slips", plain)];
    let tables: Vec<String> = tables.iter().map(|(name, policy)| table(name, policy)).collect();
    scene.write_config(&format!("{rest}{}", tables.concat()))?;
    scene.source(TABLES)?;
    scene.make_target()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    gh_ost(&scene, "ADD COLUMN total BIGINT NOT NULL DEFAULT 7, DROP COLUMN note", "qty", None)?;
    pt_osc(&scene)?;
    wait_equal(&scene)?;
    ensure!(meetings(&scene)? == ["items done", "orders done"], "nothing waited: {:?}", meetings(&scene)?);

    a_copy_begun_before_waits(&scene, &mut capture)?;
    in_two_steps(&scene)?;
    dropped_and_made_again(&scene)?;
    wait_equal(&scene)?;
    say(&format!("{}: {:?}", scene.database, meetings(&scene)?));
    end(&mut apply)?;
    end(&mut capture)?;
    scene.finish()
}

/// What gh-ost sends. The rows that it copies are those of `shared` columns; capture may end and begin anew meanwhile.
fn gh_ost(scene: &Scene, alter: &str, shared: &str, restart: Option<&mut Tailrace>) -> Result<()> {
    let database = &scene.database;
    scene.source("REPLACE INTO orders (id, qty) VALUES (1, 10), (2, 20), (3, 30); DELETE FROM orders WHERE id = 9")?;
    scene.source(&format!(
        "create /* gh-ost */ table `{database}`.`_orders_ghc` (id bigint auto_increment, value varchar(4096), primary key(id));
         create /* gh-ost */ table `{database}`.`_orders_gho` like `{database}`.`orders`;
         alter /* gh-ost */ table `{database}`.`_orders_gho` {alter};
         insert /* gh-ost */ ignore into `{database}`.`_orders_gho` (`id`, {shared})
           (select `id`, {shared} from `{database}`.`orders` force index (`PRIMARY`) lock in share mode)"
    ))?;
    if let Some(capture) = restart {
        // What is in the log is not read again.
        let marker = format!("SELECT count(*) FROM {} WHERE id = {}", Scene::MARKERS, scene.mark()?);
        wait_until("the statements before are in the log", LIMIT, || Ok(scene.target_number(&marker)? == 1))?;
        end(capture)?;
        *capture = scene.capture()?;
    }
    // Rows that come meanwhile, and what gh-ost makes of their events.
    for table in ["orders", "_orders_gho"] {
        scene.source(&format!(
            "REPLACE INTO {table} (id, qty) VALUES (4, 40); UPDATE {table} SET qty = 22 WHERE id = 2; DELETE FROM {table} WHERE id = 1"
        ))?;
    }
    // The names are swapped while one connection holds the table and a sentry.
    let mut locks = scene.open_source()?;
    locks.run(&format!("create /* gh-ost */ table `{database}`.`_orders_del` (id int auto_increment primary key)"))?;
    locks.run(&format!("lock /* gh-ost */ tables `{database}`.`orders` write, `{database}`.`_orders_del` write"))?;
    let rename = format!(
        "rename /* gh-ost */ table `{database}`.`orders` to `{database}`.`_orders_del`, \
         `{database}`.`_orders_gho` to `{database}`.`orders`"
    );
    let waits = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'Waiting for table metadata lock' \
         AND info LIKE 'rename /* gh-ost */ table `{database}`%'"
    );
    std::thread::scope(|threads| {
        let renamed = threads.spawn(|| scene.source(&rename));
        wait_until("the names wait to be swapped", LIMIT, || Ok(scene.source_number(&waits)? > 0))?;
        locks.run(&format!("drop /* gh-ost */ table if exists `{database}`.`_orders_del`"))?;
        locks.run("unlock /* gh-ost */ tables")?;
        renamed.join().ok().context("the thread that swaps")?
    })?;
    scene.source(&format!(
        "REPLACE INTO orders (id, qty) VALUES (5, 50); UPDATE orders SET qty = 33 WHERE id = 3;
         drop /* gh-ost */ table if exists `{database}`.`_orders_ghc`;
         drop /* gh-ost */ table if exists `{database}`.`_orders_del`"
    ))
}

/// What pt-online-schema-change sends.
fn pt_osc(scene: &Scene) -> Result<()> {
    let database = &scene.database;
    scene.source("INSERT INTO items VALUES (1, 'a', 10), (2, 'b', 20), (3, NULL, 30)")?;
    let create = scene.source_rows("SHOW CREATE TABLE items")?.remove(0).remove(1).context("the statement")?;
    let create = create.replacen("`items`", &format!("`{database}`.`_items_new`"), 1);
    let row = format!(
        "REPLACE INTO `{database}`.`_items_new` (`id`, `note`, `qty`) VALUES (NEW.`id`, NEW.`note`, NEW.`qty`)"
    );
    let gone =
        format!("DELETE IGNORE FROM `{database}`.`_items_new` WHERE `{database}`.`_items_new`.`id` <=> OLD.`id`");
    for statement in [
        create,
        format!(
            "ALTER TABLE `{database}`.`_items_new` ADD COLUMN kind ENUM('x','y') NOT NULL DEFAULT 'y', MODIFY qty BIGINT NOT NULL"
        ),
        format!("CREATE TRIGGER pt_osc_items_del AFTER DELETE ON `{database}`.`items` FOR EACH ROW {gone}"),
        format!(
            "CREATE TRIGGER pt_osc_items_upd AFTER UPDATE ON `{database}`.`items` FOR EACH ROW BEGIN {gone} AND !(OLD.`id` <=> NEW.`id`); {row}; END"
        ),
        format!("CREATE TRIGGER pt_osc_items_ins AFTER INSERT ON `{database}`.`items` FOR EACH ROW {row}"),
        format!(
            "INSERT LOW_PRIORITY IGNORE INTO `{database}`.`_items_new` (`id`, `note`, `qty`) \
             SELECT `id`, `note`, `qty` FROM `{database}`.`items` LOCK IN SHARE MODE /*pt-online-schema-change 7 copy table*/"
        ),
        "INSERT INTO items VALUES (4, 'd', 40)".to_owned(),
        "UPDATE items SET qty = 22, id = 20 WHERE id = 2".to_owned(),
        "DELETE FROM items WHERE id = 1".to_owned(),
        format!("ANALYZE TABLE `{database}`.`_items_new` /* pt-online-schema-change */"),
        format!(
            "RENAME TABLE `{database}`.`items` TO `{database}`.`_items_old`, `{database}`.`_items_new` TO `{database}`.`items`"
        ),
        format!("DROP TABLE IF EXISTS `{database}`.`_items_old`"),
        "INSERT INTO items VALUES (5, 'e', 5000000000, 'x')".to_owned(),
        "UPDATE items SET note = 'changed' WHERE id = 3".to_owned(),
    ] {
        scene.source(&statement)?;
    }
    Ok(())
}

/// The statements that made the copy lie before the process that reads the swap.
fn a_copy_begun_before_waits(scene: &Scene, capture: &mut Tailrace) -> Result<()> {
    gh_ost(scene, "ADD COLUMN late INT NOT NULL DEFAULT 3", "qty, total", Some(capture))?;
    let unknown = format!("no statement since the stream was opened made {}._orders_gho a copy of it", scene.database);
    resume(scene, "orders", &unknown, "ALTER TABLE orders ADD COLUMN late int NOT NULL DEFAULT 3")
}

fn in_two_steps(scene: &Scene) -> Result<()> {
    scene.source(
        "INSERT INTO slips VALUES (1, 'a', 10), (2, 'b', 20);
         CREATE TABLE _slips_gho LIKE slips;
         ALTER TABLE _slips_gho DROP note;
         INSERT INTO _slips_gho SELECT id, qty FROM slips;
         RENAME TABLE slips TO _slips_old, _slips_gho TO slips;
         INSERT INTO slips VALUES (3, 30);
         ALTER TABLE slips RENAME _slips_away;
         ALTER TABLE _slips_old RENAME slips;
         INSERT INTO slips VALUES (4, 'd', 40)",
    )?;
    resume(scene, "slips", "is not proven", "ALTER TABLE slips DROP COLUMN note")?;
    resume(scene, "slips", "is called", "SELECT 1")?;
    let back = "ALTER TABLE slips ADD COLUMN note text; UPDATE slips SET note = CASE id WHEN 1 THEN 'a' ELSE 'b' END; \
                DELETE FROM slips WHERE id = 3";
    resume(scene, "slips", "takes the name", back)?;
    scene.source("DROP TABLE _slips_away")
}

fn dropped_and_made_again(scene: &Scene) -> Result<()> {
    scene.source(
        "DROP TABLE slips; CREATE TABLE slips (id INT PRIMARY KEY, qty INT NOT NULL); INSERT INTO slips VALUES (7, 70)",
    )?;
    resume(scene, "slips", "the table is dropped", "TRUNCATE slips; ALTER TABLE slips DROP COLUMN note")
}

/// Waits until the table waits for this reason, does something to the target, and lets it go on.
fn resume(scene: &Scene, table: &str, reason: &str, by_hand: &str) -> Result<()> {
    let mut last = String::new();
    let query = format!(
        "SELECT reason FROM tailrace.barriers WHERE state = 'paused' AND \"table\" = '{table}' ORDER BY sequence"
    );
    wait_until(&format!("{table} waits: {reason}"), LIMIT, || {
        last = format!("{:?}", scene.target_rows(&query)?);
        Ok(last.contains(reason))
    })
    .with_context(|| last.clone())?;
    scene.target(by_hand)?;
    let resumed = scene.command(&["resume", "--table", &format!("{}.{table}", scene.database)])?;
    ensure!(resumed.code == Some(0) && resumed.stdout.contains(reason), "{resumed:?}");
    Ok(())
}

fn wait_equal(scene: &Scene) -> Result<()> {
    scene.wait_drained().with_context(|| format!("{:?}", meetings(scene)))?;
    scene.ensure_equal().map(drop)
}

fn meetings(scene: &Scene) -> Result<Vec<String>> {
    let rows =
        scene.target_rows("SELECT \"table\" || ' ' || state FROM tailrace.barriers ORDER BY \"table\", sequence")?;
    Ok(rows.into_iter().flatten().flatten().collect())
}
