package gateway

import (
	"errors"
	"sync/atomic"
)

// TokenKey signs access tokens; its id stands in them.
type TokenKey struct {
	ID    string
	Bytes []byte
}

// tokenKeys are those that sign tokens, the first one, and verify them.
type tokenKeys struct{ now atomic.Pointer[[]TokenKey] }

// UseTokenKeys has tokens, the links of tickets and the state of sign-ins made and
// verified with other keys, of each the first one first. What was made with a key
// that is not among them is void: at once where it is sent, and within half a
// minute where a session lives by it.
func (g *Gateway) UseTokenKeys(tokens, ticketLinks, states []TokenKey) error {
	if len(tokens) == 0 {
		return errors.New("gateway: a key for access tokens is needed")
	}
	made, err := newLinks(ticketLinks)
	if err != nil {
		return err
	}
	g.links.Store(made)
	if g.signIn != nil {
		g.signIn.states.Store(&states)
	}
	g.auth.keys.now.Store(&tokens)
	g.auth.seen.forget() // they were verified with the keys of before
	return nil
}
