package main

import (
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// garbagePercent is how much garbage may stand beside what is in use before it
// is collected. Collecting at Go's default of 100 took a quarter of the
// processor under load (docs/performance.md).
const garbagePercent = 400

// tuneGarbage trades memory for speed where the machine has it: beyond half of
// what this process may use, garbage is collected more and more often instead.
// An operator's GOGC or GOMEMLIMIT holds; where the machine does not tell how
// much there is, nothing is changed.
func tuneGarbage() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if memory := machineMemory("/proc/meminfo", "/sys/fs/cgroup/memory.max"); memory > 0 {
		debug.SetMemoryLimit(memory / 2)
		debug.SetGCPercent(garbagePercent)
	}
}

// machineMemory gives the bytes that this process may use, 0 where that is
// unknown: the smaller of what the machine has (Linux, proc(5)) and what the
// container is allowed (cgroup v2).
func machineMemory(meminfo, cgroupMax string) int64 {
	memory := int64(math.MaxInt64)
	if text, err := os.ReadFile(meminfo); err == nil {
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
				kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
				if err == nil {
					memory = kib << 10
				}
			}
		}
	}
	if text, err := os.ReadFile(cgroupMax); err == nil {
		if allowed, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			memory = min(memory, allowed)
		}
	}
	if memory == math.MaxInt64 {
		return 0
	}
	return memory
}
