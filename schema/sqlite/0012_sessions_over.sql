-- When the receiver that used a session's code said that its pull has completed: nothing more begins with that code.
ALTER TABLE rowferry_sessions ADD COLUMN over_at TEXT;
CREATE INDEX rowferry_tickets_by_session ON rowferry_tickets (session);
CREATE INDEX rowferry_transfers_by_session ON rowferry_transfers (session, table_name) WHERE session IS NOT NULL;
