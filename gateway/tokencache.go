package gateway

import "sync"

// tokenCacheHalf bounds the cache: it holds two halves of this many tokens.
const tokenCacheHalf = 8_192

// tokenCache remembers tokens that were verified, so that a signature is
// checked once and not at every request. When the newer half is full it takes
// the place of the older one, which is forgotten: what is in use is put into
// the newer half again.
type tokenCache struct {
	mu    sync.RWMutex
	newer map[string]*Principal
	older map[string]*Principal
}

func newTokenCache() *tokenCache { return &tokenCache{newer: make(map[string]*Principal)} }

func (c *tokenCache) get(token string) *Principal {
	c.mu.RLock()
	who, found := c.newer[token]
	old := c.older[token]
	c.mu.RUnlock()
	if !found && old != nil {
		c.put(token, old)
		return old
	}
	return who
}

func (c *tokenCache) put(token string, who *Principal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.newer) >= tokenCacheHalf {
		c.newer, c.older = make(map[string]*Principal), c.newer
	}
	c.newer[token] = who
}

func (c *tokenCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newer, c.older = make(map[string]*Principal), nil
}
