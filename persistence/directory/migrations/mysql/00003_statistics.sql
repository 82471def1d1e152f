-- +goose Up

-- What happened in a queue in slots of 15 minutes (level 0), 1 hour, 4, 16 and 64 hours (level 4) of UTC. A slot's number
-- times its length is when it begins, since 1970. waits and handles are histograms of seconds.
CREATE TABLE IF NOT EXISTS statistics_slots (
    queue_id VARCHAR(64) NOT NULL,
    level    TINYINT     NOT NULL,
    slot     BIGINT      NOT NULL,
    arrivals BIGINT      NOT NULL,
    served   BIGINT      NOT NULL,
    no_shows BIGINT      NOT NULL,
    removed  BIGINT      NOT NULL,
    waits    MEDIUMBLOB  NOT NULL,
    handles  MEDIUMBLOB  NOT NULL,
    part     INT         NOT NULL, -- of statistics_moments, the one that is being filled
    PRIMARY KEY (queue_id, level, slot)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The same one by one, by slots of level 0.
CREATE TABLE IF NOT EXISTS statistics_moments (
    queue_id VARCHAR(64) NOT NULL,
    slot     BIGINT      NOT NULL,
    part     INT         NOT NULL,
    moments  MEDIUMBLOB  NOT NULL,
    PRIMARY KEY (queue_id, slot, part)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS statistics_moments;
DROP TABLE IF EXISTS statistics_slots;
