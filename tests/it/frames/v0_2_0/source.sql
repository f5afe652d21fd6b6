CREATE TABLE big(id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25) INSERT INTO big SELECT i, 'row ' || i FROM n;
CREATE TABLE nodes(id INTEGER PRIMARY KEY, up INTEGER REFERENCES nodes(id), name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 35)
INSERT INTO nodes SELECT i, nullif(i % 35 + 1, 1), 'node ' || i FROM n;
CREATE TABLE loose(a, b);
INSERT INTO loose VALUES (1, 'one'), (1, 'one'), (NULL, 'none'), ('two', 2.5), (x'00ff', NULL);
CREATE TABLE empty(id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE mixed(id INTEGER PRIMARY KEY, t TEXT, r REAL, b BLOB, n INTEGER);
INSERT INTO mixed VALUES
    (-9223372036854775808, '', -0.0, x'', 0), (1, NULL, NULL, NULL, NULL),
    (2, 'nul' || char(0) || 'in it', 1e999, x'00ff80', -1), (3, printf('%.200c', 'x'), 0.1, zeroblob(300), 9223372036854775807);
CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace'), (3, 'Edsger');
CREATE TABLE words(w TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
INSERT INTO words VALUES ('a', 1), ('b', 2), ('ü', 3), ('zz', 4);
