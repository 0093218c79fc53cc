-- Whose a turn was is asked when somebody wants to be forgotten, and then it must not take a look at every row.

create index turns_of_user on turns (tenant, user_id) where user_id is not null;
