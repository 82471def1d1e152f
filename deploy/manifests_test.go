// Package deploy holds what the program is deployed with to the program itself.
package deploy

import (
	"bytes"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The same source makes the same program by the Dockerfile's command, wherever
// it stands; and what is in check, a module of its own, holds the manifests
// against that program.
func TestManifests(t *testing.T) {
	t.Parallel()
	command, variables := build(t)
	var programs []string
	var sums [][]byte
	for _, folder := range []string{"one", "another/one"} {
		source := filepath.Join(t.TempDir(), folder)
		checkout(t, source)
		program := filepath.Join(source, "built", "nowserving")
		cmd := exec.Command("sh", "-euc", strings.Replace(command, " /nowserving ", " "+program+" ", 1))
		cmd.Dir = source
		cmd.Env = append(os.Environ(), variables...)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", cmd, err, said)
		}
		programs, sums = append(programs, program), append(sums, sum(t, program))
	}
	if !bytes.Equal(sums[0], sums[1]) {
		t.Error("two builds of the same source are not the same")
	}
	cmd := exec.Command("go", "test", "-count=1", "./...")
	cmd.Dir = "check"
	cmd.Env = append(os.Environ(), "NOWSERVING_PROGRAM="+programs[0], "GOFLAGS=-buildvcs=false -mod=readonly", "GOWORK=off")
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("deploy/check: %v:\n%s", err, said)
	}
	t.Logf("%s", said)
}

// build gives the Dockerfile's command and the variables that it is run with.
func build(t *testing.T) (command string, variables []string) {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^RUN (go build .* -o /nowserving \.)( |$)`).FindSubmatch(text)
	env := regexp.MustCompile(`(?m)^ENV (.*GOFLAGS.*)$`).FindSubmatch(text)
	if found == nil || env == nil {
		t.Fatal("the Dockerfile is not understood")
	}
	return string(found[1]), append(strings.Fields(string(env[1])), "VERSION=test")
}

// checkout copies what the Dockerfile does.
func checkout(t *testing.T, to string) {
	t.Helper()
	text, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	ignored := strings.Fields(string(text))
	err = filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case slices.Contains(ignored, strings.TrimPrefix(path, "../")) && entry.IsDir():
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, ".."))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sum(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}
