package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors"
	"nowserving/gateway/filter"
)

// A dry run says what rules would make of messages, and changes nothing.

const (
	maxDryRun      = 100 // messages of one dry run
	maxDryRunNames = 1_024
)

// dryMessage is a message of a dry run.
type dryMessage struct {
	letter  *DeadLetter // nil where the caller gave the message
	request *ServiceRequest
	problem *problem // it is no request at all
}

func (g *Gateway) testRules(c *fiber.Ctx, who *Principal) error {
	id, view, p := g.rulesCall(c, who)
	if p != nil {
		return p
	}
	wrong := &faults{}
	o := g.body(c, wrong)
	stored, set := o.rules("items")
	given := o.dryMessages(id)
	letters := o.flag("dead_letters")
	limit, _ := o.integer("limit", 1, maxDryRun)
	if limit == 0 {
		limit = maxDryRun
	}
	if letters == (given != nil) {
		o.bad("messages", "either messages or dead_letters must be given")
	}
	if letters && g.options.DeadLetters == nil {
		o.bad("dead_letters", "needs RabbitMQ (--amqp-url)")
	}
	o.close()
	if p := g.checkTargets(c.UserContext(), who, stored, wrong); p != nil {
		return p
	}
	if view.Problem != nil {
		return problemOf(view.Problem)
	}
	if set == nil {
		if set, p = g.savedRules(c, id); p != nil {
			return p
		}
	}
	if letters { // what a rule says of a body tells of its customer
		if p := g.auditFirst(c, who, "dead_letters.read", id, nil); p != nil {
			return p
		}
		if given, p = g.lettersOf(c, id); p != nil {
			return p
		}
	}
	given = given[:min(len(given), int(limit))]
	setVersion(c, view.Version)
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte {
		dst = append(dst, `{"items":[`...)
		for i := range given {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = given[i].appendOutcome(dst, set)
		}
		return append(dst, `]}`...)
	})
}

func (g *Gateway) savedRules(c *fiber.Ctx, id string) (*filter.Set, *problem) {
	row, err := g.rulesOf(c.UserContext(), id)
	if err != nil {
		g.log.WarnContext(c.UserContext(), "the rules of a queue cannot be read", "queue", id, "error", err)
		return nil, unavailable("The rules cannot be read just now.")
	}
	set, err := compileStored(row.Rules)
	if err != nil {
		return nil, g.internal(c.UserContext(), "rules of a queue cannot be used", err)
	}
	return set, nil
}

// dryMessages reads the messages that a dry run is about, nil where they were
// left out.
func (o *object) dryMessages(id string) []dryMessage {
	items := o.objects("messages", maxDryRun)
	if items == nil {
		return nil
	}
	list := make([]dryMessage, len(items))
	for i, item := range items {
		r := &ServiceRequest{Queue: id, Body: item.raw("body")}
		item.require("body")
		for name, to := range map[string]*string{
			"routing_key": &r.RoutingKey, "message_id": &r.MessageID, "type": &r.Type, "source": &r.Source,
		} {
			*to = item.line(name, 0, maxDryRunNames, true)
		}
		if raw := item.raw("headers"); raw != nil && !isNull(raw) && json.Unmarshal(raw, &r.Headers) != nil {
			item.bad("headers", "must be an object")
		}
		item.close()
		list[i] = dryMessage{request: r}
	}
	return list
}

// lettersOf gives the dead letters that named a queue.
func (g *Gateway) lettersOf(c *fiber.Ctx, id string) ([]dryMessage, *problem) {
	all, _, p := g.browse(c.UserContext(), g.options.DeadLetters)
	if p != nil {
		return nil, p
	}
	list := []dryMessage{}
	for i := range all {
		l := &all[i]
		if l.Queue != id {
			continue
		}
		m := dryMessage{letter: l}
		opened, refusal := g.OpenDelivery(&actors.Delivery{
			MessageID: l.MessageID, ContentType: l.ContentType, RoutingKey: l.RoutingKey, Headers: l.Headers, Body: l.Body,
		})
		if m.problem = problemOf(refusal); m.problem == nil {
			m.request = &opened.(*ingested).request
		}
		list = append(list, m)
	}
	return list, nil
}

// appendOutcome writes what would become of the message.
func (m *dryMessage) appendOutcome(dst []byte, set *filter.Set) []byte {
	var d filter.Decision
	p := m.problem
	if p == nil {
		var message *filter.Message
		if message, p = ruleMessage(m.request); p == nil {
			d = set.Decide(message)
			if d.Refused {
				p = newProblem(actors.CodeFiltered, filteredBy(ruleSaid(d)))
			} else if d.Priority == nil {
				own := 0
				if message.Request.Priority != nil {
					own = int(*message.Request.Priority)
				}
				d.Priority = &own
			}
		}
	}
	dst = append(dst, `{"dead_letter":`...)
	if m.letter != nil {
		dst = appendString(dst, m.letter.ID)
	} else {
		dst = append(dst, "null"...)
	}
	id := ""
	if m.request != nil {
		id = m.request.MessageID
	} else if m.letter != nil {
		id = m.letter.MessageID
	}
	dst = appendOptional(append(dst, `,"message_id":`...), id)
	dst = appendOptional(append(dst, `,"rule":`...), d.Rule)
	if p != nil {
		dst = append(dst, `,"outcome":"refused","queue":null,"priority":null,"code":`...)
		dst = appendString(dst, p.Code)
		dst = appendString(append(dst, `,"detail":`...), p.Detail)
		return append(dst, '}')
	}
	dst = appendString(append(dst, `,"outcome":"taken","queue":`...), d.Queue)
	dst = strconv.AppendInt(append(dst, `,"priority":`...), int64(*d.Priority), 10)
	return append(dst, `,"code":null,"detail":null}`...)
}

// filteredBy is the detail of what a rule refuses.
func filteredBy(rule string) string { return "A rule of the queue refuses it: " + rule }
