package demo

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// errTaken: a person at a page has a ticket in hand that was an attendant's.
var errTaken = errors.New("demo: somebody else has acted on the ticket")

// What attendants are like, and the people before them.
const (
	walk  = 2500 * time.Millisecond
	idle  = 700 * time.Millisecond
	after = 1500 * time.Millisecond // a customer, before the next one is called

	missing  = 0.08 // do not come when they are called
	comeLate = 0.5  // of those: when they are called again
	comeBack = 0.3  // of the others: when they are no-shows already
	parks    = 0.05 // hold: something has to be fetched
	sendsOn  = 0.2  // to another queue, where there is one
	slips    = 0.03 // completes the wrong ticket, and undoes it
	letsGo   = 0.05 // has somebody go first

	maxParked = 3
)

type ticket struct{ ID, State, Attendant string }

// attendant serves lines at a desk.
type attendant struct {
	*client
	town   *Town
	desk   string
	lines  []*line
	dice   dice
	parked []parked
	begun  bool // the first customer has been called
}

// parked is a ticket on hold.
type parked struct {
	line *line
	id   string
}

func (a *attendant) run(ctx context.Context) {
	for {
		pause := after
		served, err := a.work(ctx)
		if err != nil {
			a.town.takeIt(ctx, a.desk, err)
			a.town.takeIt(ctx, a.desk, a.tidy(ctx, err))
		}
		if !served {
			pause = idle
		}
		if a.town.rest(ctx, pause) != nil {
			return
		}
	}
}

// work calls whoever is next in one of the lines, and serves them.
func (a *attendant) work(ctx context.Context) (served bool, err error) {
	if len(a.parked) > 0 && (len(a.parked) == maxParked || a.dice.chance(0.3)) {
		p := a.parked[0]
		a.parked = a.parked[1:]
		if err := a.bringBack(ctx, p.line, p.id, "held"); err != nil {
			return false, err
		}
	}
	for i, l := range a.lines {
		if i > 0 && !a.begun {
			break // a line of one's own comes first in the morning, even if nobody stands there yet
		}
		if a.dice.chance(letsGo) {
			if err := a.letGo(ctx, l); err != nil {
				return false, err
			}
		}
		var t ticket
		err := a.do(ctx, http.MethodPost, "/queues/"+l.id+"/call-next", map[string]string{"desk": a.desk}, &t)
		switch {
		case refusedWith(err, "queue_paused"):
			continue // perhaps another one is not
		case err != nil:
			return false, err
		case t.ID != "":
			a.begun = true
			return true, a.serve(ctx, l, t.ID)
		}
	}
	return false, nil
}

// act is a command on a ticket.
func (a *attendant) act(ctx context.Context, l *line, id, verb string, args any) error {
	return a.do(ctx, http.MethodPost, "/queues/"+l.id+"/tickets/"+id+"/"+verb, args, nil)
}

// still fails where a ticket is not as the attendant has left it. Without that
// look somebody at a page could lose a customer whom they have called meanwhile.
func (a *attendant) still(ctx context.Context, l *line, id, state string) error {
	var t ticket
	if err := a.do(ctx, http.MethodGet, "/queues/"+l.id+"/tickets/"+id, nil, &t); err != nil {
		return err
	}
	if t.State != state || t.Attendant != a.user {
		return errTaken
	}
	return nil
}

// bringBack puts a ticket first in line again.
func (a *attendant) bringBack(ctx context.Context, l *line, id, from string) error {
	if err := a.still(ctx, l, id, from); err != nil {
		return err
	}
	return a.act(ctx, l, id, "requeue", nil)
}

// serve goes through all that may happen to a ticket that is called.
func (a *attendant) serve(ctx context.Context, l *line, id string) error {
	if err := a.town.rest(ctx, a.dice.about(walk)); err != nil {
		return err
	}
	if a.dice.chance(missing) {
		if came, err := a.callAgain(ctx, l, id); err != nil || !came {
			return err
		}
	}
	if err := a.still(ctx, l, id, "called"); err != nil {
		return err
	}
	if err := a.act(ctx, l, id, "start", nil); err != nil {
		return err
	}
	if err := a.town.rest(ctx, a.dice.about(l.handle)); err != nil {
		return err
	}
	if err := a.still(ctx, l, id, "serving"); err != nil {
		return err
	}
	switch {
	case a.dice.chance(parks) && len(a.parked) < maxParked:
		a.parked = append(a.parked, parked{l, id})
		return a.act(ctx, l, id, "hold", nil)
	case len(l.onward) > 0 && a.dice.chance(sendsOn):
		return a.act(ctx, l, id, "transfer", map[string]string{"queue": pick(a.dice, l.onward)})
	}
	if err := a.complete(ctx, l, id); err != nil || !a.dice.chance(slips) {
		return err
	}
	if err := a.town.rest(ctx, a.dice.about(after)); err != nil {
		return err
	}
	return a.bringBack(ctx, l, id, "completed")
}

func (a *attendant) complete(ctx context.Context, l *line, id string) error {
	return a.act(ctx, l, id, "complete", map[string]string{"outcome": pick(a.dice, l.outcomes)})
}

// callAgain calls somebody who has not come, and gives up on most.
func (a *attendant) callAgain(ctx context.Context, l *line, id string) (came bool, err error) {
	if err := a.still(ctx, l, id, "called"); err != nil {
		return false, err
	}
	if err := a.act(ctx, l, id, "recall", nil); err != nil {
		return false, err
	}
	if err := a.town.rest(ctx, a.dice.about(2*walk)); err != nil {
		return false, err
	}
	if a.dice.chance(comeLate) {
		return true, nil
	}
	if err := a.still(ctx, l, id, "called"); err != nil {
		return false, err
	}
	if err := a.act(ctx, l, id, "no-show", nil); err != nil || !a.dice.chance(comeBack) {
		return false, err
	}
	if err := a.town.rest(ctx, a.dice.about(walk)); err != nil {
		return false, err
	}
	return false, a.bringBack(ctx, l, id, "no_show")
}

// letGo has somebody from the middle of the line go first.
func (a *attendant) letGo(ctx context.Context, l *line) error {
	var list struct{ Items []ticket }
	err := a.do(ctx, http.MethodGet, "/queues/"+l.id+"/tickets?state=waiting&limit=5", nil, &list)
	if err != nil || len(list.Items) < 4 {
		return err
	}
	return a.act(ctx, l, list.Items[len(list.Items)-1].ID, "move", map[string]int{"position": 1})
}

// tidy completes what the attendant has still before them, where that is why
// nobody else can be called.
func (a *attendant) tidy(ctx context.Context, why error) error {
	if !refusedWith(why, "attendant_busy") {
		return nil
	}
	for _, l := range a.lines {
		for _, state := range []string{"called", "serving"} {
			var list struct{ Items []ticket }
			if err := a.do(ctx, http.MethodGet, "/queues/"+l.id+"/tickets?state="+state, nil, &list); err != nil {
				return err
			}
			for _, t := range list.Items {
				if t.Attendant != a.user {
					continue
				}
				if err := a.complete(ctx, l, t.ID); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
