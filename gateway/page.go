package gateway

import (
	"embed"
	"io/fs"
	"mime"
	"path"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// The pages that a browser finds here, as `npm run build` in web/ makes them.
//
//go:embed page
var pageFiles embed.FS

// pagePaths are where the one page stands; which of its parts is shown there,
// web/src/pages.ts says.
var pagePaths = []string{
	"/", "/console", "/display", "/checkin/:queue", "/ticket", "/supervisor", "/supervisor/history", "/supervisor/queues/:queue",
	"/admin", "/admin/queues", "/admin/queues/:queue", "/admin/users", "/admin/users/:user", "/admin/cluster", "/admin/dead-letters",
	"/admin/audit", "/admin/people", "/admin/webhooks", "/admin/webhooks/:webhook",
}

// pagePolicy lets the pages load nothing but what this host serves, from files:
// no script or style that somebody could slip into their text runs. The
// trusted types are for the framework's own templates, and for the address of
// the worker that shows a ticket's messages.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html notify"

const (
	keepAlways = "public, max-age=31536000, immutable" // a file whose name changes with its text
	keepNot    = "no-cache"                            // a newer program has newer pages
)

// pageKinds are types that not every machine's list of them has.
var pageKinds = map[string]string{".js": "text/javascript; charset=utf-8", ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml"}

// pageFile is a file of the pages, as it is and, from when it was first asked
// for, compressed.
type pageFile struct {
	kind, cache  string
	plain        []byte
	gzip, brotli func() []byte
}

func readPageFile(name string) *pageFile {
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is part of the program
	}
	f := &pageFile{kind: pageKinds[path.Ext(name)], cache: keepNot, plain: text}
	if f.kind == "" {
		f.kind = mime.TypeByExtension(path.Ext(name))
	}
	if strings.HasPrefix(name, "assets/") {
		f.cache = keepAlways
	}
	f.gzip = sync.OnceValue(func() []byte { return fasthttp.AppendGzipBytesLevel(nil, text, fasthttp.CompressBestCompression) })
	f.brotli = sync.OnceValue(func() []byte {
		return fasthttp.AppendBrotliBytesLevel(nil, text, fasthttp.CompressBrotliBestCompression)
	})
	return f
}

// pageFilesByPath are read once for all gateways of a process.
var pageFilesByPath = sync.OnceValue(func() map[string]*pageFile {
	found := map[string]*pageFile{}
	err := fs.WalkDir(pageFiles, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f := readPageFile(strings.TrimPrefix(name, "page/"))
		if name != "page/index.html" {
			found[strings.TrimPrefix(name, "page")] = f
			return nil
		}
		for _, p := range pagePaths {
			found[p] = f
		}
		return nil
	})
	if err != nil {
		panic(err) // it is part of the program
	}
	return found
})

func (f *pageFile) send(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentSecurityPolicy, pagePolicy)
	c.Set(fiber.HeaderCacheControl, f.cache)
	c.Set(fiber.HeaderContentType, f.kind)
	c.Set(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
	switch accepts := &c.Context().Request.Header; {
	case accepts.HasAcceptEncoding("br"):
		c.Set(fiber.HeaderContentEncoding, "br")
		return c.Send(f.brotli())
	case accepts.HasAcceptEncoding("gzip"):
		c.Set(fiber.HeaderContentEncoding, "gzip")
		return c.Send(f.gzip())
	}
	return c.Send(f.plain)
}

// routePage serves the pages.
func (g *Gateway) routePage(app *fiber.App) {
	for p, f := range pageFilesByPath() {
		app.Get(p, f.send)
	}
}
