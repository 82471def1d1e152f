package directory

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"nowserving/persistence/seal"
)

// Names and e-mail addresses of users are sealed, each bound to its field and
// user, and a user is found by its address through a blind index: its HMAC under
// each of the ring's keys. Whoever shares one key of the ring finds the user, and
// of two who take one address at once the second one is refused, also while a
// ring is rotated.
//
// A sealed value: format 1, length of the key's id, the id, a random nonce of 12
// bytes, and the ciphertext of AES-256-GCM with its tag of 16 bytes.

// Keys derives keys from a ring, the first one's first; seal.Ring is one.
type Keys interface {
	SubKey(purpose string) []seal.Key
}

const (
	sealedFormat = 1
	sealPurpose  = "users/v1"
	indexPurpose = "user-emails/v1"
)

// errSealed: a value is damaged or another's, or the ring has lost its key.
var errSealed = errors.New("directory: a sealed value does not open")

type emailRow struct {
	EmailIndex []byte `gorm:"primaryKey"`
	UserID     string
}

func (emailRow) TableName() string { return "user_emails" }

// emailIndexes are what an address is found by, one for each key.
func (d *Directory) emailIndexes(email string) ([][]byte, error) {
	if d.keys == nil {
		return nil, fmt.Errorf("%w: users need a key ring", ErrInvalid)
	}
	var list [][]byte
	for _, k := range d.keys.SubKey(indexPurpose) {
		mac := hmac.New(sha256.New, k.Bytes)
		mac.Write([]byte(emailColumn(email)))
		list = append(list, mac.Sum(nil))
	}
	return list, nil
}

// indexEmail has a user found by an address and by no other.
func (d *Directory) indexEmail(tx *gorm.DB, userID, email string) error {
	indexes, err := d.emailIndexes(email)
	if err != nil {
		return err
	}
	if err := tx.Where("user_id = ?", userID).Delete(&emailRow{}).Error; err != nil {
		return err
	}
	for _, index := range indexes {
		if err := tx.Create(&emailRow{index, userID}).Error; err != nil {
			return err
		}
	}
	return nil
}

func aeadOf(k seal.Key) (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.Bytes)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealField seals a field of a user under the first key.
func (d *Directory) sealField(userID, field, plain string) ([]byte, error) {
	return d.sealValue(sealPurpose, userID, field, plain)
}

// openField opens what sealField made of the same field and user.
func (d *Directory) openField(userID, field string, sealed []byte) (string, error) {
	return d.openValue(sealPurpose, userID, field, sealed)
}

// sealValue seals a field of a row under the first key for a purpose.
func (d *Directory) sealValue(purpose, row, field, plain string) ([]byte, error) {
	if d.keys == nil {
		return nil, fmt.Errorf("%w: users and webhooks need a key ring", ErrInvalid)
	}
	k := d.keys.SubKey(purpose)[0]
	aead, err := aeadOf(k)
	if err != nil {
		return nil, fmt.Errorf("directory: seal a value: %w", err)
	}
	head := append([]byte{sealedFormat, byte(len(k.ID))}, k.ID...)
	return aead.Seal(head, nil, []byte(plain), []byte(field+"\x00"+row)), nil
}

func (d *Directory) openValue(purpose, row, field string, sealed []byte) (string, error) {
	id, rest, err := sealedBy(sealed)
	if err != nil || d.keys == nil {
		return "", errSealed
	}
	for _, k := range d.keys.SubKey(purpose) {
		if k.ID != id {
			continue
		}
		aead, err := aeadOf(k)
		if err != nil {
			return "", errSealed
		}
		plain, err := aead.Open(nil, nil, rest, []byte(field+"\x00"+row))
		if err != nil {
			return "", errSealed
		}
		return string(plain), nil
	}
	return "", errSealed
}

// sealedBy gives the id of the key that a value names, and what is behind it.
func sealedBy(sealed []byte) (id string, rest []byte, err error) {
	if len(sealed) < 2 || sealed[0] != sealedFormat || len(sealed) < 2+int(sealed[1]) {
		return "", nil, errSealed
	}
	end := 2 + int(sealed[1])
	return string(sealed[2:end]), sealed[end:], nil
}

// ResealUsers brings all users under the ring's first key and indexes their
// addresses under each of its keys, a user at a time, beside running nodes. It
// gives how many were changed, and how many do not open, which stay as they are.
func (d *Directory) ResealUsers(ctx context.Context) (changed, lost int, err error) {
	return d.resealUsers(ctx, "id > ?")
}

// sealPlainUsers seals what a version before this one has left as it was typed.
func (d *Directory) sealPlainUsers(ctx context.Context) error {
	changed, _, err := d.resealUsers(ctx, "id > ? AND SUBSTR(email, 1, 1) <> ?", []byte{sealedFormat})
	if err == nil && changed > 0 {
		if err = d.Scrub(ctx); errors.Is(err, ErrUnavailable) {
			err = nil // somebody reads; the log is written over in time
		}
	}
	return err
}

func (d *Directory) resealUsers(ctx context.Context, where string, args ...any) (changed, lost int, err error) {
	for after := ""; ; {
		var ids []string
		err := d.read(ctx).Model(&userRow{}).Where(where, append([]any{after}, args...)...).Order("id").Limit(MaxLimit).Pluck("id", &ids).Error
		if err != nil {
			return changed, lost, d.fail(err)
		}
		for _, id := range ids {
			after = id
			switch err := d.resealUser(ctx, id); {
			case errors.Is(err, errSealed):
				lost++
			case err == nil:
				changed++
			case !errors.Is(err, ErrNotFound): // deleted meanwhile
				return changed, lost, err
			}
		}
		if len(ids) < MaxLimit {
			return changed, lost, nil
		}
	}
}

func (d *Directory) resealUser(ctx context.Context, id string) error {
	return d.write(ctx, func(tx *gorm.DB) error {
		var row userRow
		if err := locked(tx).Where("id = ?", id).Take(&row).Error; err != nil {
			return err
		}
		email, name := string(row.Email), string(row.Name)
		if len(row.Email) > 0 && row.Email[0] == sealedFormat {
			var errEmail, errName error
			email, errEmail = d.openField(id, "email", row.Email)
			name, errName = d.openField(id, "name", row.Name)
			if err := errors.Join(errEmail, errName); err != nil {
				return err
			}
		}
		var err error
		if row.Email, err = d.sealField(id, "email", emailColumn(email)); err != nil {
			return err
		}
		if row.Name, err = d.sealField(id, "name", name); err != nil {
			return err
		}
		if err := tx.Model(&row).Select("email", "name").Updates(&row).Error; err != nil {
			return err
		}
		return d.indexEmail(tx, id, email)
	})
}

// UserRingKeys counts the users that each key of rings has sealed, by its id.
func (d *Directory) UserRingKeys(ctx context.Context) (map[string]int, error) {
	counts := make(map[string]int)
	for after := ""; ; {
		var rows []userRow
		err := d.read(ctx).Select("id", "email").Where("id > ?", after).Order("id").Limit(MaxLimit).Find(&rows).Error
		if err != nil {
			return nil, d.fail(err)
		}
		for _, row := range rows {
			after = row.ID
			if id, _, err := sealedBy(row.Email); err == nil {
				counts[id]++
			}
		}
		if len(rows) < MaxLimit {
			return counts, nil
		}
	}
}
