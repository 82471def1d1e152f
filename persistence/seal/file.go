package seal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A ring file larger than this is some other file.
const maxRingFile = 16 << 10

// LoadOrCreateRing reads the ring at path. Where there is no file it makes
// one with a single random key (mode 0600, folder 0700), so that a fresh node
// has its keys; of several processes that do so at once all get the same ring.
// A file that everyone on the machine can read or write is refused.
// Errors name the path, never the content; a bad content wraps ErrRing.
func LoadOrCreateRing(path string) (*Ring, error) {
	r, err := ReadRing(path, true)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("key ring: make its folder: %w", err)
	}
	fresh, err := ParseRing(newEntry(time.Now()))
	if err != nil {
		return nil, err
	}
	if err := createFile(path, fresh.encode()+"\n"); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("key ring: create: %w", err)
	}
	// Read back even what was just written: if another process was first, its
	// ring is the one; and a file system that lies is found out now.
	return ReadRing(path, true)
}

// AddKey makes a random key and puts it at the front of the ring at path, in one
// step: whoever reads the file finds the ring before or after it.
func AddKey(path string, now time.Time) (*Ring, error) {
	r, err := ReadRing(path, true)
	if err != nil {
		return nil, err
	}
	longer, err := ParseRing(newEntry(now) + "," + r.encode())
	if err != nil {
		return nil, fmt.Errorf("key ring %s: %w", path, err)
	}
	temp, err := writeTemp(path, longer.encode()+"\n")
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	defer os.Remove(temp) // it is not there any more, unless this failed
	if err := os.Rename(temp, path); err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	return longer, syncDir(filepath.Dir(path))
}

// ReadRing reads the ring at path. A private file that everyone on the machine
// can read or write is refused.
func ReadRing(path string, private bool) (*Ring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	// Windows has no such bits; Go makes them up there.
	if private && runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("key ring: %s is open to every user of this machine; chmod 600 it", path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxRingFile+1))
	if err != nil {
		return nil, fmt.Errorf("key ring: %w", err)
	}
	if len(content) > maxRingFile {
		return nil, fmt.Errorf("key ring: %s is larger than %d bytes", path, maxRingFile)
	}
	r, err := ParseRing(string(content))
	if err != nil {
		return nil, fmt.Errorf("key ring %s: %w", path, err)
	}
	return r, nil
}

// newEntry makes a random key. Its id is the moment and a few random letters:
// ids are seen in sealed values and must never be used for two keys.
func newEntry(now time.Time) string {
	secret := make([]byte, KeySize)
	rand.Read(secret) // never fails: it ends the program instead
	return "k" + now.UTC().Format("20060102") + "-" + rand.Text()[:6] + ":" + base64.StdEncoding.EncodeToString(secret)
}

// createFile makes path with content in one step: a crash leaves either the
// whole file or none, and a file that is there already stays (fs.ErrExist).
// That is why it links a finished temporary file instead of renaming it.
func createFile(path, content string) error {
	temp, err := writeTemp(path, content)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes content durably to a new file beside path and gives its name.
func writeTemp(path, content string) (string, error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".ring-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = temp.WriteString(content)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		os.Remove(temp.Name())
		return "", err
	}
	return temp.Name(), nil
}

// syncDir makes the new name durable. A key that is lost after data was
// sealed with it takes that data along.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be opened for that there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
