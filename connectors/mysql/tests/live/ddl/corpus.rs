//! DDL as people write it, and what it does to the captured tables `t` and `v` (`u` is not captured; `$` stands for their database).
//!
//! Every statement is executed by real servers, whose dictionary says what became of the columns. In the words of the corpus:
//! `+c=5` is a new column with 5 in the rows that were there, `+c=?` one whose values are each row's own; `-c` is gone, `c>d` has
//! another name, `~c` another type; `!` stands before a table that waits, with the reason.

use tailrace_contract::{ColumnStep, Fill, TableAct};

/// Which servers know the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Both,
    Mysql,
    Mariadb,
}

/// Statements that are executed one after the other on the same tables.
pub(crate) struct Chapter {
    pub(crate) server: Server,
    pub(crate) sql_mode: &'static str,
    pub(crate) statements: &'static [(&'static str, &'static str)],
}

/// What each chapter begins with.
pub(crate) const TABLES: [&str; 3] = [
    "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(20), c INT NOT NULL, KEY k (c)) DEFAULT CHARSET utf8mb4",
    "CREATE TABLE u (id INT PRIMARY KEY, a INT) DEFAULT CHARSET utf8mb4",
    "CREATE TABLE v (id INT PRIMARY KEY, a INT) DEFAULT CHARSET utf8mb4",
];

pub(crate) const STRICT: &str = "STRICT_TRANS_TABLES";

const fn chapter(
    server: Server,
    sql_mode: &'static str,
    statements: &'static [(&'static str, &'static str)],
) -> Chapter {
    Chapter { server, sql_mode, statements }
}

pub(crate) const CORPUS: &[Chapter] = &[
    chapter(Server::Both, STRICT, NUMBERS),
    chapter(Server::Both, STRICT, TEXTS),
    chapter(Server::Both, STRICT, TIMES),
    chapter(Server::Both, STRICT, OTHERS),
    chapter(Server::Both, "", IMPLICIT),
    chapter(Server::Both, STRICT, STEPS),
    chapter(Server::Both, STRICT, CHANGES),
    chapter(Server::Both, "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,REAL_AS_FLOAT,STRICT_ALL_TABLES", MODES),
    chapter(Server::Both, "", LAX),
    chapter(Server::Both, STRICT, OPTIONS),
    chapter(Server::Both, STRICT, TABLES_OF_MANY),
    chapter(Server::Both, STRICT, PARTITIONS),
    chapter(Server::Mysql, STRICT, OF_MYSQL),
    chapter(Server::Mariadb, STRICT, OF_MARIADB),
    chapter(Server::Mariadb, "ORACLE,STRICT_TRANS_TABLES", OF_ORACLE),
];

const NUMBERS: &[(&str, &str)] = &[
    ("ALTER TABLE t ADD COLUMN n1 TINYINT", "+n1=NULL"),
    ("ALTER TABLE t ADD n2 INT1 UNSIGNED NOT NULL", "+n2=0"),
    ("ALTER TABLE t ADD n3 SMALLINT(5) ZEROFILL DEFAULT 7", "+n3=7"),
    ("ALTER TABLE t ADD n4 INT2 SIGNED DEFAULT -7 COMMENT 'minus, (seven)'", "+n4=-7"),
    ("ALTER TABLE t ADD n5 MIDDLEINT UNSIGNED DEFAULT '16777215'", "+n5=16777215"),
    ("ALTER TABLE t ADD n6 INTEGER NULL DEFAULT NULL FIRST", "+n6=NULL"),
    ("ALTER TABLE t ADD n7 BIGINT UNSIGNED NOT NULL DEFAULT 18446744073709551615 AFTER n6", "+n7=18446744073709551615"),
    ("ALTER TABLE t ADD n8 INT8 DEFAULT -9223372036854775808", "+n8=-9223372036854775808"),
    ("ALTER TABLE t ADD n9 BOOL DEFAULT TRUE", "+n9=1"),
    ("ALTER TABLE t ADD n10 BOOLEAN NOT NULL DEFAULT FALSE", "+n10=0"),
    ("ALTER TABLE t ADD n11 INT DEFAULT 0x41", "+n11=65"),
    ("ALTER TABLE t ADD n12 INT DEFAULT b'1010'", "+n12=10"),
    ("ALTER TABLE t ADD n13 INT DEFAULT 1.5", "+n13=?"),
    ("ALTER TABLE t ADD n14 DECIMAL(10,2) DEFAULT -1.5", "+n14=-1.50"),
    ("ALTER TABLE t ADD n15 DEC NOT NULL DEFAULT 12", "+n15=12"),
    ("ALTER TABLE t ADD n16 NUMERIC(65,30) NOT NULL", "+n16=0.000000000000000000000000000000"),
    ("ALTER TABLE t ADD n17 FIXED(4) DEFAULT '0012'", "+n17=12"),
    ("ALTER TABLE t ADD n18 DECIMAL(5,1) UNSIGNED DEFAULT .50", "+n18=0.5"),
    ("ALTER TABLE t ADD n19 DECIMAL(5,1) DEFAULT 0.25", "+n19=?"),
    ("ALTER TABLE t ADD n20 FLOAT DEFAULT 0.1", "+n20=0.1"),
    ("ALTER TABLE t ADD n21 FLOAT(53) DEFAULT 1e-3", "+n21=0.001"),
    ("ALTER TABLE t ADD n22 DOUBLE PRECISION DEFAULT -2.5E+2", "+n22=-250"),
    ("ALTER TABLE t ADD n23 REAL NOT NULL", "+n23=0"),
    ("ALTER TABLE t ADD n24 DOUBLE(10,3) DEFAULT 1.125", "+n24=1.125"),
    ("ALTER TABLE t ADD n25 FLOAT4 UNSIGNED NOT NULL DEFAULT 3", "+n25=3"),
    ("ALTER TABLE t ADD n26 BIT", "+n26=NULL"),
    ("ALTER TABLE t ADD n27 BIT(12) NOT NULL DEFAULT b'101'", "+n27=5"),
    ("ALTER TABLE t ADD n28 BIT(64) DEFAULT 0xFFFFFFFFFFFFFFFF", "+n28=18446744073709551615"),
    ("ALTER TABLE t ADD n29 YEAR DEFAULT 2024", "+n29=2024"),
    ("ALTER TABLE t ADD n30 YEAR(4) NOT NULL DEFAULT '1999'", "+n30=1999"),
    ("ALTER TABLE t ADD n31 INT NOT NULL AUTO_INCREMENT UNIQUE", "+n31=?"),
    ("ALTER TABLE t DROP n31, ADD n32 SERIAL", "-n31 +n32=?"),
    ("ALTER TABLE t ADD n33 INT DEFAULT (1 + 1)", "+n33=?"),
    (
        "ALTER TABLE t ADD n34 INT AS (a + 1) VIRTUAL, ADD n35 INT GENERATED ALWAYS AS (a * 2) STORED COMMENT 'x'",
        "+n34=? +n35=?",
    ),
];

const TEXTS: &[(&str, &str)] = &[
    ("ALTER TABLE t ADD s1 CHAR", "+s1=NULL"),
    ("ALTER TABLE t ADD s2 CHARACTER(10) NOT NULL DEFAULT 'it''s  '", "+s2=it's"),
    ("ALTER TABLE t ADD s3 VARCHAR(30) DEFAULT 'a\\tb\\\\c, (d'", "+s3=a\tb\\c, (d"),
    ("ALTER TABLE t ADD s4 CHARACTER VARYING(5) NOT NULL", "+s4="),
    ("ALTER TABLE t ADD s5 NATIONAL CHAR(5) DEFAULT N'x'", "+s5=x"),
    (
        "ALTER TABLE t ADD s6 NVARCHAR(5), ADD s7 NCHAR VARCHAR(6), ADD s8 NATIONAL CHARACTER VARYING(7)",
        "+s6=NULL +s7=NULL +s8=NULL",
    ),
    ("ALTER TABLE t ADD s9 VARCHAR(10) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT 'x'", "+s9=x"),
    ("ALTER TABLE t ADD s10 VARCHAR(10) COLLATE utf8mb4_bin NOT NULL DEFAULT 'größe'", "+s10=größe"),
    ("ALTER TABLE t ADD s11 CHAR(4) CHARSET ascii DEFAULT 'abcd'", "+s11=abcd"),
    (
        "ALTER TABLE t ADD s12 VARCHAR(10) ASCII, ADD s13 VARCHAR(10) UNICODE, ADD s14 VARCHAR(10) BINARY",
        "+s12=NULL +s13=NULL +s14=NULL",
    ),
    ("ALTER TABLE t ADD s15 CHAR(6) BYTE, ADD s16 VARCHAR(9) CHARSET binary", "+s15=NULL +s16=NULL"),
    ("ALTER TABLE t ADD s17 VARCHAR(10) DEFAULT 'two ' 'parts'", "+s17=two parts"),
    ("ALTER TABLE t ADD s18 VARCHAR(10) DEFAULT _utf8mb4'intro'", "+s18=intro"),
    ("ALTER TABLE t ADD s19 VARCHAR(10) DEFAULT X'4142'", "+s19=AB"),
    ("ALTER TABLE t ADD s20 VARCHAR(10) DEFAULT 42", "+s20=42"),
    (
        "ALTER TABLE t ADD s21 TINYTEXT, ADD s22 TEXT, ADD s23 MEDIUMTEXT CHARSET latin1, ADD s24 LONGTEXT NOT NULL",
        "+s21=NULL +s22=NULL +s23=NULL +s24=",
    ),
    (
        "ALTER TABLE t ADD s25 LONG, ADD s26 LONG VARCHAR, ADD s27 TEXT(100), ADD s28 TEXT(60) CHARSET latin1",
        "+s25=NULL +s26=NULL +s27=NULL +s28=NULL",
    ),
    ("ALTER TABLE t ADD s29 TEXT(70000)", "+s29=NULL"),
    ("ALTER TABLE t ADD y1 BINARY(4) NOT NULL DEFAULT 'ab'", "+y1=0x61620000"),
    ("ALTER TABLE t ADD y2 VARBINARY(10) DEFAULT 0x00FF", "+y2=0x00FF"),
    ("ALTER TABLE t ADD y3 BINARY NOT NULL", "+y3=0x00"),
    (
        "ALTER TABLE t ADD y4 TINYBLOB, ADD y5 BLOB NOT NULL, ADD y6 MEDIUMBLOB, ADD y7 LONGBLOB",
        "+y4=NULL +y5=0x +y6=NULL +y7=NULL",
    ),
    ("ALTER TABLE t ADD y8 BLOB(300), ADD y9 LONG VARBINARY, ADD y10 BLOB(200)", "+y8=NULL +y9=NULL +y10=NULL"),
    ("ALTER TABLE t ADD e1 ENUM('a','b','it''s, (x') DEFAULT 'b'", "+e1=b"),
    ("ALTER TABLE t ADD e2 ENUM('x ', 'y') NOT NULL", "+e2=x"),
    ("ALTER TABLE t ADD e3 SET('a','b','c') NOT NULL DEFAULT 'c,a'", "+e3=a,c"),
    ("ALTER TABLE t ADD e4 SET('a','b') CHARSET latin1 NOT NULL", "+e4="),
    ("ALTER TABLE t ADD e5 ENUM('ä','€') DEFAULT '€'", "+e5=€"),
    ("ALTER TABLE t ADD e6 ENUM('a','b') DEFAULT 'B'", "+e6=?"),
];

const TIMES: &[(&str, &str)] = &[
    ("ALTER TABLE t ADD d1 DATE DEFAULT '2024-02-29'", "+d1=2024-02-29"),
    ("ALTER TABLE t ADD d2 TIME DEFAULT '-838:59:59'", "+d2=-838:59:59"),
    ("ALTER TABLE t ADD d3 TIME(3) NOT NULL DEFAULT '10:20:30.5'", "+d3=10:20:30.500"),
    ("ALTER TABLE t ADD d4 DATETIME DEFAULT '2024-01-02 03:04:05'", "+d4=2024-01-02 03:04:05"),
    ("ALTER TABLE t ADD d5 DATETIME(6) DEFAULT '2024-01-02'", "+d5=2024-01-02 00:00:00.000000"),
    ("ALTER TABLE t ADD d6 DATETIME DEFAULT '2024-01-02 03:04:05.6'", "+d6=?"),
    ("ALTER TABLE t ADD d7 DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", "+d7=?"),
    ("ALTER TABLE t ADD d8 TIMESTAMP(6) NULL DEFAULT NOW(6) ON UPDATE CURRENT_TIMESTAMP(6)", "+d8=?"),
    ("ALTER TABLE t ADD d9 TIMESTAMP NULL", "+d9=NULL"),
    ("ALTER TABLE t ADD d10 TIMESTAMP NULL DEFAULT '2024-06-01 12:00:00'", "+d10=2024-06-01 12:00:00Z"),
    ("ALTER TABLE t ADD d13 DATE DEFAULT '20200101'", "+d13=?"),
    ("ALTER TABLE t ADD d14 YEAR NOT NULL", "+d14=0000"),
    ("ALTER TABLE t ADD d15 TIME(6) NOT NULL", "+d15=00:00:00.000000"),
];

const OTHERS: &[(&str, &str)] = &[
    (
        "ALTER TABLE t ADD g1 GEOMETRY, ADD g2 POINT, ADD g3 LINESTRING, ADD g4 POLYGON",
        "+g1=NULL +g2=NULL +g3=NULL +g4=NULL",
    ),
    (
        "ALTER TABLE t ADD g5 MULTIPOINT, ADD g6 MULTILINESTRING, ADD g7 MULTIPOLYGON, ADD g8 GEOMETRYCOLLECTION",
        "+g5=NULL +g6=NULL +g7=NULL +g8=NULL",
    ),
    ("ALTER TABLE t ADD j1 JSON", "+j1=NULL"),
    ("ALTER TABLE t ADD COLUMN (p1 INT, p2 VARCHAR(10) DEFAULT 'a,b', KEY (p1))", "+p1=NULL +p2=a,b"),
    ("ALTER TABLE t ADD x1 INT CHECK (x1 > 0), ADD x2 INT DEFAULT 6", "+x1=NULL +x2=6"),
    ("ALTER TABLE t ADD x3 INT REFERENCES u (id) ON DELETE RESTRICT ON UPDATE NO ACTION", "+x3=NULL"),
    ("ALTER TABLE t ADD x4 INT UNIQUE KEY COMMENT 'no, key', ADD INDEX i4 (x4)", "+x4=NULL"),
    (
        "ALTER TABLE `$`.`t` ADD `select` INT, ADD `a``b` INT, ADD `größe` INT DEFAULT 1",
        "+select=NULL +a`b=NULL +größe=1",
    ),
    ("alter /* comment, with 'quote */ table t -- another\n add # third\n y1 int", "+y1=NULL"),
    ("/*!50003 ALTER TABLE t ADD y2 INT */", "+y2=NULL"),
    ("ALTER TABLE t ADD y3 INT /*!50003 DEFAULT 3 */ /*!99999 BROKEN */", "+y3=3"),
];

const IMPLICIT: &[(&str, &str)] = &[
    ("ALTER TABLE t ADD d1 DATE NOT NULL", "+d1=0000-00-00"),
    ("ALTER TABLE t ADD d2 DATETIME(2) NOT NULL", "+d2=0000-00-00 00:00:00.00"),
    ("ALTER TABLE t ADD d3 DATETIME NOT NULL DEFAULT '0000-00-00 00:00:00'", "+d3=0000-00-00 00:00:00"),
    ("ALTER TABLE t ADD d4 TIMESTAMP NOT NULL DEFAULT 0", "+d4=?"),
    ("ALTER TABLE t ADD d5 DATE DEFAULT '2024-00-00'", "+d5=?"),
];

const STEPS: &[(&str, &str)] = &[
    ("ALTER TABLE t DROP COLUMN a", "-a"),
    ("ALTER TABLE t DROP b, ADD a BIGINT DEFAULT 5, ADD b INT AFTER a", "-b +a=5 +b=NULL"),
    ("ALTER TABLE t RENAME COLUMN a TO d", "a>d"),
    ("ALTER TABLE t CHANGE COLUMN d e BIGINT DEFAULT 5", "d>e ~e"),
    ("ALTER TABLE t CHANGE e e BIGINT NOT NULL", "~e"),
    ("ALTER TABLE t CHANGE b `f g` INT, CHANGE e b BIGINT", "b>f g e>b ~f g ~b"),
    ("ALTER TABLE t RENAME COLUMN b TO `f g`, RENAME COLUMN `f g` TO b", "!t columns get each other's names"),
    ("ALTER TABLE t DROP b, RENAME COLUMN `f g` TO b", "-b f g>b"),
    ("ALTER TABLE t DROP b, ADD b VARCHAR(10) NOT NULL DEFAULT 'x', ALGORITHM=COPY, LOCK=SHARED", "-b +b=x"),
    ("ALTER TABLE t MODIFY b VARCHAR(20) NOT NULL FIRST, ADD z INT", "~b +z=NULL"),
    ("ALTER TABLE t RENAME COLUMN Z TO zz", "Z>zz"),
    ("ALTER TABLE t RENAME COLUMN zz TO ZZ", "zz>ZZ"),
    ("TRUNCATE TABLE t", "truncate t"),
    ("TRUNCATE t", "truncate t"),
    ("TRUNCATE u", ""),
];

const CHANGES: &[(&str, &str)] = &[
    ("ALTER TABLE t MODIFY COLUMN a BIGINT", "~a"),
    ("ALTER TABLE t MODIFY b VARCHAR(200) CHARACTER SET utf8mb3", "~b"),
    ("ALTER TABLE t MODIFY b TEXT, MODIFY c BIGINT UNSIGNED NOT NULL", "~b ~c"),
    ("ALTER TABLE t MODIFY a DECIMAL(20,4) NULL COMMENT 'money'", "~a"),
    ("ALTER TABLE t MODIFY a DOUBLE", "~a"),
    ("ALTER TABLE t ADD e ENUM('a'), ADD s SET('a')", "+e=NULL +s=NULL"),
    ("ALTER TABLE t MODIFY e ENUM('a','b'), MODIFY s SET('a','b') NULL DEFAULT 'b'", "~e ~s"),
    ("ALTER TABLE t MODIFY COLUMN c INT NOT NULL AUTO_INCREMENT", "~c"),
    ("ALTER TABLE t CONVERT TO CHARACTER SET latin1", ""),
    ("ALTER TABLE t CONVERT TO CHARSET utf8mb4 COLLATE utf8mb4_bin", ""),
    ("ALTER TABLE t CONVERT TO CHARACTER SET binary", "!t it makes bytes of all texts"),
    ("ALTER TABLE t MODIFY id BIGINT NOT NULL", "~id"),
];

const MODES: &[(&str, &str)] = &[
    (r#"ALTER TABLE "t" ADD "x ""y" INT DEFAULT 5"#, "+x \"y=5"),
    (r"ALTER TABLE t ADD s VARCHAR(20) DEFAULT 'back\' COMMENT '\', ADD s2 INT", "+s=back\\ +s2=NULL"),
    ("ALTER TABLE t ADD r REAL DEFAULT 1.5", "+r=1.5"),
    (r#"ALTER TABLE "$"."t" DROP COLUMN "s2""#, "-s2"),
    (
        r#"RENAME TABLE "t" TO "t 2", "t 2" TO "t""#,
        "rename t>t 2, rename t 2>t, !t 2 no statement since the stream was opened made $.t a copy of it, !t no statement since the stream was opened made $.t 2 a copy of it",
    ),
];

const LAX: &[(&str, &str)] = &[
    (
        "ALTER TABLE t MODIFY b VARCHAR(40) CHARSET latin1",
        "!t it gives a text another charset, and outside of the strict mode characters may have become question marks",
    ),
    ("ALTER TABLE t MODIFY b VARCHAR(40) CHARSET utf8mb4", "~b"),
    (
        "ALTER TABLE t CONVERT TO CHARACTER SET latin2",
        "!t it gives a text another charset, and outside of the strict mode characters may have become question marks",
    ),
    ("ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4", ""),
    (
        "ALTER TABLE t MODIFY b VARCHAR(40)",
        "!t it gives a text another charset, and outside of the strict mode characters may have become question marks",
    ),
    ("ALTER TABLE t ADD w VARCHAR(70000)", "+w=NULL"),
    ("ALTER TABLE t ADD w2 VARCHAR(10) DEFAULT 'größe'", "+w2=?"),
];

const OPTIONS: &[(&str, &str)] = &[
    ("ALTER TABLE t ENGINE=InnoDB", ""),
    ("ALTER TABLE t ENGINE MyISAM COMMENT 'x, y' ROW_FORMAT=DYNAMIC", ""),
    ("ALTER TABLE t ENGINE = InnoDB, AUTO_INCREMENT 100", ""),
    ("ALTER TABLE t DEFAULT CHARACTER SET latin1 COLLATE latin1_bin", ""),
    ("ALTER TABLE t DEFAULT CHARSET = utf8mb4, KEY_BLOCK_SIZE=0", ""),
    ("ALTER TABLE t FORCE", ""),
    ("ALTER TABLE t DISABLE KEYS, ENABLE KEYS", ""),
    ("ALTER TABLE t ORDER BY a DESC, b", ""),
    ("ALTER TABLE t ADD INDEX (a), ADD UNIQUE KEY uk (b), ADD KEY k2 (a, b) USING BTREE COMMENT 'i'", ""),
    ("ALTER TABLE t ADD FULLTEXT INDEX ft (b)", ""),
    ("ALTER TABLE t ADD CONSTRAINT un UNIQUE (a), ADD CONSTRAINT ch CHECK (a < 100)", ""),
    ("ALTER TABLE t ADD CONSTRAINT fk FOREIGN KEY (a) REFERENCES u (id) ON DELETE RESTRICT", ""),
    ("ALTER TABLE t DROP FOREIGN KEY fk, DROP INDEX k2", ""),
    ("ALTER TABLE t RENAME INDEX uk TO uk2", ""),
    ("ALTER TABLE t DROP KEY uk2, DROP CONSTRAINT ch, DROP INDEX ft", ""),
    ("ALTER TABLE t ALTER COLUMN a SET DEFAULT 5, ALTER b SET DEFAULT 'x'", ""),
    ("ALTER TABLE t ALTER a DROP DEFAULT", ""),
    ("ALTER TABLE t STATS_PERSISTENT=1 STATS_AUTO_RECALC=DEFAULT MAX_ROWS=1000 CHECKSUM=1", ""),
    ("CREATE INDEX i9 ON t (a)", ""),
    ("DROP INDEX i9 ON t", ""),
    ("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, c)", "!t it changes the primary key"),
    ("ALTER TABLE t DROP PRIMARY KEY, ADD CONSTRAINT PRIMARY KEY (id)", "!t it changes the primary key"),
    (
        "ALTER TABLE t DROP KEY `PRIMARY`, ADD x INT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        "!t it changes the primary key",
    ),
    ("ALTER TABLE t MODIFY x INT NOT NULL", "~x"),
    ("DROP INDEX `PRIMARY` ON t", "!t it removes the primary key"),
    ("ALTER TABLE t ADD y INT KEY", "!t it changes the primary key"),
    ("ALTER TABLE t ENGINE=MEMORY", ""),
    ("ALTER TABLE t ENGINE=BLACKHOLE", "!t its engine is BLACKHOLE"),
];

const TABLES_OF_MANY: &[(&str, &str)] = &[
    ("CREATE TABLE w (id INT PRIMARY KEY)", ""),
    (
        "RENAME TABLE t TO t_old, w TO t",
        "rename t>t_old, rename w>t, !t no statement since the stream was opened made $.w a copy of it",
    ),
    (
        "RENAME TABLE t TO w, t_old TO t",
        "rename t>w, rename t_old>t, !t no statement since the stream was opened made $.t_old a copy of it",
    ),
    ("ALTER TABLE t RENAME TO t2", "rename t>t2"),
    ("ALTER TABLE t2 ADD q INT, RENAME AS `$`.t", "rename t2>t"),
    ("ALTER TABLE t ADD q2 INT, RENAME = t3", "alter +q2=NULL, rename t>t3"),
    ("ALTER TABLE t3 RENAME t", "rename t3>t"),
    ("DROP TABLE IF EXISTS w, t, nothing, `$`.`v`", "drop t, drop v"),
    ("CREATE TABLE t (id INT PRIMARY KEY, a INT)", "create t"),
    ("CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY, b INT)", ""),
    ("CREATE TABLE v LIKE t", "create v"),
    ("CREATE TABLE u2 LIKE t", ""),
    ("DROP TABLE u2", ""),
    ("CREATE TEMPORARY TABLE t (x INT)", ""),
    ("DROP TEMPORARY TABLE t", ""),
    ("CREATE VIEW tv AS SELECT * FROM t", ""),
    ("DROP VIEW tv", ""),
    ("ALTER TABLE u ADD d INT, DROP a", ""),
    ("CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 5", ""),
    ("DROP TRIGGER tr", ""),
    ("DROP TABLE v", "drop v"),
];

const PARTITIONS: &[(&str, &str)] = &[
    (
        "ALTER TABLE t PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
        "",
    ),
    ("ALTER TABLE t ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))", ""),
    ("ALTER TABLE t REORGANIZE PARTITION p1, p2 INTO (PARTITION p3 VALUES LESS THAN (30))", ""),
    ("ALTER TABLE t REBUILD PARTITION p0", ""),
    ("ALTER TABLE t ANALYZE PARTITION ALL", ""),
    ("ALTER TABLE t TRUNCATE PARTITION p3", "!t it moves or removes rows"),
    ("ALTER TABLE t DROP PARTITION p3", "!t it removes the rows of a partition"),
    ("CREATE TABLE w LIKE t", ""),
    ("ALTER TABLE w REMOVE PARTITIONING", ""),
    ("ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE w", "!t it moves or removes rows"),
    ("ALTER TABLE t REMOVE PARTITIONING", ""),
    ("ALTER TABLE w PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10))", ""),
    ("ALTER TABLE w EXCHANGE PARTITION p0 WITH TABLE `t`", "!t its rows move to or from another table"),
    ("ALTER TABLE t ADD h INT PARTITION BY HASH (id) PARTITIONS 4", "+h=NULL"),
    ("ALTER TABLE t COALESCE PARTITION 2", ""),
    ("ALTER TABLE t REMOVE PARTITIONING", ""),
    ("ALTER TABLE t DISCARD TABLESPACE", "!t it moves or removes rows"),
];

const OF_MYSQL: &[(&str, &str)] = &[
    ("ALTER TABLE t ADD CONSTRAINT fk9 FOREIGN KEY (a) REFERENCES u (id) ON DELETE CASCADE, ADD c9 INT", "+c9=NULL"),
    ("ALTER TABLE t DROP FOREIGN KEY fk9, DROP c9", "-c9"),
    ("ALTER TABLE t ADD x2 INT CONSTRAINT x CHECK (x2 <> 5)", "+x2=NULL"),
    ("ALTER TABLE t ADD v1 VECTOR(3), ADD v2 VECTOR", "+v1=NULL +v2=NULL"),
    ("ALTER TABLE t ADD j1 JSON NOT NULL", "+j1=null"),
    ("ALTER TABLE t ADD j2 JSON DEFAULT ('[]'), ADD j3 JSON DEFAULT (JSON_OBJECT('a', 1))", "+j2=[] +j3=?"),
    ("ALTER TABLE t ADD s1 TEXT DEFAULT ('abc'), ADD s2 VARCHAR(40) DEFAULT (LOWER('A'))", "+s1=abc +s2=?"),
    (
        "ALTER TABLE t ADD i1 INT INVISIBLE DEFAULT 5, ADD i2 INT COLUMN_FORMAT DYNAMIC STORAGE MEMORY VISIBLE",
        "+i1=5 +i2=NULL",
    ),
    ("ALTER TABLE t ADD g POINT SRID 4326", "+g=NULL"),
    ("ALTER TABLE t ADD i3 INT CHECK (i3 > 0) NOT ENFORCED", "+i3=NULL"),
    ("ALTER TABLE t ALTER COLUMN i1 SET VISIBLE, ALTER INDEX k INVISIBLE", ""),
    ("ALTER TABLE t ALTER COLUMN a SET DEFAULT (1 + 1), ALGORITHM = INSTANT", ""),
    ("ALTER TABLE t WITHOUT VALIDATION, ADD i4 INT", "+i4=NULL"),
    ("ALTER TABLE t ADD i5 INT, ALGORITHM=INPLACE, LOCK=NONE", "+i5=NULL"),
    ("ALTER TABLE t ADD i6 BIGINT NOT NULL SERIAL DEFAULT VALUE", "+i6=?"),
    ("ALTER TABLE t ADD g8 GEOMCOLLECTION", "+g8=NULL"),
    ("ALTER TABLE t AUTOEXTEND_SIZE = 4M ENCRYPTION 'N'", ""),
    ("/*M! this is a comment of another server */ ALTER TABLE t ADD i7 INT", "+i7=NULL"),
];

const OF_MARIADB: &[(&str, &str)] = &[
    (
        "ALTER TABLE t ADD CONSTRAINT fk9 FOREIGN KEY (a) REFERENCES u (id) ON DELETE CASCADE",
        "!!t its foreign key changes rows without a trace in this server's binlog",
    ),
    (
        "ALTER TABLE t ADD c9 INT REFERENCES u (id) ON DELETE NO ACTION ON UPDATE SET NULL",
        "!!t its foreign key changes rows without a trace in this server's binlog",
    ),
    ("ALTER TABLE t ADD c8 TIMESTAMP NULL ON UPDATE CURRENT_TIMESTAMP", "+c8=NULL"),
    ("ALTER TABLE t DROP FOREIGN KEY fk9, DROP c8", "-c8"),
    ("ALTER TABLE t ADD d11 DATE DEFAULT DATE'2020-01-01'", "+d11=2020-01-01"),
    (
        "ALTER TABLE IF EXISTS t ADD COLUMN IF NOT EXISTS m1 INT, ADD COLUMN IF NOT EXISTS m2 INT DEFAULT 2",
        "+m1=NULL +m2=2",
    ),
    ("ALTER ONLINE TABLE t WAIT 5 ADD m3 UUID, ADD m4 INET6", "+m3=NULL +m4=NULL"),
    (
        "ALTER TABLE t NOWAIT ADD m5 UUID NOT NULL DEFAULT '123E4567-e89b-12d3-a456-426614174000', ADD m6 INET4 NOT NULL",
        "+m5=123e4567-e89b-12d3-a456-426614174000 +m6=0.0.0.0",
    ),
    ("ALTER TABLE t ADD m7 INET6 DEFAULT '::1', ADD m8 UUID DEFAULT UUID()", "+m7=::1 +m8=?"),
    ("SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE t ADD m9 INT DEFAULT (1)", "+m9=1"),
    ("ALTER TABLE t ADD m10 VARCHAR(20) DEFAULT CONCAT('a', 'b') NOT NULL", "+m10=?"),
    ("ALTER TABLE t ADD m11 INT INVISIBLE, ADD m12 INT AS (a) PERSISTENT", "+m11=NULL +m12=?"),
    ("ALTER TABLE t DROP COLUMN IF EXISTS m12, MODIFY COLUMN IF EXISTS m11 BIGINT", "-m12 ~m11"),
    ("ALTER TABLE t CHANGE COLUMN IF EXISTS m11 m13 BIGINT, DROP INDEX IF EXISTS nothing", "m11>m13 ~m13"),
    ("ALTER TABLE t RENAME COLUMN IF EXISTS m13 TO m14", "m13>m14"),
    (
        "ALTER TABLE t ADD m15 JSON, ADD m16 TEXT DEFAULT 'x', ADD m17 VARCHAR(10) COLLATE uca1400_ai_ci",
        "+m15=NULL +m16=x +m17=NULL",
    ),
    ("ALTER TABLE t ADD m18 VARCHAR(50) COMPRESSED", "!t the word COMPRESSED is not understood"),
    ("ALTER TABLE t DROP m18", "-m18"),
    ("ALTER IGNORE TABLE t ADD UNIQUE (a)", "!t IGNORE may remove rows"),
    ("/*M!100400 ALTER TABLE t ADD m19 INT */", "+m19=NULL"),
    (
        "ALTER TABLE t ADD PERIOD FOR p (s, e), ADD s DATE NOT NULL DEFAULT '2020-01-01', ADD e DATE NOT NULL DEFAULT '2021-01-01'",
        "+s=2020-01-01 +e=2021-01-01",
    ),
    ("ALTER TABLE t DROP PERIOD FOR p", ""),
    ("ALTER TABLE t PAGE_CHECKSUM=1 TRANSACTIONAL=0", ""),
    ("TRUNCATE TABLE t WAIT 5", "truncate t"),
    (
        "RENAME TABLE IF EXISTS t WAIT 5 TO t2, t2 TO t",
        "rename t>t2, rename t2>t, !t2 no statement since the stream was opened made $.t a copy of it, !t no statement since the stream was opened made $.t2 a copy of it",
    ),
    ("CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, a INT)", "drop t, create t"),
    (
        "ALTER TABLE t PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
        "",
    ),
    ("ALTER TABLE t CONVERT PARTITION p0 TO TABLE v2", "!t it moves or removes rows"),
    ("ALTER TABLE v ADD SYSTEM VERSIONING", "!v it makes the table one of another kind"),
    ("DROP TABLE IF EXISTS v, t WAIT 5", "drop v, drop t"),
];

const OF_ORACLE: &[(&str, &str)] = &[
    ("ALTER TABLE t ADD o1 DATE", "!t its sql_mode gives types other meanings (DATE)"),
    ("ALTER TABLE t DROP o1", "-o1"),
];

/// What a statement does, in the words of the corpus.
pub(crate) fn shown(acts: &[TableAct]) -> String {
    let step = |step: &ColumnStep| match step {
        ColumnStep::Add { column, fill: Fill::Value(value) } => format!("+{}={value}", column.name),
        ColumnStep::Add { column, fill: Fill::Null } => format!("+{}=NULL", column.name),
        ColumnStep::Add { column, fill: Fill::Unknown(_) } => format!("+{}=?", column.name),
        ColumnStep::Drop { column } => format!("-{column}"),
        ColumnStep::Rename { column, to } => format!("{column}>{to}"),
        ColumnStep::Change { column } => format!("~{}", column.name),
    };
    let act = |act: &TableAct| match act {
        TableAct::Truncate { table } => format!("truncate {}", table.table),
        TableAct::Alter { steps, .. } => {
            let steps = steps.iter().map(step).collect::<Vec<_>>().join(" ");
            if acts.len() == 1 { steps } else { format!("alter {steps}") }
        }
        TableAct::Rename { table, to } => format!("rename {}>{}", table.table, to.table),
        TableAct::Drop { table } => format!("drop {}", table.table),
        TableAct::Create { table } => format!("create {}", table.table),
        TableAct::Renew { table } => format!("renew {}", table.table),
        TableAct::Other { table, reason, hides_changes: true } => format!("!!{} {reason}", table.table),
        TableAct::Other { table, reason, hides_changes: false } => format!("!{} {reason}", table.table),
    };
    acts.iter().map(act).collect::<Vec<_>>().join(", ")
}
