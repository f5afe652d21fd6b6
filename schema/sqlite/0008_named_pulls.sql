-- What makes the download of a named pull the same one when it is resumed, in whichever process; and what an approval is good for.
-- The name that the receiver gave its pull.
ALTER TABLE rowferry_transfers ADD COLUMN pull TEXT;
-- The digest of the table's schema as it was when approval was asked for, or when the download began.
ALTER TABLE rowferry_transfers ADD COLUMN schema_digest TEXT;
-- Most records that the approval is good for.
ALTER TABLE rowferry_transfers ADD COLUMN approved_records INTEGER;
-- Which of those who resumed the download it belongs to: the last one, counted from 1.
ALTER TABLE rowferry_transfers ADD COLUMN pull_turn INTEGER NOT NULL DEFAULT 0;
-- The download began after so many records of its table, at the place of this digest (none: at the first row).
ALTER TABLE rowferry_transfers ADD COLUMN pull_base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rowferry_transfers ADD COLUMN pull_from TEXT;
-- How far it was at most, and how many records its receiver has for sure, in records of its table.
ALTER TABLE rowferry_transfers ADD COLUMN pull_reached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rowferry_transfers ADD COLUMN pull_acked INTEGER NOT NULL DEFAULT 0;
-- What was sent again from other snapshots, or may have been.
ALTER TABLE rowferry_transfers ADD COLUMN pull_again INTEGER NOT NULL DEFAULT 0;
-- The number of the last snapshot, and the records that were sent from it: from the first number to the second.
ALTER TABLE rowferry_transfers ADD COLUMN pull_state INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rowferry_transfers ADD COLUMN pull_state_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rowferry_transfers ADD COLUMN pull_state_to INTEGER NOT NULL DEFAULT 0;
CREATE INDEX rowferry_transfers_by_pull ON rowferry_transfers (pull, table_name, started_at);
