-- Tickets given out to receivers that joined with a session's code: with its ticket a receiver comes back as long as the session
-- is there, although the code is spent. A ticket itself is not kept: only a SHA-256 of it.
CREATE TABLE rowferry_tickets (
  lookup TEXT PRIMARY KEY NOT NULL,
  session TEXT NOT NULL,
  expires_at TEXT NOT NULL
) WITHOUT ROWID;

-- Tickets that this site got as a receiver, for pulls that are not complete, so that the same URL and code go on after the
-- program was killed.
CREATE TABLE rowferry_kept_tickets (
  -- HMAC of URL and code under the site's key.
  place TEXT PRIMARY KEY NOT NULL,
  site_url TEXT NOT NULL,
  -- The other site's id.
  sender TEXT NOT NULL,
  -- Sealed under the site's key.
  ticket_sealed TEXT NOT NULL,
  expires_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX rowferry_kept_tickets_by_url ON rowferry_kept_tickets (site_url);
