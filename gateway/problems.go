package gateway

import (
	"net/http"
	"strconv"

	"google.golang.org/grpc/codes"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// The codes that the gateway itself gives; the queue's own are in
// actors/queue/errors.go.
const (
	codeUnauthenticated  = "unauthenticated"
	codeTokenExpired     = "token_expired"
	codeBadCredentials   = "bad_credentials"
	codeTooManyAttempts  = "too_many_attempts"
	codeRateLimited      = "rate_limited"
	codeNotFound         = "not_found"
	codeMethodNotAllowed = "method_not_allowed"
	codeTooLarge         = "too_large"
	codeUserExists       = "user_exists"
	codeLastAdmin        = "last_admin"
	codeInternal         = "internal"
)

// problemKind is what all problems of one code have in common.
type problemKind struct {
	status int
	rpc    codes.Code
	title  string
}

// problemKinds is the one place where a code becomes a status of HTTP or gRPC.
// UNAVAILABLE, which clients send again by themselves, is for what certainly did
// not happen; docs/grpc.md has the table.
var problemKinds = map[string]problemKind{
	codeUnauthenticated:  {http.StatusUnauthorized, codes.Unauthenticated, "Not logged in"},
	codeTokenExpired:     {http.StatusUnauthorized, codes.Unauthenticated, "The token has ended"},
	codeBadCredentials:   {http.StatusUnauthorized, codes.Unauthenticated, "Wrong e-mail address or password"},
	codeTooManyAttempts:  {http.StatusTooManyRequests, codes.ResourceExhausted, "Too many failed logins"},
	codeRateLimited:      {http.StatusTooManyRequests, codes.ResourceExhausted, "Too fast"},
	codeNotFound:         {http.StatusNotFound, codes.NotFound, "Nothing is here"},
	codeMethodNotAllowed: {http.StatusMethodNotAllowed, codes.Unimplemented, "This method is not for this path"},
	codeTooLarge:         {http.StatusRequestEntityTooLarge, codes.InvalidArgument, "Too large"},
	codeUserExists:       {http.StatusConflict, codes.AlreadyExists, "The e-mail address is taken"},
	codeLastAdmin:        {http.StatusConflict, codes.FailedPrecondition, "The last admin"},
	codeInternal:         {http.StatusInternalServerError, codes.Internal, "An internal error"},

	string(queue.Forbidden):            {http.StatusForbidden, codes.PermissionDenied, "Not allowed"},
	string(queue.QueueNotFound):        {http.StatusNotFound, codes.NotFound, "No such queue"},
	string(queue.TicketNotFound):       {http.StatusNotFound, codes.NotFound, "No such ticket"},
	string(queue.Invalid):              {http.StatusUnprocessableEntity, codes.InvalidArgument, "Malformed request"},
	string(queue.PositionOutOfRange):   {http.StatusUnprocessableEntity, codes.OutOfRange, "No such position"},
	string(queue.IdempotencyKeyReused): {http.StatusUnprocessableEntity, codes.InvalidArgument, "The Idempotency-Key was used before"},
	string(queue.VersionMismatch):      {http.StatusPreconditionFailed, codes.Aborted, "The queue has moved on"},
	string(queue.QueueExists):          {http.StatusConflict, codes.AlreadyExists, "The queue exists"},
	string(queue.QueueNotEmpty):        {http.StatusConflict, codes.FailedPrecondition, "The queue is not empty"},
	string(queue.QueueClosed):          {http.StatusConflict, codes.FailedPrecondition, "The queue is closed"},
	string(queue.QueueFull):            {http.StatusConflict, codes.FailedPrecondition, "The queue is full"},
	string(queue.QueuePaused):          {http.StatusConflict, codes.FailedPrecondition, "The queue is paused"},
	string(queue.AttendantBusy):        {http.StatusConflict, codes.FailedPrecondition, "The attendant is busy"},
	string(queue.DeskTaken):            {http.StatusConflict, codes.FailedPrecondition, "The desk is taken"},
	string(queue.TicketNotWaiting):     {http.StatusConflict, codes.FailedPrecondition, "The ticket is not waiting"},
	string(queue.TicketNotActive):      {http.StatusConflict, codes.FailedPrecondition, "The ticket is not active"},
	string(queue.TicketFinished):       {http.StatusConflict, codes.FailedPrecondition, "The ticket is finished"},
	string(queue.Unavailable):          {http.StatusServiceUnavailable, codes.Unavailable, "Unavailable"},
	string(queue.OutcomeUnknown):       {http.StatusServiceUnavailable, codes.Unknown, "Outcome unknown"},
}

// problemTypePrefix makes a problem's type of its code: a name, not a page.
const problemTypePrefix = "urn:nowserving:problem:"

// problem is a refusal after RFC 9457. As an error it ends a handler, and the
// error handler renders it. It holds no customer data.
type problem struct {
	Code   string
	Detail string
	Fields []queue.FieldError
	// retryAfter is in seconds; 0 where the status says enough.
	retryAfter int
	// httpStatus differs from the code's own only for requests that were not
	// even HTTP.
	httpStatus int
	// trace is the id of the request's trace, of faults of this side; see inTrace.
	trace string
}

func (p *problem) Error() string { return p.Code + ": " + p.Detail }

// status is the HTTP status.
func (p *problem) status() int {
	if p.httpStatus != 0 {
		return p.httpStatus
	}
	return p.kind().status
}

func (p *problem) title() string { return p.kind().title }

func (p *problem) kind() problemKind {
	if kind, ok := problemKinds[p.Code]; ok {
		return kind
	}
	return problemKinds[codeInternal]
}

// retrySeconds is the value of Retry-After, 0 for none.
func (p *problem) retrySeconds() int {
	if p.retryAfter == 0 && p.status() == http.StatusServiceUnavailable {
		return 1
	}
	return p.retryAfter
}

func newProblem(code, detail string) *problem { return &problem{Code: code, Detail: detail} }

func refused(err *queue.Error) *problem {
	return &problem{Code: string(err.Code), Detail: err.Detail, Fields: err.Fields}
}

// problemOf turns what a queue answered into a problem; nil for nil.
func problemOf(m *messages.Problem) *problem {
	if m == nil {
		return nil
	}
	p := newProblem(m.Code, m.Detail)
	for _, f := range m.Fields {
		p.Fields = append(p.Fields, queue.FieldError{Field: f.Field, Message: f.Message})
	}
	return p
}

func invalid(fields ...queue.FieldError) *problem {
	return &problem{Code: string(queue.Invalid), Detail: "Some fields are not as they must be.", Fields: fields}
}

func malformed(detail string) *problem { return newProblem(string(queue.Invalid), detail) }

func unavailable(detail string) *problem { return newProblem(string(queue.Unavailable), detail) }

// appendProblem writes a problem as JSON.
func appendProblem(dst []byte, p *problem) []byte {
	dst = append(dst, `{"type":"`+problemTypePrefix...)
	dst = append(dst, p.Code...)
	dst = append(dst, `","title":`...)
	dst = appendString(dst, p.title())
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(p.status()), 10)
	dst = append(dst, `,"detail":`...)
	dst = appendString(dst, p.Detail)
	dst = append(dst, `,"code":"`...)
	dst = append(dst, p.Code...)
	dst = append(dst, '"')
	if p.trace != "" {
		dst = append(dst, `,"trace_id":"`+p.trace+`"`...)
	}
	for i, f := range p.Fields {
		if i == 0 {
			dst = append(dst, `,"errors":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"field":`...)
		dst = appendString(dst, f.Field)
		dst = append(dst, `,"message":`...)
		dst = appendString(dst, f.Message)
		dst = append(dst, '}')
	}
	if len(p.Fields) > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}
