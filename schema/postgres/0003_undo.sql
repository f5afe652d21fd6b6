CREATE TABLE rowferry_undo (
  seq bigint PRIMARY KEY,
  transfer text COLLATE "C" NOT NULL,
  pull text COLLATE "C" NOT NULL,
  table_name text COLLATE "C" NOT NULL,
  entries bigint NOT NULL,
  bytes bigint NOT NULL,
  written_at text COLLATE "C" NOT NULL,
  page bytea NOT NULL
);
CREATE INDEX rowferry_undo_by_transfer ON rowferry_undo (transfer, seq);
CREATE INDEX rowferry_undo_by_table ON rowferry_undo (table_name, seq);
