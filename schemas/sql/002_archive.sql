-- What was asked and answered, what customers thought of it, and what it cost.

create table turns (
    tenant       text             not null,
    request      text             not null,
    conversation text             not null,
    user_id      text,
    channel      text             not null,
    question     text             not null,
    language     text             not null,
    intent       text             not null,
    confidence   real             not null,
    -- kind and rung are of an answer only.
    kind         text,
    rung         text,
    outcome      text             not null,
    answer       text             not null,
    citations    jsonb            not null,
    timings      jsonb            not null,
    usage        jsonb,
    versions     jsonb            not null,
    attempt      integer          not null,
    frames       integer          not null,
    trace        text,
    asked_at     timestamptz      not null,
    ended_at     timestamptz      not null,
    -- The whole turn record, as it lay in the journal: what replay reads when the journal has forgotten.
    record       jsonb            not null,
    primary key (tenant, request)
);

create index turns_of_conversation on turns (tenant, conversation, asked_at);
create index turns_by_time on turns (tenant, asked_at);

create table feedback (
    tenant   text        not null,
    request  text        not null,
    verdict  text        not null check (verdict in ('up', 'down')),
    reason   text,
    user_id  text,
    given_at timestamptz not null,
    -- No reference to turns: a verdict may be archived before the turn that it is about.
    primary key (tenant, request)
);

create table usage (
    tenant            text   not null,
    day               date   not null,
    model             text   not null,
    turns             bigint not null,
    prompt_tokens     bigint not null,
    completion_tokens bigint not null,
    primary key (tenant, day, model)
);
