-- What each role of the database may do: exactly what its part of the code does. `talkfleet database migrate` runs it after the
-- migrations, as the owner of the tables, for those of the roles that there are (deploy/sql/roles.sql makes them).

do $$
declare
    -- A role, what it may do, and with which tables.
    rights constant text[] := array[
        -- Writes the journal's entries, counts what they cost, tells histories, deletes what is older than archive.retention_days;
        -- looks whether the schema is up to date.
        'talkfleet_archive', 'select, insert, delete', 'turns',
        'talkfleet_archive', 'select, insert, update, delete', 'feedback',
        'talkfleet_archive', 'select, insert, update', 'usage',
        'talkfleet_archive', 'select, insert', 'promotions',
        'talkfleet_archive', 'select', '_sqlx_migrations',
        -- Reads what is searched; with the backend pgvector it keeps the search's own tables.
        'talkfleet_retrieval', 'select', 'knowledge, documents, passages, _sqlx_migrations',
        'talkfleet_retrieval', 'select, insert, update, delete',
            'search_layout, search_bases, search_shelves, search_terms, search_words, search_meanings',
        -- Histories from a replica, recorded turns for a replay.
        'talkfleet_history', 'select', 'turns',
        -- `talkfleet knowledge add` and its like.
        'talkfleet_knowledge', 'select, insert, update, delete', 'knowledge, documents, passages',
        'talkfleet_knowledge', 'select', '_sqlx_migrations',
        -- Forgetting a user; of others' turns, what they tell of that user.
        'talkfleet_forget', 'select, delete', 'turns, feedback',
        'talkfleet_forget', 'update (body, record)', 'turns',
        -- A backup reads everything.
        'talkfleet_backup', 'select', 'knowledge, documents, passages, turns, feedback, usage, promotions, _sqlx_migrations',
        'talkfleet_backup', 'select',
            'search_layout, search_bases, search_shelves, search_terms, search_words, search_meanings'
    ];
    name text;
begin
    for place in 0 .. array_length(rights, 1) / 3 - 1 loop
        if exists (select from pg_roles where rolname = rights[place * 3 + 1]) then
            foreach name in array string_to_array(rights[place * 3 + 3], ', ') loop
                -- The search's tables are there where PostgreSQL is searched.
                if to_regclass(name) is not null then
                    execute format('grant %s on %I to %I', rights[place * 3 + 2], name, rights[place * 3 + 1]);
                end if;
            end loop;
        end if;
    end loop;
end $$;
