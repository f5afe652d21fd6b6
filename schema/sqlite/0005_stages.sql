-- Rows that wait until all of them are there: runs of rows in the order in which they came, as cells. They lie here and not in
-- tables of their own, so that the pages of rows that were applied serve the rows that are applied next.
CREATE TABLE rowferry_staged (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  -- The number of the first row of the run, counted from 1, and how many there are.
  first INTEGER NOT NULL,
  records INTEGER NOT NULL,
  cells BLOB NOT NULL,
  PRIMARY KEY (scope, stage, first)
) WITHOUT ROWID;

-- While tables that refer to each other are applied: references that no row satisfied yet. Empty outside of a transaction.
CREATE TABLE rowferry_pending (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  -- The position of the foreign key in its table.
  reference INTEGER NOT NULL,
  parent BLOB NOT NULL,
  PRIMARY KEY (scope, stage, record, reference)
) WITHOUT ROWID;

-- When rows turned out to refer to nothing, so that all that refer to those fall too. Empty outside of a transaction.
-- Which staged rows have a value that others may refer to: the columns that it is of have a number.
CREATE TABLE rowferry_values (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  set_number INTEGER NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (scope, stage, record, set_number)
) WITHOUT ROWID;
CREATE INDEX rowferry_values_by_value ON rowferry_values (scope, value);
-- Which refer to such a value, by which foreign key.
CREATE TABLE rowferry_links (
  scope TEXT NOT NULL,
  value BLOB NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  reference INTEGER NOT NULL,
  PRIMARY KEY (scope, value, stage, record, reference)
) WITHOUT ROWID;
-- Which are left out; children is 1 when those that refer to it were looked for.
CREATE TABLE rowferry_orphans (
  scope TEXT NOT NULL,
  stage INTEGER NOT NULL,
  record INTEGER NOT NULL,
  reference INTEGER NOT NULL,
  children INTEGER NOT NULL,
  PRIMARY KEY (scope, stage, record)
) WITHOUT ROWID;
CREATE INDEX rowferry_orphans_by_children ON rowferry_orphans (scope, children);

-- What waited in stages of the kind before these is fetched again.
DELETE FROM rowferry_marks WHERE progress LIKE '%"stage":%' AND (step <> 'done' OR strategy <> 'append');
DROP TABLE rowferry_stages;
