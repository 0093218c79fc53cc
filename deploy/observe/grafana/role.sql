-- The role of Grafana's boards: figures of turns and verdicts, and no word that anybody said. Run as the owner of the
-- tables once they are there; then give it a password (\password talkfleet_boards).
do $$ begin
    if not exists (select from pg_roles where rolname = 'talkfleet_boards') then create role talkfleet_boards login; end if;
end $$;
grant select (tenant, request, intent, confidence, kind, rung, outcome, usage, asked_at, ended_at) on turns to talkfleet_boards;
grant select (tenant, request, verdict, given_at) on feedback to talkfleet_boards;
