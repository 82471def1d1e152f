package cluster

import "sync"

// outbox gathers what is to be sent, so that what gathers while a parcel is
// written goes out in the next one.
type outbox[T any] struct {
	signal chan struct{}

	mu    sync.Mutex
	items []T
}

func newOutbox[T any]() *outbox[T] { return &outbox[T]{signal: make(chan struct{}, 1)} }

// put never blocks. It is false where most wait already.
func (o *outbox[T]) put(item T, most int) bool {
	o.mu.Lock()
	full := len(o.items) >= most
	if !full {
		o.items = append(o.items, item)
	}
	o.mu.Unlock()
	if full {
		return false
	}
	select {
	case o.signal <- struct{}{}:
	default:
	}
	return true
}

// take gives up to so many, and whether there are more.
func (o *outbox[T]) take(most int) (items []T, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.items) <= most {
		items, o.items = o.items, nil
		return items, false
	}
	items, o.items = o.items[:most:most], o.items[most:]
	return items, true
}
