package directory

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	gormmysql "gorm.io/driver/mysql"
)

// This file is MySQL's and MariaDB's own.

const (
	// The server's default is 151 for all who use it, and several nodes do.
	mysqlConns = 16
	// Connections are given up before a proxy or the server does so.
	mysqlConnLife = 3 * time.Minute

	mysqlDialTimeout  = 5 * time.Second
	mysqlWriteTimeout = 10 * time.Second
	// mysqlReadTimeout is how long the server may say nothing. A caller whose
	// context ends earlier does not wait for it.
	mysqlReadTimeout = 30 * time.Second
	// How long a statement waits for another transaction's locks, in seconds.
	mysqlLockWait = "5"

	mysqlScheme = "mysql"
)

// The server's errors that are told apart; see its "Server Error Message Reference".
const (
	mysqlDeadlock     = 1213
	mysqlLockTimeout  = 1205
	mysqlRowChanged   = 1020 // MariaDB: a row is newer than the transaction's snapshot
	mysqlTooLong      = 1406
	mysqlOutOfRange   = 1264
	mysqlBadCharacter = 1366
)

// mysqlReasons are for the operator: what the server's text would say without
// naming users, hosts and values.
var mysqlReasons = map[uint16]string{
	1040:              "too many connections",
	1044:              "the user may not use this database",
	1045:              "wrong user or password",
	1049:              "there is no such database",
	1053:              "the server is shutting down",
	1142:              "the user lacks a right",
	1203:              "too many connections of this user",
	1205:              "a lock was not to be had",
	1213:              "deadlock",
	1290:              "the server is read-only",
	1698:              "wrong user or password",
	1836:              "the server is read-only",
	1927:              "the connection was ended",
	mysqlTooLong:      "a value is too long",
	mysqlOutOfRange:   "a number is out of range",
	mysqlBadCharacter: "a text has bad characters",
}

// CheckURL fails with ErrInvalid where text is no mysql://user:password@host:port/name
// URL. The error repeats nothing of it.
func CheckURL(text string) error {
	_, err := mysqlConfig(text)
	return err
}

// mysqlConfig reads the URL. User and password are percent-encoded; the port
// is 3306 if left out; ?tls= may be true, skip-verify, preferred or false.
func mysqlConfig(text string) (*mysql.Config, error) {
	invalid := func(what string) (*mysql.Config, error) { return nil, fmt.Errorf("%w: %s", ErrInvalid, what) }
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != mysqlScheme || u.Opaque != "" || u.Fragment != "":
		return invalid("it is not of the form mysql://user:password@host:3306/name")
	case u.Hostname() == "":
		return invalid("it names no host")
	case u.User.Username() == "":
		return invalid("it names no user")
	}
	name := strings.TrimPrefix(u.Path, "/")
	if name == "" || strings.Contains(name, "/") {
		return invalid("it names no database")
	}
	c := mysql.NewConfig()
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Net, c.DBName = "tcp", name
	port := u.Port()
	if port == "" {
		port = "3306"
	}
	c.Addr = net.JoinHostPort(u.Hostname(), port)
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return invalid("what follows ? cannot be read")
	}
	for key, values := range query {
		if key != "tls" || len(values) != 1 {
			return invalid("only tls may follow ?, once")
		}
		if !slices.Contains([]string{"true", "skip-verify", "preferred", "false"}, values[0]) {
			return invalid("tls is none of true, skip-verify, preferred and false")
		}
		c.TLSConfig = values[0]
	}
	return tuneMySQL(c), nil
}

func tuneMySQL(c *mysql.Config) *mysql.Config {
	c.Timeout, c.ReadTimeout, c.WriteTimeout = mysqlDialTimeout, mysqlReadTimeout, mysqlWriteTimeout
	c.ClientFoundRows = true // see missing
	c.Collation = "utf8mb4_bin"
	c.InterpolateParams = true // one round trip for a statement instead of two
	c.Logger = &mysql.NopLogger{}
	c.Params = map[string]string{
		"sql_mode":                 "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE'",
		"time_zone":                "'+00:00'",
		"innodb_lock_wait_timeout": mysqlLockWait,
	}
	return c
}

// readCommitted sets the level on every new connection: the variable that
// holds it has different names in MySQL and MariaDB, the statement has not.
// A stricter level would lock gaps between rows and so meet in more deadlocks.
type readCommitted struct{ driver.Connector }

func (r readCommitted) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := r.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	exec, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(driver.ErrSkip, conn.Close())
	}
	if _, err := exec.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func openPool(c *mysql.Config, conns int) (*sql.DB, error) {
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("%w: the database's URL: %s", ErrInvalid, explainMySQL(err))
	}
	db := sql.OpenDB(readCommitted{connector})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxLifetime(mysqlConnLife)
	return db, nil
}

func openMySQL(ctx context.Context, text string) (*dialect, error) {
	c, err := mysqlConfig(text)
	if err != nil {
		return nil, err
	}
	if err := migrateMySQL(ctx, c); err != nil {
		return nil, err
	}
	db, err := openPool(c, mysqlConns)
	if err != nil {
		return nil, err
	}
	urgent, err := openPool(c, urgentConns)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &dialect{
		db: db, urgent: urgent, gorm: gormmysql.New(gormmysql.Config{Conn: db, SkipInitializeWithVersion: true}),
		explain: explainMySQL, again: lostRace, refused: badValue,
	}, nil
}

// migrateMySQL migrates over connections of its own, which wait for long
// changes of large tables. One of them holds a lock by name, which ends with
// that connection: a process that dies in the middle holds nobody up.
func migrateMySQL(ctx context.Context, c *mysql.Config) error {
	patient := c.Clone()
	patient.ReadTimeout = 0
	db, err := openPool(patient, 4)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // nothing is kept in it
	lock, err := firstConn(ctx, db)
	if err != nil {
		return fmt.Errorf("%w: %s: %s", awayOrRefused(err), c.Addr, explainMySQL(err))
	}
	defer func() { _ = lock.Close() }()
	// Names of locks are the whole server's, and at most 64 characters long.
	var got sql.NullInt64
	err = lock.QueryRowContext(ctx, "SELECT GET_LOCK(CONCAT('nowserving.', SHA1(DATABASE())), ?)", int(lockTimeout.Seconds())).Scan(&got)
	if err != nil {
		return fmt.Errorf("%w: lock the migrations: %s", awayOrRefused(err), explainMySQL(err))
	}
	if got.Int64 != 1 {
		return fmt.Errorf("%w: another process's migration is not over after %s", ErrUnavailable, lockTimeout)
	}
	if err := migrate(ctx, db, goose.DialectMySQL, "mysql"); err != nil {
		return fmt.Errorf("%w: %w", awayOrRefused(err), err)
	}
	return nil
}

// firstConn bounds the greeting, too, of a server that takes connections and
// then says nothing.
func firstConn(ctx context.Context, db *sql.DB) (*sql.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*mysqlDialTimeout)
	defer cancel()
	return db.Conn(ctx)
}

// awayOrRefused tells of a failure at the start whether another try may do
// better: nothing was there, or something that is not up yet. What the server
// itself refuses, above all a login, or a certificate that is not believed,
// stays as it is.
func awayOrRefused(err error) error {
	var network *net.OpError
	switch mysqlCode(err) {
	case 0:
	case 1040, 1203, 1053, 1290, 1836, 1927, mysqlLockTimeout, mysqlDeadlock, mysqlRowChanged:
		return ErrUnavailable
	default:
		return ErrRefused
	}
	switch {
	case errors.As(err, &network), errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, io.EOF),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return ErrUnavailable
	}
	return ErrRefused
}

// lostRace tells whether a transaction was rolled back for another's sake, so
// that it is worth another try.
func lostRace(err error) bool {
	switch mysqlCode(err) {
	case mysqlDeadlock, mysqlLockTimeout, mysqlRowChanged:
		return true
	}
	return false
}

// badValue tells whether a value does not fit its column: trying again is no use.
func badValue(err error) bool {
	switch mysqlCode(err) {
	case mysqlTooLong, mysqlOutOfRange, mysqlBadCharacter:
		return true
	}
	return false
}

func mysqlCode(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

func explainMySQL(err error) string {
	if code := mysqlCode(err); code != 0 {
		if reason := mysqlReasons[code]; reason != "" {
			return fmt.Sprintf("mysql: %s (%d)", reason, code)
		}
		return fmt.Sprintf("mysql: error %d", code)
	}
	var network *net.OpError
	switch {
	case errors.As(err, &network):
		return "mysql: " + network.Error() // addresses and the system's reason
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, io.EOF):
		return "mysql: the connection was lost"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "mysql: no answer in time"
	case errors.Is(err, mysql.ErrNoTLS):
		return "mysql: the server does not speak TLS"
	}
	return fmt.Sprintf("mysql: %T", err)
}
