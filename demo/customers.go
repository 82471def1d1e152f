package demo

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// What customers are like.
const (
	checksIn = 0.4  // of those at a public queue: on a telephone, not at the door
	hasRank  = 0.12 // of those at the door
	givesUp  = 0.2
	patience = 40 * time.Second // of those who give up
	before   = 500 * time.Millisecond
)

// crowd is the customers of one queue.
type crowd struct {
	town          *Town
	line          *line
	door, visitor *client
	dice          dice
	leaving       []leaver
}

// leaver will have waited for long enough.
type leaver struct {
	at            time.Time
	by            *client
	ticket, query string
}

func (c *crowd) run(ctx context.Context) {
	for came := 0; ; came++ {
		pause := c.dice.gap(c.line.every)
		if came < opening {
			pause = min(pause, c.dice.about(before))
		}
		if c.town.rest(ctx, pause) != nil {
			return
		}
		c.town.takeIt(ctx, "a customer", c.arrive(ctx))
		c.town.takeIt(ctx, "a customer", c.giveUp(ctx))
	}
}

// arrive has somebody look at the line, and join it unless it is too long: the
// longer it is, the more people turn round.
func (c *crowd) arrive(ctx context.Context) error {
	var q struct{ Waiting int }
	if err := c.door.do(ctx, http.MethodGet, "/queues/"+c.line.id, nil, &q); err != nil {
		return err
	}
	if q.Waiting >= opening && c.dice.chance(float64(q.Waiting)/room) {
		return nil
	}
	who, language := c.dice.somebody()
	ticket := map[string]any{"service": pick(c.dice, c.line.services), "customer": who}
	if c.line.public && c.dice.chance(checksIn) {
		var made struct{ Token string }
		if err := c.visitor.do(ctx, http.MethodPost, "/public/queues/"+c.line.id+"/tickets", ticket, &made); err != nil {
			return err
		}
		c.mayLeave(c.visitor, "/public/tickets/"+made.Token, "")
		return nil
	}
	ticket["payload"] = map[string]string{"language": language}
	if c.dice.chance(hasRank) {
		ticket["priority"] = 1 + c.dice.IntN(5)
	}
	var made struct{ ID string }
	if err := c.door.do(ctx, http.MethodPost, "/queues/"+c.line.id+"/tickets", ticket, &made); err != nil {
		return err
	}
	c.mayLeave(c.door, "/queues/"+c.line.id+"/tickets/"+made.ID, "?reason="+url.QueryEscape("gave up"))
	return nil
}

func (c *crowd) mayLeave(by *client, ticket, query string) {
	if c.dice.chance(givesUp) {
		c.leaving = append(c.leaving, leaver{time.Now().Add(c.town.hurry(c.dice.about(patience))), by, ticket, query})
	}
}

// giveUp has those leave whose patience has ended while they wait.
func (c *crowd) giveUp(ctx context.Context) (err error) {
	now, stay := time.Now(), c.leaving[:0]
	for _, l := range c.leaving {
		if l.at.After(now) {
			stay = append(stay, l)
			continue
		}
		var t ticket
		e := l.by.do(ctx, http.MethodGet, l.ticket, nil, &t)
		if e == nil && t.State == "waiting" {
			e = l.by.do(ctx, http.MethodDelete, l.ticket+l.query, nil, nil)
		}
		if e != nil {
			err = e
		}
	}
	c.leaving = stay
	return err
}
