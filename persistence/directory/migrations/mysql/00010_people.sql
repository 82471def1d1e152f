-- +goose Up
-- Who did what, which administrators are asked for: ids and names of fields only,
-- nothing personal but the network address. Rows are never changed.
CREATE TABLE IF NOT EXISTS audit_log (
    id      BINARY(16)     NOT NULL PRIMARY KEY,
    at_ms   BIGINT         NOT NULL,
    user_id VARBINARY(64)  NOT NULL, -- empty: somebody at the command line
    key_id  VARBINARY(64)  NOT NULL, -- of the API key that was used; empty: none
    action  VARBINARY(64)  NOT NULL,
    target  VARBINARY(256) NOT NULL, -- the id of what it was done to
    address VARBINARY(64)  NOT NULL,
    details MEDIUMBLOB     NOT NULL, -- JSON, or empty
    KEY audit_log_at (at_ms, id),
    KEY audit_log_user (user_id, at_ms, id),
    KEY audit_log_action (action, at_ms, id),
    KEY audit_log_target (target, at_ms, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- Long-lived credentials of programs and displays, each a user's.
CREATE TABLE IF NOT EXISTS api_keys (
    id         VARCHAR(64)  NOT NULL PRIMARY KEY,
    hash       BINARY(32)   NOT NULL UNIQUE, -- SHA-256 of the key
    user_id    VARCHAR(64)  NOT NULL,
    name       VARCHAR(200) NOT NULL,
    created_ms BIGINT       NOT NULL,
    expires_ms BIGINT       NOT NULL, -- 0: never
    KEY api_keys_user (user_id, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Both are sealed, by the program when it opens the directory: what begins with
-- the byte 1 is. A user is found by user_emails alone.
ALTER TABLE users MODIFY COLUMN email VARBINARY(1200) NOT NULL, MODIFY COLUMN name BLOB NOT NULL;
CREATE TABLE IF NOT EXISTS user_emails (
    email_index BINARY(32)  NOT NULL PRIMARY KEY, -- HMAC of the address, a row for each key of the ring
    user_id     VARCHAR(64) NOT NULL,
    KEY user_emails_user (user_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS user_emails;
-- What is sealed stays so: this is for a directory without users.
ALTER TABLE users MODIFY COLUMN email VARCHAR(254) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    MODIFY COLUMN name TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL;
DROP TABLE IF EXISTS api_keys;
DROP TABLE IF EXISTS audit_log;
