-- How far the rows of a received table are known to be the sender's.
ALTER TABLE rowferry_transfers ADD COLUMN verified text COLLATE "C" NOT NULL DEFAULT 'none';
