-- Entities of few versions need no index of the open ones: their primary key finds all of them. Ids are random, so
-- each such index cost a POST a page of its own. The insert itself looks for an open version
-- (projections/sqlite_query.cpp).
DROP INDEX messages_open;
DROP INDEX runs_open;
DROP INDEX steps_open;
