package gateway

import (
	_ "embed"
	"errors"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// minPassword is in characters; longer ones are better than odd ones (NIST SP
// 800-63B, section 5.1.1). One of digits alone needs more.
const (
	minPassword = 8
	minDigits   = 12
)

// commonText has what people choose most, one to a line: whole passwords, and the
// words that they are made of.
//
//go:embed passwords.txt
var commonText string

var commonPasswords = sync.OnceValue(func() map[string]bool {
	set := make(map[string]bool)
	for word := range strings.Lines(commonText) {
		word = strings.TrimSpace(word)
		set[word] = true
		if bare := bareWord(word); len(bare) > 3 {
			set[bare] = true
		}
	}
	return set
})

// CheckPassword says what is wrong with a new password of somebody with that
// e-mail address and name; nil where nothing is. The error does not repeat it.
func CheckPassword(password, email, name string) error {
	lower := strings.ToLower(password)
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return errors.New("must be at least 8 characters")
	case len(password) > maxPassword:
		return errors.New("must be at most 1024 bytes")
	case strings.Trim(password, "0123456789") == "" && len(password) < minDigits:
		return errors.New("must not be digits alone, unless they are 12 or more")
	case common(lower):
		return errors.New("is one of those that are tried first")
	case thoughtless(lower):
		return errors.New("must not be made of repetitions or rows of keys")
	case own(lower, email, name) || own(plainLetters(lower), email, name):
		return errors.New("must not be made of the user's own name or address")
	}
	return nil
}

// common tells whether a password is a common one, as it is, with signs instead
// of letters, with digits or signs around it, or twice.
func common(lower string) bool {
	set := commonPasswords()
	for _, s := range []string{lower, repeated(lower)} {
		if set[s] || set[bareWord(s)] {
			return true
		}
	}
	return false
}

// bareWord is a text without what people add before and behind a word, and with
// letters for the signs that look like them.
func bareWord(s string) string {
	return plainLetters(strings.TrimFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && r != '@' && r != '$' }))
}

var lookAlikes = strings.NewReplacer("0", "o", "1", "i", "!", "i", "3", "e", "4", "a", "@", "a", "5", "s", "$", "s", "7", "t")

func plainLetters(s string) string { return lookAlikes.Replace(s) }

// repeated gives the shortest text of which s is a repetition; s itself for one
// that is none.
func repeated(s string) string {
	for n := 1; n <= len(s)/2; n++ {
		if len(s)%n == 0 && strings.Repeat(s[:n], len(s)/n) == s {
			return s[:n]
		}
	}
	return s
}

// keyRows are what fingers and tongues run along, forwards and backwards.
var keyRows = func() []string {
	rows := []string{
		"abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiopü", "asdfghjklöä", "yxcvbnm",
		"azertyuiop", "qsdfghjklm", "1qaz", "2wsx", "3edc", "4rfv", "5tgb", "6yhn", "7ujm",
	}
	for _, row := range slices.Clone(rows) {
		back := []rune(row)
		slices.Reverse(back)
		rows = append(rows, string(back))
	}
	return rows
}()

// thoughtless tells whether a password is a few characters again and again, or
// runs along rows of keys, four at a time or more.
func thoughtless(lower string) bool {
	distinct := make(map[rune]bool)
	for _, r := range lower {
		distinct[r] = true
	}
	if len(distinct) < 4 || utf8.RuneCountInString(repeated(lower)) < 5 {
		return true
	}
	for rest := lower; rest != ""; {
		run := 0
		for _, row := range keyRows {
			n := len(rest)
			for n > run && !strings.Contains(row, rest[:n]) {
				n--
			}
			run = max(run, n)
		}
		if run < 4 {
			return false
		}
		rest = rest[run:]
	}
	return true
}

// own tells whether little is left of a password without the words of a name and
// an address.
func own(lower, email, name string) bool {
	email, name = strings.ToLower(email), strings.ToLower(name)
	words := strings.FieldsFunc(email+" "+name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	words = slices.DeleteFunc(words, func(w string) bool { return len(w) < 3 })
	slices.SortFunc(words, func(a, b string) int { return len(b) - len(a) }) // the longest first: one may hold another
	rest := lower
	for _, w := range words {
		rest = strings.ReplaceAll(rest, w, " ")
	}
	letters := 0
	for _, r := range rest {
		if unicode.IsLetter(r) {
			letters++
		}
	}
	return rest != lower && letters < 4
}
