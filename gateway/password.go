package gateway

import (
	"errors"
	"unicode/utf8"
)

// minPassword is in characters; longer ones are better than odd ones (NIST SP
// 800-63B, section 5.1.1).
const minPassword = 8

// CheckPassword says what is wrong with a new password of somebody with that
// e-mail address and name; nil where nothing is. The error does not repeat it.
func CheckPassword(password, email, name string) error {
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return errors.New("must be at least 8 characters")
	case len(password) > maxPassword:
		return errors.New("must be at most 1024 bytes")
	}
	return nil
}
