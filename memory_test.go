package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMachineMemory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	meminfo := write("meminfo", "MemTotal:       2048 kB\nMemFree:        1 kB\n")
	for name, c := range map[string]struct {
		meminfo, cgroup string
		want            int64
	}{
		"machine":            {meminfo, filepath.Join(dir, "none"), 2 << 20},
		"container":          {meminfo, write("max", "1048576\n"), 1 << 20},
		"unbounded":          {meminfo, write("unbounded", "max\n"), 2 << 20},
		"container only":     {filepath.Join(dir, "none"), write("max2", "4096\n"), 4096},
		"neither":            {filepath.Join(dir, "none"), filepath.Join(dir, "none"), 0},
		"not to be read":     {write("odd", "MemTotal: many kB\n"), filepath.Join(dir, "none"), 0},
		"larger than it has": {meminfo, write("large", "9000000000000\n"), 2 << 20},
	} {
		if got := machineMemory(c.meminfo, c.cgroup); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
