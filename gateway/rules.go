package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
	"nowserving/gateway/filter"
	"nowserving/messages"
)

// REST about the rules of a queue.

// rulesCall is what every call about a queue's rules begins with: whether the
// user may, and whether there is such a queue. Who asks looks at the view's
// problem when it has looked at the request.
func (g *Gateway) rulesCall(c *fiber.Ctx, who *Principal) (string, *messages.View, *problem) {
	id := c.Params("queue")
	p := who.may(ConfigureQueue, id)
	if p != nil && p.Code == string(queue.QueueNotFound) {
		return id, nil, p
	}
	view := g.queues.Read(c.UserContext(), &messages.Read{Queue: id})
	if view.Problem.GetCode() == string(queue.QueueNotFound) {
		return id, nil, problemOf(view.Problem)
	}
	return id, view, p
}

func (g *Gateway) getRules(c *fiber.Ctx, who *Principal) error {
	id, view, p := g.rulesCall(c, who)
	if p == nil {
		p = problemOf(view.Problem)
	}
	if p != nil {
		return p
	}
	row, err := g.rulesOf(c.UserContext(), id)
	if err != nil {
		g.log.WarnContext(c.UserContext(), "the rules of a queue cannot be read", "queue", id, "error", err)
		return unavailable("The rules cannot be read just now.")
	}
	return g.sendRules(c, view.Version, row)
}

// rulesOf asks the store, so that what was saved through any node is seen.
func (g *Gateway) rulesOf(ctx context.Context, id string) (RuleRow, error) {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	row, err := g.options.Rules.store.Rules(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return RuleRow{Queue: id, Rules: json.RawMessage("[]")}, nil
	}
	return row, err
}

func (g *Gateway) sendRules(c *fiber.Ctx, version uint64, row RuleRow) error {
	setVersion(c, version)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"revision":`...)
		dst = strconv.AppendUint(dst, row.Revision, 10)
		dst = append(dst, `,"items":`...)
		return append(append(dst, row.Rules...), '}')
	})
}

func (g *Gateway) putRules(c *fiber.Ctx, who *Principal) error {
	id, view, p := g.rulesCall(c, who)
	if p != nil {
		return p
	}
	wrong := &faults{}
	o := g.body(c, wrong)
	o.require("items")
	stored, _ := o.rules("items")
	var expected *uint64
	if n, given := o.integer("revision", 0, 1<<62); given {
		revision := uint64(n)
		expected = &revision
	}
	ifMatch := ifMatchOf(c, wrong)
	o.close()
	if p := g.checkTargets(c.UserContext(), who, stored, wrong); p != nil {
		return p
	}
	if view.Problem != nil {
		return problemOf(view.Problem)
	}
	if ifMatch != nil && *ifMatch != view.Version {
		return refused(queue.ErrVersionMismatch)
	}
	text, err := encodeRules(stored)
	if err != nil {
		return g.internal(c.UserContext(), "encoding rules", err)
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), directoryTimeout)
	defer cancel()
	row, err := g.options.Rules.store.PutRules(ctx, RuleRow{
		Queue: id, QueueVersion: view.Version, Rules: text, UpdatedBy: who.UserID,
	}, expected)
	switch {
	case errors.Is(err, ErrStale):
		return newProblem(string(queue.VersionMismatch), "The rules have changed since the revision that you name.")
	case err != nil:
		g.log.WarnContext(c.UserContext(), "the rules of a queue cannot be saved", "queue", id, "error", err)
		g.audit(c, who, "rules.replaced", id, map[string]any{"outcome": "unknown"})
		return newProblem(string(queue.OutcomeUnknown), "It is not known whether the rules were saved. Send them again.")
	}
	g.audit(c, who, "rules.replaced", id, map[string]any{"revision": row.Revision, "rules": len(stored)})
	g.options.Rules.learn(row)
	return g.sendRules(c, view.Version, row)
}

// ifMatchOf reads the header as a command's is read.
func ifMatchOf(c *fiber.Ctx, wrong *faults) *uint64 {
	tag := metaOf(c).ifMatch
	if tag == nil {
		return nil
	}
	version, ok := parseETag(*tag)
	if !ok {
		wrong.add("If-Match", `must be one version in double quotes, such as "118"`)
	}
	return &version
}

// rules gives a list of rules that are as they must be but for the queues that
// they name, nil where it was left out; found is what it compiles to.
func (o *object) rules(name string) (stored []storedRule, set *filter.Set) {
	items := o.objects(name, filter.MaxRules)
	if items == nil {
		return nil, nil
	}
	stored = make([]storedRule, len(items))
	seen := make(map[string]bool, len(items))
	before := len(o.wrong.fields)
	for i, item := range items {
		stored[i] = item.rule()
		if n := stored[i].Name; n != "" && seen[n] {
			item.bad("name", "is another rule's too")
		}
		seen[stored[i].Name] = true
	}
	if len(o.wrong.fields) > before || o.wrong.refusal != nil {
		return stored, nil
	}
	set, found := filter.Compile(rulesOf(stored))
	for _, f := range found {
		o.bad(fmt.Sprintf("%s[%d].%s", name, f.Rule, f.Field), f.Message)
	}
	return stored, set
}

// rule reads one rule.
func (o *object) rule() storedRule {
	r := storedRule{Name: o.line("name", 1, filter.MaxName, false), Priority: json.RawMessage("null")}
	if s := o.text("when", 1, filter.MaxExpression, false); s != nil {
		r.When = *s
	}
	if s := o.text("action", 1, maxNamed, false); s != nil {
		if r.Action = filter.Action(*s); r.Action != filter.Take && r.Action != filter.Refuse {
			o.bad("action", "must be take or refuse")
		}
	}
	o.require("name", "when", "action")
	if r.Queue = o.text("queue", 1, maxNamed, true); r.Queue != nil && !queue.ID(*r.Queue).Valid() {
		o.bad("queue", "must be a queue's id")
	}
	switch raw := o.raw("priority"); {
	case raw == nil || isNull(raw):
	case raw[0] == '"':
		if s := o.text("priority", 1, filter.MaxExpression, false); s != nil {
			r.Priority, _ = json.Marshal(*s)
		}
	default:
		if n, given := o.integer("priority", 0, filter.MaxPriority); given {
			r.Priority = strconv.AppendInt(nil, n, 10)
		}
	}
	if r.Action == filter.Refuse && (r.Queue != nil || !isNull(r.Priority)) {
		o.bad("action", "refuse goes without queue and priority")
	}
	o.close()
	return r
}

// objects gives a list of objects, nil where it was left out.
func (o *object) objects(name string, most int) []*object {
	raw := o.raw(name)
	if raw == nil {
		return nil
	}
	if raw[0] != '[' {
		o.bad(name, "must be a list of objects")
		return nil
	}
	list := []*object{}
	for i := skipSpace(raw, 1); raw[i] != ']'; {
		if raw[i] == ',' {
			i = skipSpace(raw, i+1)
		}
		end := skipValue(raw, i)
		at := fmt.Sprintf("%s[%d]", name, len(list))
		switch {
		case len(list) == most:
			o.bad(name, fmt.Sprintf("must be at most %d", most))
			return list
		case raw[i] != '{':
			o.bad(at, "must be an object")
			return list
		}
		list = append(list, o.wrong.open(raw[i:end], o.prefix+at+"."))
		i = skipSpace(raw, end)
	}
	return list
}

// checkTargets refuses, beside what was found wrong before, rules into queues
// that are not there, or that the user may not see, which is the same to it.
func (g *Gateway) checkTargets(ctx context.Context, who *Principal, stored []storedRule, wrong *faults) *problem {
	if p := wrong.problem(); p != nil {
		return p
	}
	there := make(map[string]bool)
	for i, r := range stored {
		if r.Queue == nil {
			continue
		}
		known, asked := there[*r.Queue]
		if !asked {
			var p *problem
			if known, p = g.thereIs(ctx, who, *r.Queue); p != nil {
				return p
			}
			there[*r.Queue] = known
		}
		if !known {
			wrong.add(fmt.Sprintf("items[%d].queue", i), "there is no such queue")
		}
	}
	return wrong.problem()
}

func (g *Gateway) thereIs(ctx context.Context, who *Principal, id string) (bool, *problem) {
	if !who.sees(id) {
		return false, nil
	}
	view := g.queues.Read(ctx, &messages.Read{Queue: id})
	if view.Problem.GetCode() == string(queue.QueueNotFound) {
		return false, nil
	}
	return true, problemOf(view.Problem)
}
