-- The roles of a database that Talkfleet uses, each for one part of it. Run once by a superuser, in the database itself:
--     psql -v ON_ERROR_STOP=1 -f deploy/sql/roles.sql "postgres://postgres@host/talkfleet"
-- then `talkfleet database migrate` as a member of talkfleet_owner makes the tables and says what the others may do with them.
-- None of them can log in: logins are made beside them,
--     create role archive login password '…' in role talkfleet_archive;
--     create role migrator login password '…' in role talkfleet_owner;
--     alter role migrator set role = talkfleet_owner;     -- what it makes belongs to the role and not to the login

do $$
declare
    name text;
begin
    foreach name in array array['talkfleet_owner', 'talkfleet_archive', 'talkfleet_retrieval', 'talkfleet_history',
        'talkfleet_knowledge', 'talkfleet_forget', 'talkfleet_backup'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I nologin', name);
        end if;
        execute format('grant connect on database %I to %I', current_database(), name);
    end loop;
    -- Nobody else gets in, nobody but the owner makes tables, nor temporary ones.
    execute format('revoke all on database %I from public', current_database());
end $$;

revoke all on schema public from public;
grant usage on schema public to talkfleet_archive, talkfleet_retrieval, talkfleet_history, talkfleet_knowledge,
    talkfleet_forget, talkfleet_backup;
grant usage, create on schema public to talkfleet_owner;
