package gateway

import (
	"embed"

	"github.com/gofiber/fiber/v2"
)

// The plain page that a browser finds at /, as it is: no step makes it.
//
//go:embed page
var pageFiles embed.FS

// pageFile says what is served where, and as what.
type pageFile struct{ path, name, kind string }

var pages = []pageFile{
	{"/", "page/index.html", "text/html; charset=utf-8"},
	{"/page/page.js", "page/page.js", "text/javascript; charset=utf-8"},
	{"/page/icon.svg", "page/icon.svg", "image/svg+xml"},
	{"/page/page.css", "page/page.css", "text/css; charset=utf-8"},
}

// pagePolicy lets the page load nothing but what this host serves, from files:
// no script or style that somebody could slip into its text runs.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// routePage serves the page.
func (g *Gateway) routePage(app *fiber.App) {
	for _, p := range pages {
		text, err := pageFiles.ReadFile(p.name)
		if err != nil {
			panic(err) // it is part of the program
		}
		app.Get(p.path, func(c *fiber.Ctx) error {
			c.Set(fiber.HeaderContentSecurityPolicy, pagePolicy)
			c.Set(fiber.HeaderCacheControl, "no-cache") // a newer program has a newer page
			c.Set(fiber.HeaderContentType, p.kind)
			return c.Send(text)
		})
	}
}
