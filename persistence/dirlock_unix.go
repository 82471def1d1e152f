//go:build unix

package persistence

import (
	"errors"
	"os"
	"syscall"
)

// tryLockFile takes an exclusive lock that the kernel drops with the process.
// held is true where another one has it.
func tryLockFile(f *os.File) (held bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
