-- Histories of this database that hold all that was archived shortly before they began. A server that takes over from another may
-- lack its last moments; the archive then writes them again from the journal, and notes it here.

create table promotions (
    -- PostgreSQL's own number of a history: every promotion begins the next one.
    timeline     bigint      primary key,
    caught_up_at timestamptz not null default now()
);

insert into promotions (timeline) values (1);
