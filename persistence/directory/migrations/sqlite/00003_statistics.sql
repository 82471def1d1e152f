-- +goose Up

-- What happened in a queue in slots of 15 minutes (level 0), 1 hour, 4, 16 and 64 hours (level 4) of UTC. A slot's number
-- times its length is when it begins, since 1970. waits and handles are histograms of seconds.
CREATE TABLE statistics_slots (
    queue_id TEXT    NOT NULL,
    level    INTEGER NOT NULL,
    slot     INTEGER NOT NULL,
    arrivals INTEGER NOT NULL,
    served   INTEGER NOT NULL,
    no_shows INTEGER NOT NULL,
    removed  INTEGER NOT NULL,
    waits    BLOB    NOT NULL,
    handles  BLOB    NOT NULL,
    part     INTEGER NOT NULL, -- of statistics_moments, the one that is being filled
    PRIMARY KEY (queue_id, level, slot)
) STRICT;

-- The same one by one, by slots of level 0.
CREATE TABLE statistics_moments (
    queue_id TEXT    NOT NULL,
    slot     INTEGER NOT NULL,
    part     INTEGER NOT NULL,
    moments  BLOB    NOT NULL,
    PRIMARY KEY (queue_id, slot, part)
) STRICT;

-- +goose Down
DROP TABLE statistics_moments;
DROP TABLE statistics_slots;
