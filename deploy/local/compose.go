package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v2"
)

// composeFile is as much of the Compose specification as docker-compose.yml
// uses. What is not here is an error: it would otherwise be done by Docker only.
type composeFile struct {
	Name     string
	Services map[string]*composeService
	Secrets  map[string]struct{ File string }
	Volumes  map[string]struct{}
	Node     any `yaml:"x-node"` // merged into the services
}

type composeService struct {
	Image, Build, Hostname, Restart string
	Command, Tmpfs, Volumes, Ports  []string
	Environment                     map[string]string
	Secrets                         []composeSecret
	DependsOn                       map[string]composeDependency `yaml:"depends_on"`
	Healthcheck                     composeHealth
	StopGracePeriod                 seconds `yaml:"stop_grace_period"`
	ReadOnly                        bool    `yaml:"read_only"`
}

type composeDependency struct {
	Condition string
	Restart   bool
}

type composeHealth struct {
	Test              []string
	Interval, Timeout seconds
	Retries           int
	StartPeriod       seconds `yaml:"start_period"`
}

// composeSecret is a name, or a name and where in the container it is.
type composeSecret struct{ Source, Target string }

func (s *composeSecret) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&s.Source) == nil {
		s.Target = "/run/secrets/" + s.Source
		return nil
	}
	type long composeSecret
	return unmarshal((*long)(s))
}

type seconds time.Duration

func (s *seconds) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	*s = seconds(d)
	return err
}

// readCompose reads the file with its variables filled in.
func readCompose(path string, getenv func(string) string) (*composeFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if tree, err = fillIn(tree, getenv); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if text, err = yaml.Marshal(tree); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var c composeFile
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &c, c.check(filepath.Dir(path))
}

// check also makes the files' paths absolute.
func (c *composeFile) check(dir string) error {
	if len(c.Services) == 0 {
		return errors.New("there are no services")
	}
	for name, s := range c.Services {
		for other, d := range s.DependsOn {
			if c.Services[other] == nil || d.Condition != "service_healthy" {
				return fmt.Errorf("%s: cannot wait for %s to be %q", name, other, d.Condition)
			}
		}
		if test := s.Healthcheck.Test; len(test) < 2 || test[0] != "CMD" && test[0] != "CMD-SHELL" {
			return fmt.Errorf("%s: it has no health check", name)
		}
		for _, secret := range s.Secrets {
			if c.Secrets[secret.Source].File == "" {
				return fmt.Errorf("%s: there is no secret %s", name, secret.Source)
			}
		}
		if s.Build != "" {
			s.Build = filepath.Join(dir, s.Build)
		}
		for i, volume := range s.Volumes {
			if strings.HasPrefix(volume, ".") {
				s.Volumes[i] = filepath.Join(dir, volume)
			}
		}
	}
	for name, secret := range c.Secrets {
		if !filepath.IsAbs(secret.File) {
			secret.File = filepath.Join(dir, secret.File)
			c.Secrets[name] = secret
		}
	}
	return nil
}

// inOrder gives the services' names, each after those that it depends on.
func (c *composeFile) inOrder() ([]string, error) {
	var order []string
	for len(order) < len(c.Services) {
		before := len(order)
		for _, name := range c.names() {
			ready := !slices.Contains(order, name)
			for other := range c.Services[name].DependsOn {
				ready = ready && slices.Contains(order, other)
			}
			if ready {
				order = append(order, name)
			}
		}
		if len(order) == before {
			return nil, errors.New("services wait for each other in a circle")
		}
	}
	return order, nil
}

func (c *composeFile) names() []string {
	var names []string
	for name := range c.Services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// variable is $$, ${NAME}, ${NAME:-default} or ${NAME:?what is wrong}.
var variable = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)([^}]*))?\}`)

// fillIn puts variables in, in every string of the tree.
func fillIn(tree any, getenv func(string) string) (any, error) {
	var failed error
	switch node := tree.(type) {
	case string:
		text := variable.ReplaceAllStringFunc(node, func(found string) string {
			if found == "$$" {
				return "$"
			}
			part := variable.FindStringSubmatch(found)
			value := getenv(part[1])
			switch {
			case value == "" && part[2] == ":-":
				return part[3]
			case value == "" && part[2] == ":?":
				failed = fmt.Errorf("%s: %s", part[1], part[3])
			}
			return value
		})
		return text, failed
	case []any:
		for i := range node {
			if node[i], failed = fillIn(node[i], getenv); failed != nil {
				return nil, failed
			}
		}
	case map[any]any:
		for key := range node {
			if node[key], failed = fillIn(node[key], getenv); failed != nil {
				return nil, failed
			}
		}
	}
	return tree, nil
}
