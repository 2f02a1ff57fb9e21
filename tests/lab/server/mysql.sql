-- Accounts of the laboratory's MySQL servers: read by mysqld while it initialises, and by the container image of docker-compose.yml.
CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY 'lab-root-secret';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS 'tailrace'@'%' IDENTIFIED BY 'lab-tailrace-secret';
GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO 'tailrace'@'%';
