package rabbit

import (
	"context"
	"sync"
)

// standingPublisher keeps one publisher for as long as its connection and
// itself last, and then the next one.
type standingPublisher struct {
	conn     *Conn
	underway int

	mu        sync.Mutex
	session   *Session
	publisher *Publisher // of that session
}

// current waits for the connection and gives a publisher of it.
func (d *standingPublisher) current(ctx context.Context) (*Session, *Publisher, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.conn.Session(ctx)
	if err != nil {
		return nil, nil, err
	}
	if d.publisher != nil && d.session == s {
		select {
		case <-d.publisher.Ended():
		default:
			return s, d.publisher, nil
		}
	}
	p, err := s.NewPublisher(d.underway)
	if err != nil {
		return nil, nil, err
	}
	d.session, d.publisher = s, p
	return s, p, nil
}
