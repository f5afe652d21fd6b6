-- Which copy of the sender's database rows come from: a copy has the same id.
ALTER TABLE rowferry_pulls ADD COLUMN incarnation TEXT;
ALTER TABLE rowferry_appends ADD COLUMN incarnation TEXT;
