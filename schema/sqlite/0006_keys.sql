-- What the records of a sender became here: kept, so that what refers to them follows in later pulls too, and a second append
-- brings only what is new. The scope is the sender; where there is none, the pull, whose keys are forgotten with it. A table is the
-- local one. The pull is the last one that wrote; runs counts those that did.
CREATE TABLE rowferry_key_maps (
  id INTEGER PRIMARY KEY NOT NULL,
  scope TEXT NOT NULL,
  parent TEXT NOT NULL,
  pull TEXT NOT NULL,
  runs INTEGER NOT NULL,
  -- The largest number that an append gave to a row: it is not given again, although the row may be deleted.
  last_given INTEGER NOT NULL DEFAULT 0,
  UNIQUE (scope, parent)
);
-- The old key as the key's columns compare it, and as the columns store it where that is something else. The new key is that of a
-- row that was here before where existing is 1; appended is 1 where it was an append that made it so.
CREATE TABLE rowferry_keys (
  map INTEGER NOT NULL,
  old BLOB NOT NULL,
  stored BLOB,
  new BLOB NOT NULL,
  existing INTEGER NOT NULL,
  appended INTEGER NOT NULL,
  run INTEGER NOT NULL,
  PRIMARY KEY (map, old)
) WITHOUT ROWID;

CREATE INDEX rowferry_keys_moved ON rowferry_keys (map, new) WHERE appended = 0;

-- Pulls that were cut off keep what they knew of integer keys. Others were not kept as they are compared.
INSERT INTO rowferry_key_maps (scope, parent, pull, runs)
  SELECT p.sender, lower(k.parent), max(p.scope), 1 FROM rowferry_key_map AS k JOIN rowferry_pulls AS p ON p.scope = k.scope
  WHERE p.sender IS NOT NULL AND length(k.old) = 9 AND substr(k.old, 1, 1) = x'69' GROUP BY p.sender, lower(k.parent);
INSERT INTO rowferry_keys (map, old, new, existing, appended, run)
  SELECT m.id, k.old, k.new, k.existing, 1, 1 FROM rowferry_key_map AS k JOIN rowferry_key_maps AS m
  ON m.pull = k.scope AND m.parent = lower(k.parent) WHERE length(k.old) = 9 AND substr(k.old, 1, 1) = x'69';
DROP TABLE rowferry_key_map;

-- An append of which records failed for want of a row that they refer to is not whole: the next one brings them.
ALTER TABLE rowferry_appends ADD COLUMN lacks_parents INTEGER NOT NULL DEFAULT 0;
-- Whether what its records became was kept, so that it can be told what is new.
ALTER TABLE rowferry_appends ADD COLUMN keys_kept INTEGER NOT NULL DEFAULT 0;
-- The keys of rows that a record of the pull has, where two of the sender's rows may have one key here, so that a later record with
-- the same key fails: each as the row stands here, byte for byte.
CREATE TABLE rowferry_taken_keys (
  scope TEXT NOT NULL,
  table_name TEXT NOT NULL,
  key BLOB NOT NULL,
  PRIMARY KEY (scope, table_name, key)
) WITHOUT ROWID;
