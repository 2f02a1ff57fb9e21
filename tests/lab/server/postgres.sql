CREATE ROLE tailrace LOGIN CREATEDB PASSWORD 'lab-tailrace-secret';
CREATE DATABASE shop OWNER tailrace;
