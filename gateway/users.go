package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"

	"nowserving/actors/queue"
)

// REST about users, for admins alone.

// What a UserStore fails with beside ErrNotFound.
var (
	ErrExists    = errors.New("gateway: exists already")
	ErrLastAdmin = errors.New("gateway: the last admin")
)

const (
	maxUserName   = 200
	maxUserQueues = 10_000
)

// UserPatch changes the fields that are not nil. A password or a disabled user
// ends all the user's sessions.
type UserPatch struct {
	Email, Name, PasswordHash *string
	Level                     *Level
	Queues                    *[]string
	Disabled                  *bool
}

// UserStore is the directory for those who administer users. The entry of the
// audit log is kept if the change is. It fails with ErrNotFound, ErrExists where
// the e-mail address is taken, and ErrLastAdmin.
type UserStore interface {
	// ListUsers lists by id, which is by creation, those after one.
	ListUsers(ctx context.Context, after string, limit int) ([]User, error)
	// ListOperators gives the ids and names of those who may serve in a queue, by
	// id, those after one.
	ListOperators(ctx context.Context, queue, after string, limit int) ([]User, error)
	CreateUser(ctx context.Context, u User, e AuditEntry) (User, error)
	UpdateUser(ctx context.Context, id string, p UserPatch, e AuditEntry) (User, error)
	DeleteUser(ctx context.Context, id string, e AuditEntry) error
}

func (g *Gateway) listUsers(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ManageUsers, ""); p != nil {
		return p
	}
	users, next, p := pageByID(c, g.options.Users.ListUsers, func(u *User) string { return u.ID }, g.usersAway)
	if p != nil {
		return p
	}
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte { return appendPage(dst, users, next, appendAccount) })
}

// pageByID gives the page that is asked for of what is listed by its ids.
func pageByID[T any](
	c *fiber.Ctx, list func(ctx context.Context, after string, limit int) ([]T, error), id func(*T) string, away func(error) *problem,
) (items []T, next string, p *problem) {
	limit, after, p := accountPage(c)
	if p != nil {
		return nil, "", p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	items, err := list(ctx, after, limit)
	if err == nil && len(items) == limit {
		last := id(&items[limit-1])
		var behind []T
		if behind, err = list(ctx, last, 1); len(behind) > 0 {
			next = userCursor(last)
		}
	}
	if err != nil {
		return nil, "", away(err)
	}
	return items, next, nil
}

// accountPage reads which page is asked for of users, and of what is theirs.
func accountPage(c *fiber.Ctx) (limit int, after string, p *problem) {
	var wrong faults
	limit = limitOf(c, &wrong)
	if text, given := queryOf(c, "after", &wrong); given {
		var ok bool
		if after, ok = parseUserCursor(text); !ok {
			wrong.add("after", "must be the next of the page before")
		}
	}
	return limit, after, wrong.problem()
}

// managed gives the user that the path names to whoever may administer it.
func (g *Gateway) managed(c *fiber.Ctx, who *Principal) (*User, *problem) {
	if p := who.may(ManageUsers, ""); p != nil {
		return nil, p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	user, err := g.directory.UserByID(ctx, c.Params("user"))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, noSuchUser()
	case err != nil:
		return nil, g.usersAway(err)
	}
	return &user, nil
}

func noSuchUser() *problem { return newProblem(codeNotFound, "There is no such user.") }

func (g *Gateway) usersAway(err error) *problem {
	g.log.Warn("users cannot be read", "error", err)
	return unavailable("Users cannot be read just now.")
}

func (g *Gateway) getUser(c *fiber.Ctx, who *Principal) error {
	user, p := g.managed(c, who)
	if p != nil {
		return p
	}
	return g.sendUser(c, http.StatusOK, user)
}

func (g *Gateway) createUser(c *fiber.Ctx, who *Principal) error {
	if p := who.may(ManageUsers, ""); p != nil {
		return p
	}
	var wrong faults
	in := g.body(c, &wrong)
	in.require("email", "level")
	patch, password, _ := in.user(&User{})
	if patch.Level != nil && slices.Contains([]Level{Admin, Supervisor, Attendant}, *patch.Level) {
		in.require("password") // the others can do with an API key
	}
	in.close()
	if p := wrong.problem(); p != nil {
		return p
	}
	id, err := uuid.NewV7()
	if err != nil {
		return g.internal(c.UserContext(), "making a user's id", err)
	}
	user := User{ID: id.String(), Email: *patch.Email, Level: *patch.Level, Queues: []string{}}
	if patch.Name != nil {
		user.Name = *patch.Name
	}
	if patch.Queues != nil {
		user.Queues = *patch.Queues
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), loginTimeout)
	defer cancel()
	if password != nil {
		if user.PasswordHash, err = g.options.Passwords.Hash(ctx, *password); err != nil {
			return g.notHashed(err)
		}
	}
	entry := g.auditEntry(c, who, "user.created", user.ID, map[string]any{"level": user.Level, "queues": user.Queues})
	if user, err = g.options.Users.CreateUser(ctx, user, entry); err != nil {
		return g.notSaved(err)
	}
	c.Set(fiber.HeaderLocation, "/api/v1/users/"+user.ID)
	return g.sendUser(c, http.StatusCreated, &user)
}

func (g *Gateway) updateUser(c *fiber.Ctx, who *Principal) error {
	before, p := g.managed(c, who)
	if p != nil {
		return p
	}
	var wrong faults
	in := g.body(c, &wrong)
	patch, password, changed := in.user(before)
	if in.has("disabled") {
		disabled := in.flag("disabled")
		patch.Disabled = &disabled
		changed["disabled"] = disabled
	}
	in.close()
	if len(in.members) == 0 && wrong.problem() == nil {
		wrong.refusal = malformed("At least one field is needed in the body.")
	}
	if p := wrong.problem(); p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), loginTimeout)
	defer cancel()
	if password != nil {
		hash, err := g.options.Passwords.Hash(ctx, *password)
		if err != nil {
			return g.notHashed(err)
		}
		patch.PasswordHash = &hash
	}
	defer g.auth.accessChanged()
	user, err := g.options.Users.UpdateUser(ctx, before.ID, patch, g.auditEntry(c, who, "user.changed", before.ID, changed))
	if err != nil {
		return g.notSaved(err)
	}
	return g.sendUser(c, http.StatusOK, &user)
}

func (g *Gateway) deleteUser(c *fiber.Ctx, who *Principal) error {
	user, p := g.managed(c, who)
	if p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	defer g.auth.accessChanged()
	if err := g.options.Users.DeleteUser(ctx, user.ID, g.auditEntry(c, who, "user.deleted", user.ID, nil)); err != nil {
		return g.notSaved(err)
	}
	return c.SendStatus(http.StatusNoContent)
}

func (g *Gateway) notHashed(err error) *problem {
	g.log.Warn("a password could not be hashed", "error", err)
	return unavailable("Too many passwords are being checked just now.")
}

func (g *Gateway) notSaved(err error) *problem {
	switch {
	case errors.Is(err, ErrNotFound):
		return noSuchUser()
	case errors.Is(err, ErrExists):
		return newProblem(codeUserExists, "Another user has this e-mail address.")
	case errors.Is(err, ErrLastAdmin):
		return newProblem(codeLastAdmin, "Nobody else is an admin. Make another one first.")
	}
	g.log.Warn("a user could not be saved", "error", err)
	return newProblem(string(queue.OutcomeUnknown), "It is not known whether this was saved. Look at the user.")
}

// user reads the fields of a user that POST and PATCH have in common. before is
// the user that is changed. changed is for the audit log: what is personal is in
// it by the field's name only.
func (o *object) user(before *User) (p UserPatch, password *string, changed map[string]any) {
	changed = map[string]any{}
	after := *before
	if p.Email = o.text("email", 1, maxEmail, false); p.Email != nil {
		if !ValidEmail(*p.Email) {
			o.bad("email", "must be an e-mail address")
		}
		after.Email, changed["email"] = *p.Email, nil
	}
	if o.has("name") {
		name := o.line("name", 0, maxUserName, false)
		p.Name, after.Name, changed["name"] = &name, name, nil
	}
	if s := o.text("level", 1, maxNamed, false); s != nil {
		level := Level(*s)
		if !level.valid() {
			o.bad("level", "must be admin, supervisor, attendant, integration or viewer")
		}
		p.Level, changed["level"] = &level, level
	}
	if o.has("queues") {
		queues := o.queueList("queues")
		p.Queues, changed["queues"] = &queues, queues
	}
	if password = o.text("password", 1, maxPassword, false); password != nil {
		if err := CheckPassword(*password, after.Email, after.Name); err != nil {
			o.bad("password", err.Error())
		}
		changed["password"] = nil
	}
	return p, password, changed
}

// queueList gives a list of queues that a user may see.
func (o *object) queueList(name string) []string {
	list := o.texts(name)
	seen := make(map[string]bool, len(list))
	switch {
	case len(list) > maxUserQueues:
		o.bad(name, "must be at most "+strconv.Itoa(maxUserQueues))
	case slices.Contains(list, "*") && len(list) > 1:
		o.bad(name, `must be ["*"] alone for all queues`)
	}
	for i, id := range list {
		at := name + "[" + strconv.Itoa(i) + "]"
		switch {
		case id != "*" && !queue.ID(id).Valid():
			o.bad(at, "must be a queue's id")
		case seen[id]:
			o.bad(at, "is given twice")
		}
		seen[id] = true
	}
	return list
}

// ValidEmail tells whether a text can be an e-mail address. Whether somebody has
// it only a letter could tell.
func ValidEmail(email string) bool {
	name, host, found := strings.Cut(email, "@")
	return found && name != "" && host != "" && len(email) <= maxEmail &&
		!strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

func (l Level) valid() bool {
	return slices.Contains([]Level{Admin, Supervisor, Attendant, Integration, Viewer}, l)
}

func (g *Gateway) sendUser(c *fiber.Ctx, status int, u *User) error {
	return g.sendJSON(c, status, func(dst []byte) []byte { return appendAccount(dst, u) })
}

// appendAccount writes a user as admins see it.
func appendAccount(dst []byte, u *User) []byte {
	dst = appendUser(dst, u)
	dst = append(dst[:len(dst)-1], `,"disabled":`...)
	dst = strconv.AppendBool(dst, u.Disabled)
	dst = appendTime(append(dst, `,"created_at":`...), millisOf(u.CreatedAt))
	dst = appendTime(append(dst, `,"updated_at":`...), millisOf(u.UpdatedAt))
	return append(dst, '}')
}

// millisOf is 0 for no time.
func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func userCursor(id string) string { return base64.RawURLEncoding.EncodeToString([]byte("u:" + id)) }

// parseUserCursor gives the id of the last user of a page; false for what no
// page can have given.
func parseUserCursor(text string) (string, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(text) > maxCursor || len(raw) < 3 || string(raw[:2]) != "u:" || !utf8.Valid(raw) {
		return "", false
	}
	return string(raw[2:]), true
}
