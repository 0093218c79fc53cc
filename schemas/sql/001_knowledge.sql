-- What a company knows: documents, the passages cut from them, the questions that lead to them, and a version that moves with every change.

create table knowledge (
    tenant   text   primary key,
    -- Bumped in the same transaction as the change that it counts.
    version  bigint not null
);

create table documents (
    tenant        text        not null,
    id            text        not null,
    title         text        not null,
    url           text        not null,
    category      text        not null,
    language      text        not null check (language in ('en', 'zh', 'und')),
    body          text        not null,
    -- SHA-256 of what a customer could be shown of it.
    digest        bytea       not null,
    -- The folder or file that was named on the command line, and the file below it.
    source_root   text        not null,
    source_path   text        not null,
    -- SHA-256 of the source file and of the reader's own version: an unchanged file is not read again.
    source_digest bytea       not null,
    -- The knowledge version that wrote this row; whoever holds an older index fetches only what is newer.
    revision      bigint      not null,
    updated_at    timestamptz not null default now(),
    primary key (tenant, id)
);

create index documents_by_source on documents (tenant, source_root, source_path);

create table passages (
    tenant    text    not null,
    document  text    not null,
    -- A question is a customer's wording: it leads to its document and is never quoted.
    kind      text    not null check (kind in ('text', 'question')),
    ordinal   integer not null,
    text      text    not null,
    -- f32 in little endian; null when it was added without an encoder.
    embedding bytea,
    primary key (tenant, document, kind, ordinal),
    foreign key (tenant, document) references documents (tenant, id) on delete cascade
);
