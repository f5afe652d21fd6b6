-- What undoes the writes of pulls that keep it: pages of entries, compressed. Those of a transfer are undone from the last one to the first.
CREATE TABLE rowferry_undo (
  seq INTEGER PRIMARY KEY,
  transfer TEXT NOT NULL,
  pull TEXT NOT NULL,
  table_name TEXT NOT NULL,
  entries INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  written_at TEXT NOT NULL,
  page BLOB NOT NULL
);
CREATE INDEX rowferry_undo_by_transfer ON rowferry_undo (transfer, seq, bytes, entries, written_at);
CREATE INDEX rowferry_undo_by_table ON rowferry_undo (table_name, seq, transfer);
