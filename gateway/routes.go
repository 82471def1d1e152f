package gateway

import (
	_ "embed"
	"encoding/json"
	"net/http"

	"github.com/gofiber/fiber/v2"
)

//go:embed openapi.yaml
var openAPI []byte

//go:embed asyncapi.yaml
var asyncAPI []byte

// ticketVerbs are the commands that are POSTed to a ticket, by their last part
// of the path.
var ticketVerbs = map[string]string{
	"move": "move", "call": "call", "recall": "recall", "start": "start", "complete": "complete",
	"hold": "hold", "no-show": "no_show", "requeue": "requeue", "transfer": "transfer",
}

// route says which handler serves which path. openapi.yaml says the same.
func (g *Gateway) route() {
	g.app.Get("/livez", g.livez)
	g.app.Get("/readyz", g.readyz)

	g.routePage(g.app)

	api := g.app.Group("/api/v1")
	api.Get("/openapi.yaml", document(openAPI))
	api.Get("/asyncapi.yaml", document(asyncAPI))
	api.Get("/auth", g.methods)
	api.Get("/auth/oidc", g.beginSignIn)
	api.Get("/auth/oidc/callback", g.endSignIn)
	api.Post("/auth/login", g.login)
	api.Post("/auth/refresh", g.refresh)
	api.Post("/auth/logout", g.authenticated(g.logout))
	api.Get("/me", g.authenticated(g.me))
	api.Get("/ws", g.openSession)
	api.Get("/public/queues/:queue", g.publicQueue)
	api.Post("/public/queues/:queue/tickets", g.checkIn)
	api.Get("/public/tickets/:token", g.publicTicket)
	api.Delete("/public/tickets/:token", g.leaveLine)

	api.Get("/users", g.authenticated(g.listUsers))
	api.Post("/users", g.authenticated(g.createUser))
	api.Get("/users/:user", g.authenticated(g.getUser))
	api.Patch("/users/:user", g.authenticated(g.updateUser))
	api.Delete("/users/:user", g.authenticated(g.deleteUser))

	api.Get("/users/:user/keys", g.authenticated(g.listKeys))
	api.Post("/users/:user/keys", g.authenticated(g.createKey))
	api.Delete("/users/:user/keys/:key", g.authenticated(g.deleteKey))

	api.Get("/webhooks", g.authenticated(g.listWebhooks))
	api.Post("/webhooks", g.authenticated(g.createWebhook))
	api.Get("/webhooks/:webhook", g.authenticated(g.getWebhook))
	api.Patch("/webhooks/:webhook", g.authenticated(g.updateWebhook))
	api.Delete("/webhooks/:webhook", g.authenticated(g.deleteWebhook))
	api.Post("/webhooks/:webhook/secrets", g.authenticated(g.rotateWebhook))
	api.Delete("/webhooks/:webhook/secrets", g.authenticated(g.dropOldSecret))
	api.Post("/webhooks/:webhook/test", g.authenticated(g.testWebhook))
	api.Get("/webhooks/:webhook/dead", g.authenticated(g.listDeadDeliveries))
	api.Post("/webhooks/:webhook/dead/replay", g.authenticated(g.replayDeliveries))
	api.Post("/webhooks/:webhook/dead/:delivery/replay", g.authenticated(g.replayDelivery))

	api.Get("/queues", g.authenticated(g.listQueues))
	api.Post("/queues", g.authenticated(g.createQueue))
	api.Get("/queues/:queue", g.authenticated(g.getQueue))
	api.Patch("/queues/:queue", g.authenticated(g.queueCommand("configure")))
	api.Delete("/queues/:queue", g.authenticated(g.queueCommand("delete")))
	api.Post("/queues/:queue/call-next", g.authenticated(g.ticketCommand("call_next")))

	api.Get("/cluster", g.authenticated(g.getCluster))
	api.Get("/keys", g.authenticated(g.listRingKeys))
	api.Get("/overview", g.authenticated(g.overview))
	api.Get("/queues/:queue/statistics", g.authenticated(g.statistics))
	api.Get("/queues/:queue/rules", g.authenticated(g.getRules))
	api.Put("/queues/:queue/rules", g.authenticated(g.putRules))
	api.Post("/queues/:queue/rules/test", g.authenticated(g.testRules))
	api.Get("/dead-letters", g.authenticated(g.listDeadLetters))
	api.Post("/dead-letters/resend", g.authenticated(g.resendDeadLetters))
	api.Post("/dead-letters/:letter/resend", g.authenticated(g.resendDeadLetter))
	api.Delete("/dead-letters/:letter", g.authenticated(g.deleteDeadLetter))

	api.Get("/queues/:queue/tickets", g.authenticated(g.listTickets))
	api.Post("/queues/:queue/tickets", g.authenticated(g.ticketCommand("enqueue")))
	api.Get("/queues/:queue/tickets/:ticket", g.authenticated(g.getTicket))
	api.Get("/queues/:queue/tickets/:ticket/trail", g.authenticated(g.getTrail))
	api.Get("/queues/:queue/attendants", g.authenticated(g.listAttendants))
	api.Patch("/queues/:queue/tickets/:ticket", g.authenticated(g.ticketCommand("update")))
	api.Delete("/queues/:queue/tickets/:ticket", g.authenticated(g.removeTicket))
	api.Get("/history", g.authenticated(g.listHistory))
	api.Get("/history/:ticket", g.authenticated(g.getHistory))
	api.Post("/erasures", g.authenticated(g.createErasure))
	api.Get("/erasures/:erasure", g.authenticated(g.getErasure))
	api.Post("/exports", g.authenticated(g.exportPerson))
	api.Get("/audit", g.authenticated(g.listAudit))
	for path, command := range ticketVerbs {
		api.Post("/queues/:queue/tickets/:ticket/"+path, g.authenticated(g.ticketCommand(command)))
	}
}

func document(text []byte) fiber.Handler {
	return func(c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentType, "application/yaml")
		c.Set(fiber.HeaderCacheControl, "no-cache")
		return c.Send(text)
	}
}

func (g *Gateway) livez(c *fiber.Ctx) error {
	return g.sendJSON(c, http.StatusOK, func(dst []byte) []byte { return append(dst, `{"status":"ok"}`...) })
}

func (g *Gateway) readyz(c *fiber.Ctx) error {
	ready := g.options.Ready()
	if ready.Down == nil {
		ready.Down = []string{}
	}
	text, err := json.Marshal(ready)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if ready.Status != "ready" {
		status = http.StatusServiceUnavailable
		c.Set(fiber.HeaderRetryAfter, "1")
	}
	return g.sendJSON(c, status, func(dst []byte) []byte { return append(dst, text...) })
}
