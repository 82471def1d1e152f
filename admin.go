package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"nowserving/gateway"
	"nowserving/persistence/directory"
)

// defaultAdmin is the first user where NOWSERVING_ADMIN_EMAIL names no other.
const defaultAdmin = "admin@localhost"

// credentials of an admin that this start made; its password only where that
// was made too.
type credentials struct{ email, password string }

// makeAdmin makes the first user of a directory without users.
func (n *Node) makeAdmin(ctx context.Context) error {
	count, err := n.directory.CountUsers(ctx)
	if err != nil || count > 0 {
		return err
	}
	email, password, random := n.config.AdminEmail, n.config.AdminPassword, false
	if email == "" {
		email = defaultAdmin
	}
	if password == "" {
		password, random = strings.ToLower(rand.Text()), true // 130 random bits
	}
	if err := gateway.CheckPassword(password, email, ""); err != nil { // the operator's word counts
		n.log.Warn("the admin's password is not one that a user could have; change it", "reason", err)
	}
	hash, err := directory.NewHasher().Hash(ctx, password)
	if err != nil {
		return err
	}
	id := newID()
	_, err = n.directory.CreateUser(ctx, directory.User{
		ID: id.String(), Email: email, Name: "Administrator", Level: directory.Admin, Queues: []string{"*"}, PasswordHash: hash,
	}, byOperator("user.created", id.String(), `{"level":"admin","queues":["*"]}`))
	switch {
	case errors.Is(err, directory.ErrExists):
		return nil // another process was quicker
	case err != nil:
		return fmt.Errorf("make the admin: %w", err)
	}
	n.newborn.email = email
	if random {
		n.newborn.password = password
	}
	return nil
}

// maxPassword is the bound of the gateway's login.
const maxPassword = directory.MaxPassword

func checkEmail(email string) error {
	if !gateway.ValidEmail(email) {
		return fmt.Errorf("%q is not an e-mail address", email)
	}
	return nil
}

func checkPassword(password string) error {
	if password == "" || len(password) > maxPassword {
		return fmt.Errorf("a password has 1 to %d bytes", maxPassword)
	}
	return nil
}
