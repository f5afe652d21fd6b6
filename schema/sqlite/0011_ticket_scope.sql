-- A ticket is good for the receiver that used its session's code, if that said who it is (the id that it gave), and for the tables of the
-- pull that began with it (JSON; NULL while no table of it was begun, and where its receiver does not tell).
ALTER TABLE rowferry_tickets ADD COLUMN receiver TEXT;
ALTER TABLE rowferry_tickets ADD COLUMN tables TEXT;
