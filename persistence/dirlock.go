package persistence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// lockDataDir makes the data dir, if need be, and this process its only node.
// Closing the file gives it free; so does the end of the process, however it ends.
func lockDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data dir: %w", err)
	}
	f, err := LockFile(filepath.Join(dir, "node.lock"))
	if errors.Is(err, ErrHeld) {
		return nil, fmt.Errorf("data dir %s is in use by another node", dir)
	}
	return f, err
}

const (
	lockTries = 20
	lockAgain = 10 * time.Millisecond
)

// ErrHeld: another process holds the lock.
var ErrHeld = errors.New("it is held by another process")

// LockFile makes a file, if need be, and has this process alone hold it until the
// file is closed or the process ends. It fails with ErrHeld.
func LockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	held, err := tryLockFile(f)
	// A program that another goroutine starts just now has this file open too,
	// until it begins: a lock that was given back is free a moment later.
	for tries := 0; held && err == nil && tries < lockTries; tries++ {
		time.Sleep(lockAgain)
		held, err = tryLockFile(f)
	}
	if held {
		err = ErrHeld
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
