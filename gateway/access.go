package gateway

import (
	"slices"
	"time"

	"nowserving/actors/queue"
)

// Level is what a user may do; the contract's access levels.
type Level string

// The levels.
const (
	Admin       Level = "admin"
	Supervisor  Level = "supervisor"
	Attendant   Level = "attendant"
	Integration Level = "integration"
	Viewer      Level = "viewer"

	nobody Level = "" // who is not logged in, at /public
)

// Principal is who is asking. It is never changed once made.
type Principal struct {
	UserID string
	Name   string
	Email  string // empty where the directory could not be asked
	Level  Level
	// Queues are the ids of the queues that the user may see; "*" is all.
	Queues    []string
	ExpiresAt time.Time

	family string // of refresh tokens that the access token came of
	epoch  int64  // of the user's tokens when it was issued
	// Of somebody with an API key, whose id is the family too: its id, and when
	// the directory is to be asked for it again.
	keyID     string
	recheckAt time.Time
}

// seesAll tells whether every queue is the user's.
func (p *Principal) seesAll() bool { return p.Level == Admin || slices.Contains(p.Queues, "*") }

// sees tells whether the user may know of a queue.
func (p *Principal) sees(id string) bool {
	return queue.ID(id).Valid() && (p.seesAll() || slices.Contains(p.Queues, id))
}

// full tells whether the user may see customers and payloads.
func (p *Principal) full() bool { return p.Level != Viewer && p.Level != nobody }

// Action is what access is asked for.
type Action int

// The actions.
const (
	ReadQueue      Action = iota // a queue, its tickets and events
	ReadTrail                    // what happened to a ticket, and who did it
	EnqueueTicket                // make a ticket
	ChangeTicket                 // update or remove one, of integrations only their own
	OperateTickets               // every other command on tickets
	ConfigureQueue               // change a queue's fields, status and rules
	ManageQueues                 // create and delete
	ReadStatistics               // what happened in a queue
	ReadHistory                  // finished tickets
	ManageLetters                // dead letters: list, send again, delete
	ReadAudit                    // who did what
	ManagePeople                 // customers: erase one, export what is kept of one
	VisitPublic                  // check in to a public queue, leave it by the ticket's token
	ReadSystem                   // nodes and keys
	ManageUsers                  // users and their API keys
	ManageWebhooks               // receivers of events
)

// mayDo is the one place that says which level may do what.
var mayDo = map[Action][]Level{
	ReadQueue:      {Admin, Supervisor, Attendant, Integration, Viewer},
	ReadTrail:      {Admin, Supervisor, Attendant, Integration},
	EnqueueTicket:  {Admin, Supervisor, Attendant, Integration},
	ChangeTicket:   {Admin, Supervisor, Attendant, Integration},
	OperateTickets: {Admin, Supervisor, Attendant},
	ConfigureQueue: {Admin, Supervisor},
	ManageQueues:   {Admin},
	ReadStatistics: {Admin, Supervisor},
	ReadHistory:    {Admin, Supervisor},
	ManageLetters:  {Admin, Supervisor},
	ReadAudit:      {Admin},
	ManagePeople:   {Admin},
	VisitPublic:    {nobody},
	ReadSystem:     {Admin},
	ManageUsers:    {Admin},
	ManageWebhooks: {Admin},
}

// may refuses what the user may not do: 404 for a queue that it may not see,
// 403 for what its level does not allow. queue is empty where there is none yet.
func (p *Principal) may(action Action, queueID string) *problem {
	if queueID != "" && !p.sees(queueID) {
		return refused(queue.ErrQueueNotFound)
	}
	if !slices.Contains(mayDo[action], p.Level) {
		return newProblem(string(queue.Forbidden), "Your access level does not allow this.")
	}
	return nil
}

// seesLetter tells whether a dead letter is the user's to know of. One that
// names no queue is the admin's alone.
func (p *Principal) seesLetter(queueID string) bool {
	return p.Level == Admin || p.Level == Supervisor && p.sees(queueID)
}

// ownOnly tells whether the user may do the action to nothing but what it
// enqueued itself; the queue knows what that is.
func (p *Principal) ownOnly(action Action) bool {
	return p.Level == Integration && action == ChangeTicket
}
