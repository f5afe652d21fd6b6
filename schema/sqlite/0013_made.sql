-- Which tables pulls made, and of which sender: tables that come later may refer to them. The digest is of the columns as they were made: a
-- table that has others was made by somebody else since then.
CREATE TABLE rowferry_made (
  sender TEXT NOT NULL,
  table_name TEXT NOT NULL,
  columns BLOB NOT NULL,
  PRIMARY KEY (sender, table_name)
) WITHOUT ROWID;
