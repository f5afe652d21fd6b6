-- Records that wait for a unique value that another row has yet to give up, or for the records of other tables.
CREATE TABLE rowferry_waiting (
  scope TEXT NOT NULL,
  -- The number of the table's stage.
  stage INTEGER NOT NULL,
  -- Counted from 1, in the order in which the records came.
  record INTEGER NOT NULL,
  -- The key of the row that the record changes or becomes, as cells.
  key BLOB NOT NULL,
  -- The record's number in the table's stage; 0 if it was in none.
  staged INTEGER NOT NULL,
  -- 1 while the records are settled that this one waits for; 2 when it is settled itself, with those of other tables; 3 when a row
  -- keeps it out that no record changes.
  busy INTEGER NOT NULL,
  -- The table's name if the record waits for those of other tables.
  late TEXT,
  cells BLOB NOT NULL,
  PRIMARY KEY (scope, stage, record)
) WITHOUT ROWID;
CREATE INDEX rowferry_waiting_by_key ON rowferry_waiting (scope, stage, key, record, busy, late);
CREATE INDEX rowferry_waiting_by_late ON rowferry_waiting (scope, late);
CREATE INDEX rowferry_waiting_by_turn ON rowferry_waiting (scope, stage, busy, late, record);
