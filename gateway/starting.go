package gateway

import (
	"net/http"
	"strconv"
)

// Starting answers every request of a node that has not started yet.
func Starting() http.Handler {
	p := unavailable("The node is starting. Nothing was changed.")
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mimeProblem)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", strconv.Itoa(p.retrySeconds()))
		w.WriteHeader(p.status())
		_, _ = w.Write(appendProblem(nil, p)) // who has gone needs no answer
	})
}
