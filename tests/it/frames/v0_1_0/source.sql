-- What the recorded sender served: tables of all kinds, one of more than two pages of ten rows.
CREATE TABLE big(id INTEGER PRIMARY KEY, name TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25) INSERT INTO big SELECT i, 'row ' || i FROM n;
CREATE TABLE loose(a, b);
INSERT INTO loose VALUES (1, 'one'), (1, 'one'), (NULL, 'none'), ('two', 2.5), (x'00ff', NULL);
CREATE TABLE empty(id INTEGER PRIMARY KEY, v TEXT);
CREATE TABLE mixed(id INTEGER PRIMARY KEY, t TEXT, r REAL, b BLOB, n INTEGER);
INSERT INTO mixed VALUES
    (-9223372036854775808, '', -0.0, x'', 0),
    (1, NULL, NULL, NULL, NULL),
    (2, 'nul' || char(0) || 'in it', 1e999, x'00ff80', -1),
    (3, printf('%.200c', 'x'), 0.1, zeroblob(300), 9223372036854775807),
    (4, '2026-01-01', 5e-324, x'0a', 127);
CREATE TABLE parents(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
INSERT INTO parents VALUES (1, 'a'), (2, 'b'), (3, 'c');
CREATE TABLE children(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES parents(id), note TEXT);
INSERT INTO children VALUES (10, 3, 'x'), (11, 1, 'y'), (12, 3, NULL), (13, 2, 'z');
CREATE TABLE words(w TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
INSERT INTO words VALUES ('a', 1), ('b', 2), ('ü', 3), ('zz', 4);
