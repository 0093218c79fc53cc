-- What `retrieval.backend = "pgvector"` searches, made by the first worker that is so configured; nothing else needs it.
-- All of it follows from documents and passages: it may be dropped at any time and is then made anew.

create table search_layout (
    layout integer not null
);

create table search_bases (
    tenant   text   primary key,
    -- The knowledge version that is in here; whoever brings it up to date holds this row's lock.
    revision bigint not null
);

-- Words are told apart by kind (text, whole) and language: a word's rarity means nothing across them.
create table search_shelves (
    tenant      text   not null,
    kind        text   not null,
    language    text   not null,
    entries     bigint not null,
    -- Words in all of them, with repetitions.
    text_words  bigint not null,
    title_words bigint not null,
    primary key (tenant, kind, language)
);

create table search_terms (
    tenant  text    not null,
    -- A word of one field of one shelf, as a number.
    term    integer not null,
    -- Entries that hold it.
    entries integer not null,
    primary key (tenant, term)
);

create table search_words (
    tenant      text      not null,
    document    text      not null,
    kind        text      not null,
    ordinal     integer   not null,
    language    text      not null,
    text_words  integer   not null,
    title_words integer   not null,
    terms       integer[] not null,
    -- BM25's share of each term; its product with the query's rarities is the score.
    words       sparsevec not null,
    primary key (tenant, document, kind, ordinal)
) with (toast_tuple_target = 8160);

-- Without a list of pending entries: a search right after a change is as fast as any other.
create index search_words_by_term on search_words using gin (terms) with (fastupdate = off);

create table search_meanings (
    tenant    text         not null,
    document  text         not null,
    kind      text         not null,
    ordinal   integer      not null,
    language  text         not null,
    embedding halfvec(512) not null,
    primary key (tenant, kind, document, ordinal)
);
