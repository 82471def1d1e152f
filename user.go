package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"golang.org/x/term"

	"nowserving/actors/queue"
	"nowserving/gateway"
	"nowserving/persistence/directory"
	"nowserving/persistence/seal"
)

// userFlags are those of all user commands together.
type userFlags struct {
	Config
	email, name, level, queues, passwordFile string
	password                                 string
}

// user administers users, beside a running node or without one.
func (p *program) user(args []string) error {
	commands := map[string]func(context.Context, *directory.Directory, userFlags) error{
		"add": p.addUser, "list": p.listUsers, "passwd": p.setPassword,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		return usage("user add, user list or user passwd is needed")
	}
	f, err := p.readUserFlags(args[0], args[1:])
	if errors.Is(err, errHelp) {
		return p.help()
	}
	if err != nil {
		return err
	}
	if args[0] != "list" {
		if f.password, err = p.readPassword(f.passwordFile); err != nil {
			return err
		}
		if err := gateway.CheckPassword(f.password, f.email, f.name); err != nil {
			return usage("the password %w", err)
		}
	}
	// A directory that is made by mistake would hide the mistake.
	if _, err := os.Stat(filepath.Join(f.DataDir, "directory.db")); err != nil && f.DatabaseURL == "" && args[0] != "add" {
		return usage("--data-dir: %w", err)
	}
	keys, err := f.ring()
	if err != nil {
		return err
	}
	ctx := context.Background()
	d, err := directory.Open(ctx, directory.Options{Dir: f.DataDir, DatabaseURL: f.DatabaseURL, Keys: keys})
	if err != nil {
		return err
	}
	if err := knowsUsers(ctx, d, keys); err != nil {
		return errors.Join(err, d.Close())
	}
	return errors.Join(commands[args[0]](ctx, d, f), d.Close())
}

func (p *program) readUserFlags(command string, args []string) (f userFlags, err error) {
	// Those that say where the users are, and how they are sealed.
	stores := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool {
		return s.name != "data-dir" && s.name != "database-url" && s.name != "data-keys"
	})
	flags, err := parseFlags("user "+command, args, stores, func(set *flag.FlagSet) {
		if command == "list" {
			return
		}
		set.StringVar(&f.email, "email", "", "")
		set.StringVar(&f.passwordFile, "password-file", "", "")
		if command == "add" {
			set.StringVar(&f.name, "name", "", "")
			set.StringVar(&f.level, "level", string(directory.Attendant), "")
			set.StringVar(&f.queues, "queues", "", "")
		}
	})
	if err != nil {
		return f, err
	}
	if err := applySettings(&f.Config, stores, flags, p.getenv); err != nil {
		return f, err
	}
	return f, f.checkUser(command)
}

// ring is the nodes' one. It is made, as by a node, only where the directory would
// be too.
func (f *userFlags) ring() (*seal.Ring, error) {
	if f.DataKeys != nil {
		return f.DataKeys, nil
	}
	path := filepath.Join(f.DataDir, "data.keys")
	if _, err := os.Stat(path); err != nil && f.DatabaseURL != "" { //nolint:gosec // the operator names it
		return nil, usage("--data-keys: users in the database are sealed with the nodes' key ring, which is needed here")
	}
	return seal.LoadOrCreateRing(path)
}

// knowsUsers refuses a ring that opens no user and that no node has begun with:
// what it would seal, no node could open. Where nodes have it, the ring of before
// is lost, and whoever administers has to be made anew.
func knowsUsers(ctx context.Context, d *directory.Directory, ring *seal.Ring) error {
	page, err := d.ListUsers(ctx, "", directory.MaxLimit)
	if err != nil || len(page) == 0 || slices.ContainsFunc(page, func(u directory.User) bool { return u.Email != "" }) {
		return err
	}
	known, err := d.RingKeys(ctx)
	if err == nil && d.CheckRing(ctx, ring.Proofs()) == nil &&
		slices.ContainsFunc(known, func(k directory.RingKey) bool { return k.ID == ring.IDs()[0] }) {
		return nil
	}
	if err != nil {
		return err
	}
	return usage("--data-keys: the users here are sealed with other keys")
}

func (f *userFlags) checkUser(command string) error {
	if command == "list" {
		return nil
	}
	if err := checkEmail(f.email); err != nil {
		return usage("--email: %w", err)
	}
	if command != "add" {
		return nil
	}
	if !directory.Level(f.level).Valid() {
		return usage("--level: %q is none of admin, supervisor, attendant, integration and viewer", f.level)
	}
	if len([]rune(f.name)) > 200 || strings.ContainsFunc(f.name, unicode.IsControl) {
		return usage("--name: it is longer than 200 characters, or has control characters")
	}
	queues := list(f.queues)
	for i, id := range queues {
		switch {
		case id != "*" && !queue.ID(id).Valid():
			return usage("--queues: %q is not a queue's id", id)
		case slices.Contains(queues[:i], id):
			return usage("--queues: %q is given twice", id)
		case id == "*" && len(queues) > 1:
			return usage("--queues: * stands alone, for all queues")
		}
	}
	return nil
}

func (p *program) addUser(ctx context.Context, d *directory.Directory, f userFlags) error {
	hash, err := directory.NewHasher().Hash(ctx, f.password)
	if err != nil {
		return err
	}
	details, err := json.Marshal(map[string]any{"level": f.level, "queues": list(f.queues)})
	if err != nil {
		return err
	}
	id := newID().String()
	u, err := d.CreateUser(ctx, directory.User{
		ID: id, Email: f.email, Name: f.name, Level: directory.Level(f.level), Queues: list(f.queues), PasswordHash: hash,
	}, byOperator("user.created", id, string(details)))
	if errors.Is(err, directory.ErrExists) {
		return fmt.Errorf("there is a user %s already", f.email)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, u.ID)
	return err
}

func (p *program) setPassword(ctx context.Context, d *directory.Directory, f userFlags) error {
	u, err := d.UserByEmail(ctx, f.email)
	if errors.Is(err, directory.ErrNotFound) {
		return fmt.Errorf("there is no user %s", f.email)
	}
	if err != nil {
		return err
	}
	if err := gateway.CheckPassword(f.password, u.Email, u.Name); err != nil {
		return usage("the password %w", err)
	}
	hash, err := directory.NewHasher().Hash(ctx, f.password)
	if err != nil {
		return err
	}
	return d.SetPassword(ctx, u.ID, hash, byOperator("user.changed", u.ID, `{"password":null}`))
}

func (p *program) listUsers(ctx context.Context, d *directory.Directory, _ userFlags) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tEMAIL\tLEVEL\tQUEUES\tSTATUS\tNAME")
	for after := ""; ; {
		page, err := d.ListUsers(ctx, after, directory.MaxLimit)
		if err != nil {
			return err
		}
		for _, u := range page {
			status := "active"
			if u.Disabled {
				status = "disabled"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", u.ID, u.Email, u.Level, strings.Join(u.Queues, ","), status, u.Name)
			after = u.ID
		}
		if len(page) < directory.MaxLimit {
			return w.Flush()
		}
	}
}

// readPassword gets one: of a file, of a person, or the first line that is piped
// in. It is never an argument, which everyone on the machine could read.
func (p *program) readPassword(file string) (string, error) {
	if file != "" {
		password, err := readSecret(file)
		if err == nil {
			err = checkPassword(password)
		}
		if err != nil {
			return "", usage("--password-file: %w", err)
		}
		return password, nil
	}
	if f, ok := p.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return p.askPassword(int(f.Fd()))
	}
	line, err := bufio.NewReader(io.LimitReader(p.stdin, maxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	password := strings.TrimRight(line, "\r\n")
	if err := checkPassword(password); err != nil {
		return "", usage("standard input: %w", err)
	}
	return password, nil
}

func (p *program) askPassword(fd int) (string, error) {
	defer echoAgain(fd)()
	var typed [2]string
	for i, prompt := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(p.stderr, prompt)
		text, err := term.ReadPassword(fd)
		fmt.Fprintln(p.stderr)
		if err != nil {
			return "", err
		}
		typed[i] = string(text)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two are not the same")
	}
	return typed[0], checkPassword(typed[0])
}

// echoAgain keeps Ctrl-C at a prompt from leaving a terminal that shows
// nothing, until the function that it gives is called.
func echoAgain(fd int) func() {
	state, err := term.GetState(fd)
	if err != nil {
		return func() {}
	}
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt)
	go func() {
		select {
		case <-signals:
			_ = term.Restore(fd, state)
			os.Exit(exitFailed)
		case <-done:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}
