-- The shop: tables whose keys and columns differ in kind, so that a copy that only suits one of them shows.
CREATE TABLE customers (
  id BIGINT UNSIGNED NOT NULL,
  email VARCHAR(120) NOT NULL,
  name VARCHAR(80) NOT NULL,
  balance DECIMAL(14,2) NOT NULL,
  points MEDIUMINT NOT NULL,
  tags SET('news','vip','b2b','blocked') NOT NULL,
  born DATE NULL,
  created DATETIME(6) NOT NULL,
  updated TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  note TEXT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE products (
  sku VARCHAR(32) NOT NULL,
  title VARCHAR(200) NOT NULL,
  price DECIMAL(12,4) NOT NULL,
  weight DOUBLE NULL,
  ratio FLOAT NULL,
  attributes JSON NULL,
  picture VARBINARY(300) NULL,
  made YEAR NULL,
  opens TIME(3) NULL,
  flags BIT(12) NOT NULL,
  PRIMARY KEY (sku)
);
CREATE TABLE stock (
  warehouse CHAR(4) NOT NULL,
  sku VARCHAR(32) NOT NULL,
  on_hand INT NOT NULL,
  reserved INT UNSIGNED NOT NULL,
  counted DATETIME NOT NULL,
  PRIMARY KEY (warehouse, sku)
);
CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL,
  customer BIGINT UNSIGNED NOT NULL,
  status ENUM('new','paid','packed','sent','returned') NOT NULL,
  total DECIMAL(20,4) NOT NULL,
  placed DATETIME(6) NOT NULL,
  paid TIMESTAMP(3) NULL,
  address JSON NOT NULL,
  memo VARCHAR(200) CHARACTER SET latin1 NULL,
  PRIMARY KEY (id)
);
CREATE TABLE order_items (
  order_id BIGINT UNSIGNED NOT NULL,
  line SMALLINT UNSIGNED NOT NULL,
  sku VARCHAR(32) NOT NULL,
  quantity TINYINT UNSIGNED NOT NULL,
  price DECIMAL(12,4) NOT NULL,
  PRIMARY KEY (order_id, line)
);
CREATE TABLE payments (
  id BINARY(16) NOT NULL,
  order_id BIGINT UNSIGNED NOT NULL,
  amount DECIMAL(20,4) NOT NULL,
  method ENUM('card','cash','voucher','transfer') NOT NULL,
  receipt VARBINARY(200) NULL,
  at DATETIME(3) NOT NULL,
  PRIMARY KEY (id)
);
CREATE TABLE pulses (
  id BIGINT NOT NULL,
  at DATETIME(6) NOT NULL,
  PRIMARY KEY (id)
);
