-- The role of Grafana's boards: figures of turns and verdicts, and no word that anybody said. Run once as the owner of the
-- tables; then give it a password (\password talkfleet_boards).
create role talkfleet_boards login;
grant select (tenant, request, intent, confidence, kind, rung, outcome, usage, asked_at, ended_at) on turns to talkfleet_boards;
grant select (tenant, request, verdict, given_at) on feedback to talkfleet_boards;
