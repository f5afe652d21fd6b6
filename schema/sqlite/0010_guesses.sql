-- Wrong codes and passwords of the minute, as the processes that serve this database tell each other: each tells several at once. The
-- key is an address, or a connection; empty for all.
CREATE TABLE rowferry_guesses (
  kind TEXT NOT NULL,
  whose TEXT NOT NULL,
  began_at TEXT NOT NULL,
  wrong INTEGER NOT NULL,
  PRIMARY KEY (kind, whose)
) WITHOUT ROWID;
