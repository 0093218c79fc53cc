-- A whole record is kept as the bytes that lay in the journal: as jsonb it cost the database six times as much as the row beside it.

alter table turns alter column record drop not null;

-- MessagePack, as in the journal; rows from before this migration have `record` instead.
alter table turns add column body bytea;

-- A row of up to a page stays in one piece and uncompressed: compressing 4 KB would cost more than all the rest.
alter table turns alter column body set storage external;
alter table turns set (toast_tuple_target = 8160);
