package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strconv"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// commandSpec is what there is to know of one command.
type commandSpec struct {
	action Action
	// ofTicket: it is about one ticket, whose id stands in the path over REST
	// and in the arguments over WebSocket and gRPC.
	ofTicket bool
	// needsBody: over REST an empty body is malformed.
	needsBody bool
	// noFrame: it has no name over WebSocket.
	noFrame bool
	// public: it is for those who are not logged in, and has a name nowhere else.
	public bool
	// decode makes the action of the arguments.
	decode func(b *build)
	number int // its place in CommandNames
}

// commandSpecs holds every command by its name in the contract; configure,
// create and delete are what PATCH, POST and DELETE of a queue mean.
var commandSpecs = map[string]*commandSpec{
	"enqueue":   {action: EnqueueTicket, decode: decodeEnqueue},
	"update":    {action: ChangeTicket, ofTicket: true, needsBody: true, decode: decodeUpdate},
	"remove":    {action: ChangeTicket, ofTicket: true, decode: decodeRemove},
	"move":      {action: OperateTickets, ofTicket: true, needsBody: true, decode: decodeMove},
	"call_next": {action: OperateTickets, decode: decodeCallNext},
	"call":      {action: OperateTickets, ofTicket: true, decode: decodeCall},
	"recall":    {action: OperateTickets, ofTicket: true, decode: decodeRecall},
	"start":     {action: OperateTickets, ofTicket: true, decode: decodeStart},
	"complete":  {action: OperateTickets, ofTicket: true, decode: decodeComplete},
	"hold":      {action: OperateTickets, ofTicket: true, decode: decodeHold},
	"no_show":   {action: OperateTickets, ofTicket: true, decode: decodeNoShow},
	"requeue":   {action: OperateTickets, ofTicket: true, decode: decodeRequeue},
	"transfer":  {action: OperateTickets, ofTicket: true, needsBody: true, decode: decodeTransfer},
	"open":      {action: ConfigureQueue, decode: decodeStatus(messages.Status_STATUS_OPEN)},
	"pause":     {action: ConfigureQueue, decode: decodeStatus(messages.Status_STATUS_PAUSED)},
	"close":     {action: ConfigureQueue, decode: decodeStatus(messages.Status_STATUS_CLOSED)},
	"configure": {action: ConfigureQueue, needsBody: true, noFrame: true, decode: decodeConfigure},
	"create":    {action: ManageQueues, needsBody: true, noFrame: true, decode: decodeCreate},
	"delete":    {action: ManageQueues, noFrame: true, decode: decodeDelete},
	"check_in":  {action: VisitPublic, public: true, decode: decodeCheckIn},
	"leave":     {action: VisitPublic, public: true, ofTicket: true, decode: decodeLeave},
}

// commandMeta is what comes with any command, as it was sent; nil where it was
// not.
type commandMeta struct {
	key     *string // idempotency key
	scope   string  // what a key counts together with, beside its user and queue
	ifMatch *string // an entity tag
	// tooLarge: the body was over its bound and is not there to be looked at.
	tooLarge bool
	// wrong is what was found wrong before the arguments were decoded.
	wrong []queue.FieldError
}

// build is a command that is being made.
type build struct {
	*faults
	g       *Gateway
	spec    *commandSpec
	began   time.Time
	who     *Principal
	args    *object
	source  queue.Source
	ticket  []byte
	message *messages.Command

	// name is the command's in the fingerprint: a PATCH with a status is the
	// same as open, pause or close over WebSocket.
	name string
	// Personal data, yet to be sealed.
	customer, payload []byte
	// extra tells apart what the message does not.
	extra string
}

// build makes the message of a command, by its name in the contract, for
// REST, WebSocket and gRPC alike: it decodes the arguments, checks access, seals
// personal data and makes ids. ticketID comes from the path; it is empty where
// args name the ticket. A refusal is in the contract's order; one that must
// give way to "there is no such queue or ticket" asks the queue first.
func (g *Gateway) build(ctx context.Context, name, queueID string, args []byte, who *Principal, src queue.Source, ticketID string, meta commandMeta) (*build, *problem) {
	spec, known := commandSpecs[name]
	if !known || spec.noFrame && src == queue.FromWebSocket || spec.public != (src == queue.FromPublic) {
		return nil, invalid(queue.FieldError{Field: "command", Message: "is not known"})
	}
	b := &build{
		faults: &faults{}, g: g, spec: spec, began: time.Now(), who: who, source: src, name: name,
		message: &messages.Command{Queue: queueID, By: who.UserID, OwnOnly: who.ownOnly(spec.action)},
	}
	if p := b.make(ctx, args, ticketID, meta); p != nil {
		b.count(p.Code)
		return nil, p
	}
	return b, nil
}

// do sends the command to its queue.
func (b *build) do(ctx context.Context) *messages.Answer {
	a := b.g.queues.Do(ctx, b.message)
	b.count(a.Problem.GetCode())
	return a
}

// count tells of the answer. What comes from RabbitMQ may be tried again, and is
// counted where it is settled.
func (b *build) count(code string) {
	if b.source != queue.FromAMQP {
		b.g.options.Hooks.Command(b.spec.number, b.source, code, time.Since(b.began))
	}
}

func (b *build) make(ctx context.Context, args []byte, ticketID string, meta commandMeta) *problem {
	p := b.who.may(b.spec.action, b.message.Queue)
	if p != nil && p.Code == string(queue.QueueNotFound) {
		return p
	}
	b.decode(b.spec, args, ticketID, meta)
	switch {
	case ticketID != "" && len(b.ticket) == 0: // what stands in the path can be no ticket's id
		p = refused(queue.ErrTicketNotFound)
	case p == nil:
		p = b.problem()
	}
	if p != nil {
		return b.g.orMissing(ctx, b.spec, b, p)
	}
	b.identify(meta)
	return b.seal(ctx)
}

// decode makes the message's action and gathers all that is wrong.
func (b *build) decode(spec *commandSpec, args []byte, pathID string, meta commandMeta) {
	b.fields = append(b.fields, meta.wrong...)
	b.args = b.parse(args)
	if spec.needsBody && b.source == queue.FromREST && len(b.args.members) == 0 && b.refusal == nil && len(args) == 0 {
		b.refusal = malformed("A JSON object is needed in the body.")
	}
	if meta.tooLarge {
		// Nothing is known of the body; what else is wrong still goes first.
		b.args, b.refusal = &object{wrong: b.faults}, newProblem(codeTooLarge, "The body is over 65,536 bytes.")
	}
	switch {
	case !spec.ofTicket:
	case pathID != "":
		b.ticket = ticketID(pathID)
	default:
		b.ticket = b.args.ticket("ticket")
		b.args.require("ticket")
	}
	b.checkMeta(meta)
	if b.refusal == nil {
		spec.decode(b)
		b.args.close()
	}
}

// checkMeta holds key and entity tag to their forms.
func (b *build) checkMeta(meta commandMeta) {
	keyField := "Idempotency-Key"
	switch b.source {
	case queue.FromWebSocket, queue.FromGRPC:
		keyField = "idempotency_key"
	case queue.FromAMQP:
		keyField = "message-id"
	}
	switch {
	case meta.key == nil:
	case b.source == queue.FromPublic && !validPublicKey(*meta.key):
		b.add(keyField, "must be a UUID")
	case !validKey(*meta.key):
		b.add(keyField, "must be 1 to 128 printable ASCII characters")
	}
	if meta.ifMatch != nil && b.source == queue.FromPublic { // or the version could be found out
		b.add("If-Match", "is for those who may know of versions")
	} else if meta.ifMatch != nil {
		version, ok := parseETag(*meta.ifMatch)
		if !ok {
			b.add("If-Match", `must be one version in double quotes, such as "118"`)
		}
		b.message.IfMatch = &version
	}
}

func validKey(key string) bool {
	if len(key) < 1 || len(key) > 128 {
		return false
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return true
}

func parseETag(tag string) (uint64, bool) {
	n := len(tag)
	if n < 3 || n > 22 || tag[0] != '"' || tag[n-1] != '"' || tag[1] == '+' {
		return 0, false
	}
	version, err := strconv.ParseUint(tag[1:n-1], 10, 64)
	return version, err == nil
}

// orMissing is the refusal, or what goes before it: that there is no such queue
// or ticket, or that the ticket is not the user's own. Only refusals pay for
// the question.
func (g *Gateway) orMissing(ctx context.Context, spec *commandSpec, b *build, p *problem) *problem {
	if b.name == "create" || b.message.Queue == "" {
		return p
	}
	ask := &messages.Read{Queue: b.message.Queue, Question: &messages.Read_Describe{Describe: &messages.ReadQueue{}}}
	if spec.ofTicket && len(b.ticket) == 16 {
		ask.Question = &messages.Read_Ticket{Ticket: &messages.ReadTicket{Id: b.ticket}}
	}
	view := g.queues.Read(ctx, ask)
	if code := view.Problem.GetCode(); code == string(queue.QueueNotFound) || code == string(queue.TicketNotFound) {
		return problemOf(view.Problem)
	}
	if b.message.OwnOnly && len(view.Tickets) == 1 && view.Tickets[0].Ticket.EnqueuedBy != b.who.UserID {
		return refused(queue.ErrForbidden)
	}
	return p
}

// identify names the operation and takes the fingerprint of what was asked:
// of the decoded command, before anything that the server makes is in it.
func (b *build) identify(meta commandMeta) {
	m := b.message
	if meta.key == nil {
		m.Op = make([]byte, 16)
		_, _ = rand.Read(m.Op) // never fails: it ends the program instead
		return
	}
	m.Keyed = true
	sum := sha256.Sum256([]byte(m.By + "\x00" + *meta.key + meta.scope))
	m.Op = sum[:16]
	// The action alone: who, where and If-Match are no part of what is asked.
	action, err := proto.MarshalOptions{Deterministic: true}.Marshal(&messages.Command{Action: m.Action})
	if err != nil {
		panic("gateway: a command cannot be encoded: " + err.Error()) // its strings were checked
	}
	m.Fingerprints = b.g.sealer.Fingerprints([]byte(b.name), action, b.customer, canonical(b.payload), []byte(b.extra))
}

// seal makes the ids and seals personal data for the visit that it belongs to.
func (b *build) seal(ctx context.Context) *problem {
	switch a := b.message.Action.(type) {
	case *messages.Command_Enqueue:
		id, err := uuid.NewV7()
		if err != nil {
			return b.g.internal(ctx, "making a ticket's id", err)
		}
		a.Enqueue.Id, a.Enqueue.Source = id[:], messages.Source(b.source)
		a.Enqueue.Customer = b.g.sealer.Seal(b.message.Queue, sealedCustomer, id, b.customer)
		a.Enqueue.Index = b.g.indexOf(b.customer)
		a.Enqueue.Payload = b.g.sealer.Seal(b.message.Queue, sealedPayload, id, b.payload)
	case *messages.Command_Transfer:
		id, err := uuid.NewV7()
		if err != nil {
			return b.g.internal(ctx, "making a ticket's id", err)
		}
		a.Transfer.NewId = id[:]
	case *messages.Command_Create:
		a.Create.Epoch = b.g.newEpoch()
	case *messages.Command_Update:
		return b.sealUpdate(ctx, a.Update)
	}
	return nil
}

// sealUpdate has to ask for the ticket's visit, which never changes.
func (b *build) sealUpdate(ctx context.Context, a *messages.Update) *problem {
	if b.customer == nil && b.payload == nil {
		return nil
	}
	view := b.g.queues.Read(ctx, &messages.Read{
		Queue: b.message.Queue, Question: &messages.Read_Ticket{Ticket: &messages.ReadTicket{Id: b.ticket}},
	})
	if view.Problem != nil {
		return problemOf(view.Problem)
	}
	visit := visitOf(view.Tickets[0].Ticket)
	a.Customer = b.g.sealer.Seal(b.message.Queue, sealedCustomer, visit, b.customer)
	a.Index = b.g.indexOf(b.customer)
	a.Payload = b.g.sealer.Seal(b.message.Queue, sealedPayload, visit, b.payload)
	return nil
}
