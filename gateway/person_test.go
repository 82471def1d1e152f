package gateway

import (
	"bytes"
	"testing"

	"nowserving/actors/queue"
)

// What people write in several ways is one and the same; what is not, is not.
func TestNormalForms(t *testing.T) {
	t.Parallel()
	for _, same := range []struct {
		normal func(string) string
		want   string
		of     []string
	}{
		{normalPhone, "49301234567", []string{"+49 30 1234567", "0049 30 1234567", "+49 (0)30 / 123-45-67", " (+49) 30.1234567 ", "+49 ( 0 ) 30 1234567", "＋４９ 30 1234567", "49301234567"}},
		{normalPhone, "0301234567", []string{"030 1234567", "(030) 123 45 67"}},
		{normalPhone, "ask at the door", []string{"Ask at the Door", " ask at the door "}},
		{normalPhone, "", []string{"", "  "}},
		{normalEmail, "ada@example.org", []string{"Ada@Example.ORG", " ada@example.org\n", "ａda@example.org"}},
		{normalText, "AB-12", []string{"AB-12", " AB-12 ", "ＡB-12"}},
		{normalText, "ab-12", []string{"ab-12"}},
	} {
		for _, s := range same.of {
			if got := same.normal(s); got != same.want {
				t.Errorf("%q is %q, want %q", s, got, same.want)
			}
		}
	}
}

func TestIndexOfCustomer(t *testing.T) {
	t.Parallel()
	keys := []TokenKey{{"new", bytes.Repeat([]byte{1}, 32)}, {"old", bytes.Repeat([]byte{2}, 32)}}
	made := func(keys ...TokenKey) *Gateway {
		return &Gateway{options: Options{IndexKeys: func() []TokenKey { return keys }}}
	}
	g, before := made(keys...), made(keys[1])
	const ada = `{"name":"Ada","phone":"+49 30 1","email":"Ada@x","ref":null}`
	index := g.indexOf([]byte(ada))
	if len(index) != 3*queue.TagSize || !bytes.Equal(index[2*queue.TagSize:], make([]byte, queue.TagSize)) {
		t.Fatalf("index %x", index)
	}
	for _, none := range []string{"", `{"name":"Ada","phone":null,"email":"  ","ref":null}`} {
		if g.indexOf([]byte(none)) != nil {
			t.Errorf("%s has an index", none)
		}
	}
	found := func(index []byte, p subject) bool { return (&queue.Ticket{Index: index}).IsOf(g.wanted(&p)) }
	for _, c := range []struct {
		index []byte
		by    subject
		want  bool
	}{
		{index, subject{Phone: "0049301"}, true},
		{index, subject{Email: "ada@X"}, true},
		{before.indexOf([]byte(ada)), subject{Email: "ada@X"}, true}, // made before a rotation
		{made(TokenKey{"other", bytes.Repeat([]byte{3}, 32)}).indexOf([]byte(ada)), subject{Email: "ada@X"}, false},
		{index, subject{Ref: "Ada@x"}, false}, // another field
		{index, subject{Ref: " "}, false},     // nobody is found by nothing
		{index, subject{}, false},
		{index, subject{Phone: "49302"}, false},
	} {
		if got := found(c.index, c.by); got != c.want {
			t.Errorf("found by %+v: %v", c.by, got)
		}
	}
}
