package gateway

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The page loads nothing from elsewhere and has no script or style in its text,
// so that its policy can stay strict.
func TestPage(t *testing.T) {
	e := startLive(t)
	for _, p := range pages {
		r, err := http.Get("http://" + e.addr + p.path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != p.kind {
			t.Errorf("%s: %d, %s", p.path, r.StatusCode, r.Header.Get("Content-Type"))
		}
		if policy := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", p.path, policy)
		}
	}
	html, err := pageFiles.ReadFile("page/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script[^>]*>\s*[^<\s]|https?://`).Find(html); found != nil {
		t.Errorf("the page holds %q", found)
	}
}
