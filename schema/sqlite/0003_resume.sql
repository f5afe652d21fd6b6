-- How far each table of a pull is (scope), written with the rows that it tells of. The table's name is the sender's, as names are
-- compared here; the plan is a digest of what must be the same for the pull to go on; done_at is when it was first done; the
-- progress is JSON.
CREATE TABLE rowferry_marks (
  scope TEXT NOT NULL,
  table_name TEXT NOT NULL,
  strategy TEXT NOT NULL,
  name TEXT NOT NULL,
  plan TEXT NOT NULL,
  step TEXT NOT NULL,
  records INTEGER NOT NULL,
  announced INTEGER NOT NULL,
  done_at TEXT,
  progress TEXT NOT NULL,
  PRIMARY KEY (scope, table_name, strategy)
);

-- Appends that were finished (whole = 1), or cut off and can no longer be gone on with (0): the same one again would add rows once
-- more.
CREATE TABLE rowferry_appends (
  sender TEXT NOT NULL,
  table_name TEXT NOT NULL,
  name TEXT NOT NULL,
  records INTEGER NOT NULL,
  whole INTEGER NOT NULL,
  finished_at TEXT NOT NULL,
  PRIMARY KEY (sender, table_name)
);
