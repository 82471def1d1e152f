package gateway

import (
	"net/http"
	"strconv"
)

// Unavailable answers every request of a node that does not serve clients, or not
// yet.
func Unavailable(detail string) http.Handler {
	p := unavailable(detail)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mimeProblem)
		w.Header().Set("Retry-After", strconv.Itoa(p.retrySeconds()))
		w.WriteHeader(p.status())
		_, _ = w.Write(appendProblem(nil, p)) // who has gone needs no answer
	})
}
