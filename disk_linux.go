package main

import (
	"math"
	"syscall"
)

// freeBytes is the room on a folder's disk that this program may use.
func freeBytes(dir string) float64 {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return math.NaN()
	}
	return float64(s.Bavail) * float64(s.Bsize)
}
