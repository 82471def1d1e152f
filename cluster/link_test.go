package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
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

func (n *Node) linkTo(o *Node) *link {
	return n.links.to(Member{Addr: o.Addr(), Life: o.members.life.Load().name})
}

// A call that waits until its node knows the members is not served when whoever
// sent it has given the link up meanwhile.
func TestCallOfAnEndedConversationIsNotServed(t *testing.T) {
	w := newWorld(t)
	nodes := w.startAll(2)
	id := w.of(nodes[1])
	nodes[1].members.refreshing.Lock()
	l, number := nodes[0].linkTo(nodes[1]), nodes[1].View().Number
	lost, sent := make(chan error, 1), call(t, id, "add", number+1000)
	go func() {
		_, err := l.ask(t.Context(), sent)
		lost <- err
	}()
	w.eventually("the call is on its way", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.last > 0
	})
	if _, err := l.ask(t.Context(), call(t, id, "hello", number)); err != nil {
		t.Fatal(err) // it came behind
	}
	nodes[1].members.mu.Lock()
	nodes[1].members.lapse(errors.New("a test"))
	nodes[1].members.mu.Unlock()
	if err := <-lost; !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	w.together(nodes...)
	nodes[1].members.refreshing.Unlock()
	answer, err := nodes[0].Request(t.Context(), "echo", id, wrapperspb.String("count"))
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.(*wrapperspb.StringValue).Value; got != "0" {
		t.Errorf("it was served %s times", got)
	}
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
		ctx, cancel := context.WithTimeout(t.Context(), requestBudget/2)
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
	for range 3 { // on a busy machine the link itself may fall silent
		if _, err := first.Request(t.Context(), "echo", w.of(second), wrapperspb.String("large")); !errors.Is(err, ErrNoAnswer) {
			t.Error(err)
		}
		if len(lost) == 0 {
			return
		}
		for len(lost) > 0 {
			<-lost
		}
	}
	t.Error("it was sent again")
}

// A connection that took long to be made is given its time to be answered on.
func TestSlowConnectionIsKept(t *testing.T) {
	w := newWorld(t)
	lost := make(chan struct{}, 8)
	first := w.start(func(o *Options) {
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			select {
			case <-time.After(silentLink - pingEvery):
			case <-ctx.Done():
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
		o.Again = func(message any) any {
			lost <- struct{}{}
			return message
		}
	})
	second := w.start()
	w.together(first, second)
	answered := make(chan error, 1)
	go func() {
		_, err := first.Request(t.Context(), "echo", w.of(second), wrapperspb.String("hold"))
		answered <- err
	}()
	select {
	case <-lost:
		t.Error("the link was given up")
	case <-time.After(2 * pingEvery):
	}
	second.grains.free()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// Whoever waits for a grain that ends by itself is told so.
func TestGrainThatEndsByItself(t *testing.T) {
	w := newWorld(t)
	again := func(o *Options) { o.Again = func(any) any { return wrapperspb.String("again") } }
	first, second := w.start(again), w.start(again)
	w.together(first, second)
	for _, n := range []*Node{first, second} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		answer, err := first.Request(ctx, "echo", w.of(n), wrapperspb.String("quit"))
		if cancel(); err != nil || answer.(*wrapperspb.StringValue).Value != "again" {
			t.Errorf("%v, %v", answer, err)
		}
	}
}
