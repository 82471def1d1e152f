package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// place is what stands for a container: a loopback address instead of its
// name, so that every port is the one in the file, and a folder instead of its
// file system. All text that the service is given is told of both by rewrite.
type place struct {
	name      string
	addr      string
	dir       string
	addresses map[string]string // of all services
	paths     map[string]string // in the container → here
}

// furnish makes the folders and files that the service finds in its container.
func (p *place) furnish(c *composeFile, s *composeService) error {
	folders := slices.Clone(s.Tmpfs)
	files := make(map[string]string)
	for _, volume := range s.Volumes {
		part := strings.Split(volume, ":")
		if len(part) < 2 {
			return fmt.Errorf("volume %s", volume)
		}
		if _, named := c.Volumes[part[0]]; named {
			folders = append(folders, part[1])
		} else {
			files[part[1]] = part[0]
		}
	}
	for _, secret := range s.Secrets {
		files[secret.Target] = c.Secrets[secret.Source].File
	}
	// The owner of the data is who runs this, and nginx's worker another.
	for _, folder := range folders {
		p.paths[folder] = filepath.Join(p.dir, folder)
		if err := os.MkdirAll(p.paths[folder], 0o755); err != nil {
			return err
		}
	}
	for target := range files {
		p.paths[target] = filepath.Join(p.dir, target)
	}
	for target, source := range files {
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := p.write(p.paths[target], p.rewrite(string(text))); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// path is where something of the container is here.
func (p *place) path(inside string) string { return filepath.Join(p.dir, inside) }

var (
	ownAddress   = regexp.MustCompile(`[0-9.]+`)
	otherAddress = regexp.MustCompile(`[A-Za-z0-9._-]+:[0-9]`)
)

// rewrite puts this machine's addresses and paths for the container's: the
// service's own address for 127.0.0.1 and 0.0.0.0, another's for its name
// where a port follows.
func (p *place) rewrite(text string) string {
	text = ownAddress.ReplaceAllStringFunc(text, func(found string) string {
		if found == "127.0.0.1" || found == "0.0.0.0" {
			return p.addr
		}
		return found
	})
	text = otherAddress.ReplaceAllStringFunc(text, func(found string) string {
		name, port, _ := strings.Cut(found, ":")
		if addr := p.addresses[name]; addr != "" {
			return addr + ":" + port
		}
		return found
	})
	inside := make([]string, 0, len(p.paths))
	for path := range p.paths {
		inside = append(inside, path)
	}
	slices.SortFunc(inside, func(a, b string) int { return len(b) - len(a) })
	for _, path := range inside {
		text = replacePath(text, path, p.paths[path])
	}
	return text
}

// replacePath replaces a path where it stands whole, or before a slash.
func replacePath(text, from, to string) string {
	within := regexp.MustCompile(`(^|[^A-Za-z0-9_./-])` + regexp.QuoteMeta(from) + `($|[^A-Za-z0-9_.-])`)
	return within.ReplaceAllString(text, "${1}"+strings.ReplaceAll(to, "$", "$$")+"${2}")
}
