package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

// errHelp: the flags were asked for, not a node.
var errHelp = errors.New("help")

// maxSecretFile is more than any secret is long; what is larger is some other file.
const maxSecretFile = 64 << 10

// setting is one flag with its environment twin: --http-addr is
// NOWSERVING_HTTP_ADDR.
type setting struct {
	name  string
	usage string
	value string // the default
	// secret: it has one more twin that names a file, and is never repeated
	// in an error.
	secret bool
	// toggle: the flag may stand without a value, which means true.
	toggle bool
	put    func(c *Config, value string) error
	// putFile is told the name of the file that the value came from. May be nil.
	putFile func(c *Config, path string)
}

func (s setting) env() string {
	return "NOWSERVING_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// given is what was written for a setting, and where.
type given struct{ value, where, file string }

// flagValue collects the values of one command line.
type flagValue struct {
	name   string
	toggle bool
	into   map[string]given
}

func (f flagValue) String() string   { return "" }
func (f flagValue) IsBoolFlag() bool { return f.toggle }
func (f flagValue) Set(value string) error {
	f.into[f.name] = given{value, "--" + f.name, ""}
	return nil
}

// parseFlags reads a command line of settings, and of others that add makes.
func parseFlags(name string, args []string, settings []setting, add func(*flag.FlagSet)) (map[string]given, error) {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	found := make(map[string]given)
	for _, s := range settings {
		set.Var(flagValue{s.name, s.toggle, found}, s.name, s.usage)
		if s.secret {
			set.Var(flagValue{s.name + "-file", false, found}, s.name+"-file", s.usage)
		}
	}
	if add != nil {
		add(set)
	}
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, errHelp
	case err != nil:
		return nil, usage("%w", err)
	case set.NArg() > 0:
		return nil, usage("unexpected argument %q", set.Arg(0))
	}
	return found, nil
}

// applySettings fills c: a flag goes before its variable, that before the default.
func applySettings(c *Config, settings []setting, flags map[string]given, getenv func(string) string) error {
	for _, s := range settings {
		v, err := s.find(flags, getenv)
		if err != nil {
			return err
		}
		if v.value == "" {
			continue
		}
		if err := s.put(c, v.value); err != nil {
			return usage("%s: %w", v.where, err)
		}
		if s.secret && v.where == "--"+s.name && secretIn(v.value) {
			c.Exposed = append(c.Exposed, v.where)
		}
		if v.file != "" && s.putFile != nil {
			s.putFile(c, v.file)
		}
	}
	return nil
}

// secretIn tells whether a value is worth hiding: a URL without a password is not.
func secretIn(value string) bool {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" { // a key ring
		return true
	}
	_, password := u.User.Password()
	return password
}

// find gives the value of a setting.
func (s setting) find(flags map[string]given, getenv func(string) string) (given, error) {
	plain, inFlag := s.look(s.name, s.env(), flags, getenv)
	if s.secret {
		path, fileInFlag := s.look(s.name+"-file", s.env()+"_FILE", flags, getenv)
		switch {
		case path.value != "" && plain.value != "" && inFlag == fileInFlag:
			return given{}, usage("%s and %s are both given", plain.where, path.where)
		case path.value != "" && (plain.value == "" || fileInFlag):
			value, err := readSecret(path.value)
			if err != nil {
				return given{}, usage("%s: %w", path.where, err)
			}
			return given{value, path.where, path.value}, nil
		}
	}
	if inFlag && plain.value == "" && s.value != "" {
		return given{}, usage("--%s: it is empty", s.name)
	}
	if plain.value == "" { // left out; an empty variable is no more than that
		return given{s.value, "--" + s.name, ""}, nil
	}
	return plain, nil
}

func (s setting) look(name, env string, flags map[string]given, getenv func(string) string) (v given, inFlag bool) {
	if v, ok := flags[name]; ok {
		return v, true
	}
	if value := getenv(env); value != "" {
		return given{value, env, ""}, false
	}
	return given{}, false
}

// readSecret reads a file that holds one value.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxSecretFile:
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxSecretFile)
	case strings.TrimSpace(string(text)) == "":
		return "", fmt.Errorf("%s is empty", path)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// help lists the commands and settings.
func (p *program) help() error {
	var b strings.Builder
	b.WriteString(`nowserving [serve] [flags]    run a node (the default)
nowserving demo [flags]       run a node with sample queues and invented people, in a temporary data dir
nowserving user add|list|passwd [flags]
nowserving keys rotate [flags]
nowserving restored [flags]   after the stores were set back to a backup, before a node starts
nowserving version

Flags of serve, each with an environment variable of the same name
(--http-addr is NOWSERVING_HTTP_ADDR):

`)
	for _, s := range settings {
		name := "--" + s.name
		if s.secret {
			name += ", --" + s.name + "-file"
		}
		fmt.Fprintf(&b, "  %-40s %s", name, s.usage)
		if s.value != "" {
			fmt.Fprintf(&b, " (%s)", s.value)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\ndemo takes these of them, and their variables, and no others:\n\n")
	for _, s := range demoSettings() {
		fmt.Fprintf(&b, "  --%s", s.name)
		if s.value != "" {
			fmt.Fprintf(&b, " (%s)", s.value)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}
