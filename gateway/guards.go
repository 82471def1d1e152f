package gateway

import "net/http"

// year is how long a browser is to reach this host over TLS alone, once it has.
const year = "max-age=31536000"

// guards set what keeps a browser from making more of an answer than it is:
// nothing runs in it, frames it, guesses its type or keeps it, and no other
// site gets it or is told of it. The page alone loosens its policy.
func guards(set func(name, value string), overTLS bool) {
	set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	set("X-Frame-Options", "DENY") // the same, for old browsers
	set("X-Content-Type-Options", "nosniff")
	set("Referrer-Policy", "no-referrer") // a ticket's token stands in its address
	set("Cross-Origin-Resource-Policy", "same-origin")
	set("Cross-Origin-Opener-Policy", "same-origin")
	set("Cache-Control", "no-store")
	if overTLS {
		set("Strict-Transport-Security", year)
	}
}

// Guarded does the same for a handler that answers in the gateway's place.
func Guarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guards(w.Header().Set, r.TLS != nil)
		h.ServeHTTP(w, r)
	})
}
