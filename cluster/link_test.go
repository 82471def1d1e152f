package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// of gives a grain that lives on a node.
func (w *world) of(n *Node) string {
	for i := 0; ; i++ {
		if id := fmt.Sprint(i); n.Hosts("echo", id) {
			return id
		}
	}
}

func call(t *testing.T, id, text string, view uint64) *outgoing {
	t.Helper()
	content, err := pack(wrapperspb.String(text))
	if err != nil {
		t.Fatal(err)
	}
	return &outgoing{view: view, key: grainKey{"echo", id}, content: content}
}

// Nor does it go out any more.
func TestCallThatWasGivenUpIsNotSent(t *testing.T) {
	w := newWorld(t)
	n := w.start()
	l := newLink(n, Member{Addr: "nobody"})
	defer l.cancel()
	l.up.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.ask(ctx, call(t, "1", "add", 0)); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	if items, _ := l.take(); len(items) != 0 {
		t.Error("it is sent")
	}
}

// What cannot be sent is refused at once.
func TestRequestThatCannotBeSent(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(2)
	for what, text := range map[string]string{"no UTF-8": "\xff", "too large": strings.Repeat("x", maxParcel)} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := nodes[0].Request(ctx, "echo", w.of(nodes[1]), wrapperspb.String(text)); !errors.Is(err, ErrUndelivered) {
			t.Errorf("%s: %v", what, err)
		}
		if ctx.Err() != nil {
			t.Errorf("%s: it was refused late", what)
		}
		cancel()
	}
}

// An answer that is too large fails its own request only, and that one at once.
func TestAnswerThatCannotBeSent(t *testing.T) {
	w := newWorld(t)
	lost := make(chan struct{}, 8)
	first := w.start(func(o *Options) {
		o.Again = func(message any) any {
			lost <- struct{}{}
			return message
		}
	})
	second := w.start()
	w.together(first, second)
	if _, err := first.Request(t.Context(), "echo", w.of(second), wrapperspb.String("large")); !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
	if len(lost) > 0 {
		t.Error("it was sent again")
	}
}
