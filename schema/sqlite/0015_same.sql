-- States of senders that are here whole: the next pull of the same kind asks first whether anything has changed since. `local` is the state
-- of the rows here, as the process knew it that pulled them; `schema` the number of the schema here.
CREATE TABLE rowferry_same (
  sender TEXT NOT NULL,
  plan TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  here TEXT NOT NULL,
  token TEXT NOT NULL,
  schema INTEGER NOT NULL,
  local BLOB,
  kept_at TEXT NOT NULL,
  PRIMARY KEY (sender, plan)
) WITHOUT ROWID;
