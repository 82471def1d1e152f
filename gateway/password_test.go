package gateway

import (
	"bufio"
	"strings"
	"testing"
)

func TestPasswordsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, group := range []struct {
		why       string
		passwords []string
	}{
		{"at least 8", []string{"", "short", "1234567", "ééééééé"}},
		{"at most 1024", []string{strings.Repeat("walnut tram ", 90), strings.Repeat("ü", 513)}},
		{"digits alone", []string{"12345678", "19841231", "00000000000"}},
		{"tried first", []string{
			"password", "PASSWORD", "Password1", "p@ssw0rd", "P@ssw0rd123!", "passwordpassword", "!!welcome2024", "Summer2026", "Sommer2026!",
			"iloveyou", "Dragon99!", "admin123", "qazwsxedc", "1q2w3e4r", "letmein1", "nowserving1", "starwars", "liverpool1", "zaq12wsx",
		}},
		{"repetitions or rows", []string{
			"aaaaaaaa", "abababab", "jkljkljkl", "abcdefgh", "hgfedcba", "asdfghjk", "poiuytre", "asdfjklö", "lkjhgfdsa1234", "qwer4321", "8888888877777777",
			"wxywxywxy", "zyxw9876",
		}},
		{"own name", []string{"lovelace", "Ada.Lovelace1", "lovelace1815", "L0velace!!", "ada@analytical", "analytical-ada", "adalovelace99"}},
	} {
		for _, p := range group.passwords {
			err := CheckPassword(p, "Ada.Lovelace@Analytical.example", "Ada Lovelace")
			if err == nil || !strings.Contains(err.Error(), group.why) {
				t.Errorf("%.30q: %v, want %s", p, err, group.why)
			} else if len(p) >= minPassword && strings.Contains(err.Error(), p) {
				t.Errorf("the error repeats %q", p)
			}
		}
	}
}

func TestPasswordsThatAreTaken(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"correct horse battery staple", "walnut-tram-quietly", "tour-password", "a password of the bench", "from a file", "typed in", "kXw9#tLq",
		"lovelace keeps a goat", "password of the moon", strings.Repeat("walnut tram ", 85), "пароль на завтра", "283940175562", "ввечеруппп", "aswepodfty",
	} {
		if err := CheckPassword(p, "ada.lovelace@example.org", "Ada Lovelace"); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	if err := CheckPassword("ad-hoc-gardening", "a@b", ""); err != nil { // no word is long enough to look for
		t.Error(err)
	}
}

// Each line of the list is refused, once it is as long as a password must be.
func TestEachCommonPasswordIsRefused(t *testing.T) {
	t.Parallel()
	lines, long := bufio.NewScanner(strings.NewReader(commonText)), 0
	last := ""
	for lines.Scan() {
		word := lines.Text()
		if word <= last || word != strings.ToLower(strings.TrimSpace(word)) {
			t.Errorf("%q is out of order, or not as it must be", word)
		}
		last = word
		switch {
		case len([]rune(word)) >= minPassword:
			long++
		case strings.ContainsAny(word, "0123456789"):
			word += word
		default:
			word += strings.Repeat("1", minPassword)
		}
		if CheckPassword(word, "", "") == nil {
			t.Errorf("%q is taken", word)
		}
	}
	if long < 250 {
		t.Errorf("only %d lines are whole passwords", long)
	}
}
