-- Accounts of the laboratory's MariaDB servers: read while the data folder is made, and by the container image of
-- docker-compose.yml. MariaDB reads privileges only after the first line where it is not yet a server.
FLUSH PRIVILEGES;
DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1';
CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY 'lab-root-secret';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS 'tailrace'@'%' IDENTIFIED BY 'lab-tailrace-secret';
GRANT REPLICATION SLAVE, BINLOG MONITOR, SELECT ON *.* TO 'tailrace'@'%';
