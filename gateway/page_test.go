package gateway

import (
	"compress/gzip"
	"io"
	"net/http"
	"path"
	"regexp"
	"strings"
	"testing"
)

// The pages load nothing from elsewhere and have no script or style in their
// text, so that their policy can stay strict; each file comes as what it is, and
// compressed to who takes that.
func TestPage(t *testing.T) {
	t.Parallel()
	e := startLive(t)
	kinds := map[string]string{
		".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
		".webmanifest": "application/manifest+json", ".png": "image/png", "": "text/html; charset=utf-8",
	}
	for p, f := range pageFilesByPath() {
		for _, encoding := range []string{"identity", "gzip", "br"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.addr+strings.Replace(p, ":queue", "post", 1), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept-Encoding", encoding)
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			var body io.Reader = answer.Body
			got := answer.Header.Get("Content-Encoding")
			if got == "gzip" {
				if body, err = gzip.NewReader(body); err != nil {
					t.Fatal(p, err)
				}
			}
			text, err := io.ReadAll(body)
			_ = answer.Body.Close()
			switch {
			case err != nil:
				t.Fatal(p, err)
			case answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != kinds[path.Ext(p)] || kinds[path.Ext(p)] == "":
				t.Errorf("%s: %d, %s", p, answer.StatusCode, answer.Header.Get("Content-Type"))
			case encoding == "identity" && got != "" || encoding != "identity" && got != encoding:
				t.Errorf("%s: asked for %s, got %q", p, encoding, got)
			case got != "br" && string(text) != string(f.plain):
				t.Errorf("%s: another text came", p)
			}
			if policy := answer.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: policy %q", p, policy)
			}
			if cache := answer.Header.Get("Cache-Control"); strings.HasPrefix(p, "/assets/") != (cache == keepAlways) {
				t.Errorf("%s: %s", p, cache)
			}
		}
	}
	html := pageFilesByPath()["/"].plain
	if found := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script[^>]*>\s*[^<\s]|https?://`).Find(html); found != nil {
		t.Errorf("the page holds %q", found)
	}
}
