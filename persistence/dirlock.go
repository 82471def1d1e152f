package persistence

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockDataDir makes the data dir, if need be, and this process its only node.
// Closing the file gives it free; so does the end of the process, however it ends.
func lockDataDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "node.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data dir: %w", err)
	}
	held, err := tryLockFile(f)
	if held {
		err = fmt.Errorf("data dir %s is in use by another node", dir)
	} else if err != nil {
		err = fmt.Errorf("lock data dir %s: %w", dir, err)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
