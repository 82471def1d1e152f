package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// Level is what a user may do; see the contract's access levels.
type Level string

// The levels.
const (
	Admin       Level = "admin"
	Supervisor  Level = "supervisor"
	Attendant   Level = "attendant"
	Integration Level = "integration"
	Viewer      Level = "viewer"
)

// Valid reports whether l is one of the five levels.
func (l Level) Valid() bool {
	switch l {
	case Admin, Supervisor, Attendant, Integration, Viewer:
		return true
	}
	return false
}

// User is one row of users.
type User struct {
	ID           string // UUIDv7
	Email        string // as kept: trimmed, lower case
	Name         string
	Level        Level
	Queues       []string // queue ids, or one "*" for all
	PasswordHash string   // of Hasher.Hash
	Disabled     bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
	// TokenEpoch counts how often all the user's sessions were ended: a token
	// that bears a lower one is void.
	TokenEpoch int64
}

// LogValue logs the id only.
func (u User) LogValue() slog.Value { return slog.StringValue(u.ID) }

// UserPatch changes the fields that are not nil. Another level or list of queues
// voids the user's access tokens; its refresh tokens give new ones.
type UserPatch struct {
	Email    *string
	Name     *string
	Level    *Level
	Queues   *[]string
	Disabled *bool // true ends all sessions too
	// PasswordHash ends all sessions: whoever knew the old password is out.
	PasswordHash *string
}

type userRow struct {
	ID           string `gorm:"primaryKey"`
	Email        []byte // sealed
	Name         []byte
	Level        string
	Queues       string
	PasswordHash string
	Disabled     bool
	CreatedMs    int64
	UpdatedMs    int64
	TokenEpoch   int64
}

func (userRow) TableName() string { return "users" }

// user opens a row. What does not open is empty: the user lives on without it.
func (d *Directory) user(r userRow) (User, error) {
	email, _ := d.openField(r.ID, "email", r.Email)
	name, _ := d.openField(r.ID, "name", r.Name)
	u := User{
		ID: r.ID, Email: email, Name: name, Level: Level(r.Level), PasswordHash: r.PasswordHash,
		Disabled: r.Disabled, CreatedAt: fromMillis(r.CreatedMs), UpdatedAt: fromMillis(r.UpdatedMs),
		TokenEpoch: r.TokenEpoch,
	}
	if err := json.Unmarshal([]byte(r.Queues), &u.Queues); err != nil {
		return User{}, fmt.Errorf("%w: user %s: its list of queues is damaged", ErrUnavailable, r.ID)
	}
	return u, nil
}

// emailColumn is what is kept of an address, and what it is found by. Every
// access by e-mail goes through here.
func emailColumn(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

func queuesColumn(queues []string) string {
	if queues == nil {
		queues = []string{}
	}
	text, _ := json.Marshal(queues) // a list of strings always encodes
	return string(text)
}

// CountUsers counts all users, disabled ones too.
func (d *Directory) CountUsers(ctx context.Context) (int64, error) {
	var n int64
	return n, d.fail(d.read(ctx).Model(&userRow{}).Count(&n).Error)
}

// CreateUser adds u and returns it as kept: with an id, if it had none, the
// times and the normalised e-mail. It fails with ErrExists where the id or
// e-mail is taken, ErrInvalid for an unknown level or an empty e-mail. What
// audit tells of it is kept if it is.
func (d *Directory) CreateUser(ctx context.Context, u User, audit ...AuditEntry) (User, error) {
	if !u.Level.Valid() || emailColumn(u.Email) == "" {
		return User{}, ErrInvalid
	}
	if u.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return User{}, fmt.Errorf("directory: user id: %w", err)
		}
		u.ID = id.String()
	}
	now := millis(d.now())
	email, err := d.sealField(u.ID, "email", emailColumn(u.Email))
	if err != nil {
		return User{}, err
	}
	name, err := d.sealField(u.ID, "name", u.Name)
	if err != nil {
		return User{}, err
	}
	row := userRow{
		ID: u.ID, Email: email, Name: name, Level: string(u.Level), Queues: queuesColumn(u.Queues),
		PasswordHash: u.PasswordHash, Disabled: u.Disabled, CreatedMs: now, UpdatedMs: now, TokenEpoch: u.TokenEpoch,
	}
	err = d.write(ctx, func(tx *gorm.DB) error {
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		if err := d.indexEmail(tx, row.ID, u.Email); err != nil {
			return err
		}
		return note(tx, audit...)
	})
	if err != nil {
		return User{}, err
	}
	return d.user(row)
}

// UserByEmail finds a user by address, in any case of letters.
func (d *Directory) UserByEmail(ctx context.Context, email string) (User, error) {
	indexes, err := d.emailIndexes(email)
	if err != nil {
		return User{}, err
	}
	u, err := d.findUser(d.read(ctx).Where("id IN (SELECT user_id FROM user_emails WHERE email_index IN ?)", indexes))
	if err == nil && u.Email != "" && u.Email != emailColumn(email) { // somebody has changed the index
		return User{}, ErrNotFound
	}
	return u, err
}

// UserByID finds a user.
func (d *Directory) UserByID(ctx context.Context, id string) (User, error) {
	return d.findUser(d.read(ctx).Where("id = ?", id))
}

func (d *Directory) findUser(query *gorm.DB) (User, error) {
	var row userRow
	if err := query.Take(&row).Error; err != nil {
		return User{}, d.fail(err)
	}
	return d.user(row)
}

// ListUsers lists users by id, which is by creation, those after the given id.
func (d *Directory) ListUsers(ctx context.Context, after string, limit int) ([]User, error) {
	var rows []userRow
	err := d.read(ctx).Where("id > ?", after).Order("id").Limit(clampLimit(limit)).Find(&rows).Error
	if err != nil {
		return nil, d.fail(err)
	}
	users := make([]User, len(rows))
	for i, row := range rows {
		if users[i], err = d.user(row); err != nil {
			return nil, err
		}
	}
	return users, nil
}

// ListOperators gives the ids and names of those who may serve in a queue, by id,
// those after the given one. limit is at most MaxLimit + 1: one more than a page.
func (d *Directory) ListOperators(ctx context.Context, queue, after string, limit int) ([]User, error) {
	var rows []userRow
	err := d.read(ctx).Select("id", "name").Where("id > ? AND disabled = ?", after, false).
		Where("level = ? OR level IN ? AND (queues = ? OR INSTR(queues, ?) > 0)",
			Admin, []Level{Supervisor, Attendant}, `["*"]`, `"`+queue+`"`).
		Order("id").Limit(min(max(limit, 1), MaxLimit+1)).Find(&rows).Error
	if err != nil {
		return nil, d.fail(err)
	}
	users := make([]User, len(rows))
	for i, row := range rows {
		users[i].ID = row.ID
		users[i].Name, _ = d.openField(row.ID, "name", row.Name) // who has lost his name is listed without
	}
	return users, nil
}

// UpdateUser applies p and returns the user as it is then. It fails with
// ErrNotFound, ErrExists (e-mail), ErrLastAdmin or ErrInvalid.
func (d *Directory) UpdateUser(ctx context.Context, id string, p UserPatch, audit ...AuditEntry) (User, error) {
	if p.Level != nil && !p.Level.Valid() || p.Email != nil && emailColumn(*p.Email) == "" {
		return User{}, ErrInvalid
	}
	var row userRow
	err := d.write(ctx, func(tx *gorm.DB) error {
		row = userRow{}
		if err := locked(tx).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		before := row
		if err := d.apply(p, &row); err != nil {
			return err
		}
		row.UpdatedMs = millis(d.now())
		if before.admin() && !row.admin() {
			if err := otherAdmin(tx, id); err != nil {
				return err
			}
		}
		if err := note(tx, audit...); err != nil {
			return err
		}
		if err := tx.Model(&row).Select("*").Omit("token_epoch").Updates(&row).Error; err != nil {
			return err
		}
		if p.Email != nil {
			if err := d.indexEmail(tx, id, *p.Email); err != nil {
				return err
			}
		}
		ends := p.PasswordHash != nil || row.Disabled && !before.Disabled
		if !ends && row.Level == before.Level && row.Queues == before.Queues {
			return nil
		}
		row.TokenEpoch++
		return d.endTokens(tx, id, ends)
	})
	if err != nil {
		return User{}, err
	}
	return d.user(row)
}

func (d *Directory) apply(p UserPatch, row *userRow) (err error) {
	if p.Email != nil {
		if row.Email, err = d.sealField(row.ID, "email", emailColumn(*p.Email)); err != nil {
			return err
		}
	}
	if p.Name != nil {
		if row.Name, err = d.sealField(row.ID, "name", *p.Name); err != nil {
			return err
		}
	}
	if p.Level != nil {
		row.Level = string(*p.Level)
	}
	if p.Queues != nil {
		row.Queues = queuesColumn(*p.Queues)
	}
	if p.Disabled != nil {
		row.Disabled = *p.Disabled
	}
	if p.PasswordHash != nil {
		row.PasswordHash = *p.PasswordHash
	}
	return nil
}

func (r userRow) admin() bool { return r.Level == string(Admin) && !r.Disabled }

// otherAdmin fails with ErrLastAdmin where nobody but the user is one. It locks
// all that are: of two who take each other's level, one finds itself the last.
func otherAdmin(tx *gorm.DB, id string) error {
	var admins []userRow
	if err := locked(tx).Where("level = ? AND disabled = ?", Admin, false).Order("id").Find(&admins).Error; err != nil {
		return err
	}
	for _, a := range admins {
		if a.ID != id {
			return nil
		}
	}
	return ErrLastAdmin
}

// SetPassword replaces the password's hash and ends all the user's sessions:
// whoever knew the old password is out.
func (d *Directory) SetPassword(ctx context.Context, id, hash string, audit ...AuditEntry) error {
	_, err := d.UpdateUser(ctx, id, UserPatch{PasswordHash: &hash}, audit...)
	return err
}

// RehashPassword replaces a hash by another one of the same password: sessions go
// on. Where it is not the user's hash any more nothing happens.
func (d *Directory) RehashPassword(ctx context.Context, id, old, hash string) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		return tx.Model(&userRow{}).Where("id = ? AND password_hash = ?", id, old).Update("password_hash", hash).Error
	})
}

// DeleteUser removes a user, all its sessions and its API keys. It fails with ErrNotFound or
// ErrLastAdmin.
func (d *Directory) DeleteUser(ctx context.Context, id string, audit ...AuditEntry) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		var row userRow
		if err := locked(tx).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		if row.admin() {
			if err := otherAdmin(tx, id); err != nil {
				return err
			}
		}
		if err := note(tx, audit...); err != nil {
			return err
		}
		if err := missing(tx.Where("id = ?", id).Delete(&userRow{})); err != nil {
			return err
		}
		for _, row := range []any{&refreshRow{}, &keyRow{}, &emailRow{}} {
			if err := tx.Where("user_id = ?", id).Delete(row).Error; err != nil {
				return err
			}
		}
		return d.endUser(tx, id)
	})
}
