package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"nowserving/persistence/directory"
	"nowserving/persistence/mariadbtest"
)

// fillArgs make filling fast; a crash would only mean to fill again.
var fillArgs = []string{
	"--innodb-buffer-pool-size=4G", "--innodb-log-file-size=1G", "--innodb-flush-log-at-trx-commit=0",
	"--innodb-doublewrite=0", "--innodb-io-capacity=4000",
}

const database = "bench"

// with opens the directory in the folder, on a private server of its own where it is MariaDB's.
func with(ctx context.Context, c config, args []string, do func(context.Context, *directory.Directory) error) error {
	options := directory.Options{Dir: c.dir}
	if c.store == "mariadb" {
		server, err := mariadbtest.StartServer(mariadbtest.Options{Dir: c.dir, Args: args})
		if err != nil {
			return err
		}
		defer stop(server, c.dir)
		db, err := server.Open("")
		if err != nil {
			return err
		}
		_, err = db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+database)
		if err = errors.Join(err, db.Close()); err != nil {
			return err
		}
		options.DatabaseURL = server.URL(database)
		if c.serve {
			fmt.Printf("--database-url '%s' --data-keys %s\n", options.DatabaseURL, dataKeys)
		}
	}
	d, err := directory.Open(ctx, options)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, d), d.Close())
}

// stop lets the server write what it holds, for killed it would make all of it again from its log at its next start.
func stop(server *mariadbtest.Server, dir string) {
	defer server.Stop()
	db, err := server.Open("")
	if err != nil {
		return
	}
	_, err = db.Exec("SHUTDOWN")
	_ = db.Close()
	// It has no other way to say that it is through.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(2 * time.Minute); err == nil && time.Now().Before(until); <-tick.C {
		_, err = os.Stat(filepath.Join(dir, "pid"))
	}
}
