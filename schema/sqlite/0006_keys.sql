-- The keys of rows that a record of the pull has, where two of the sender's rows may have one key here, so that a later record with
-- the same key fails: each as the row stands here, byte for byte.
CREATE TABLE rowferry_taken_keys (
  scope TEXT NOT NULL,
  table_name TEXT NOT NULL,
  key BLOB NOT NULL,
  PRIMARY KEY (scope, table_name, key)
) WITHOUT ROWID;
