package main

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"nowserving/gateway"
	"nowserving/persistence/directory"
)

// openOIDC has the gateway let users in whom an OpenID provider vouches for.
func (n *Node) openOIDC(o *gateway.Options) {
	c := n.config.oidc
	if c.issuer == "" {
		return
	}
	o.OIDC = &gateway.OIDC{
		Issuer: c.issuer, ClientID: c.clientID, ClientSecret: c.clientSecret, Map: *c.claims,
		StateKeys: tokenKeys(n.tokenKeys, "oidc-state"), SignIn: n.signIn,
	}
}

// foreignID names a user by what the provider guarantees never to give to
// another. An e-mail address is no name: it may be given to somebody else, and
// would make one who has it there somebody who is here already.
func foreignID(issuer, subject string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(issuer+"\n"+subject)).String()
}

// signIn makes the user, or brings it up to date. One to whom nothing is mapped
// any more loses what access it has.
func (n *Node) signIn(ctx context.Context, who gateway.ForeignUser) (gateway.User, error) {
	id := foreignID(who.Issuer, who.Subject)
	u, err := n.directory.UserByID(ctx, id)
	missing := errors.Is(err, directory.ErrNotFound)
	switch {
	case err != nil && !missing:
		return gateway.User{}, err
	case who.Level == "" && missing:
		return gateway.User{}, gateway.ErrNotAllowed
	case who.Level == "":
		return gateway.User{}, n.turnAway(ctx, id, who)
	case missing:
		return n.newForeigner(ctx, id, who)
	case u.Disabled:
		return gateway.User{}, gateway.ErrNotAllowed
	}
	level := directory.Level(who.Level)
	if u.Level != level || !slices.Equal(u.Queues, who.Queues) {
		u, err = n.directory.UpdateUser(ctx, id, directory.UserPatch{Level: &level, Queues: &who.Queues}, byProvider("user.changed", id, who))
		switch {
		case errors.Is(err, directory.ErrLastAdmin):
			return gateway.User{}, n.turnAway(ctx, id, who)
		case err != nil:
			return gateway.User{}, err
		}
	}
	return adaptedUser(u), nil
}

// turnAway ends what access a user has who may not be what it was any more: to
// whom nothing is mapped, or the last admin, who stays one here and cannot come in.
func (n *Node) turnAway(ctx context.Context, id string, who gateway.ForeignUser) error {
	if err := n.directory.DropUserSessions(ctx, id); err != nil {
		return err
	}
	if err := n.directory.AddAudit(ctx, byProvider("login.turned_away", id, who)); err != nil {
		return err
	}
	return gateway.ErrNotAllowed
}

// newForeigner makes a user without a password, which so cannot log in with one.
func (n *Node) newForeigner(ctx context.Context, id string, who gateway.ForeignUser) (gateway.User, error) {
	u := directory.User{ID: id, Email: who.Email, Name: who.Name, Level: directory.Level(who.Level), Queues: who.Queues}
	if checkEmail(u.Email) != nil {
		u.Email = id + "@oidc.invalid"
	}
	if len([]rune(u.Name)) > 200 {
		u.Name = ""
	}
	made, err := n.directory.CreateUser(ctx, u, byProvider("user.created", id, who))
	if errors.Is(err, directory.ErrExists) { // the address is another user's
		u.Email = id + "@oidc.invalid"
		made, err = n.directory.CreateUser(ctx, u, byProvider("user.created", id, who))
	}
	if errors.Is(err, directory.ErrExists) { // another sign-in was quicker
		made, err = n.directory.UserByID(ctx, id)
	}
	return adaptedUser(made), adapted(err)
}
