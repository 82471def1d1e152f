package main

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAgain is how old what is known of the certificate's files may be.
const lookAgain = time.Second

// certificateFiles hold what the node shows its clients. They are read again when
// somebody connects, so that a certificate is renewed without a restart.
type certificateFiles struct {
	files [2]string // certificate, key

	mu     sync.Mutex
	looked time.Time
	text   [2][]byte // of the files, whether or not they fit together
	loaded *tls.Certificate
	said   string // the trouble that was logged last
}

// openCertificate reads PEM files.
func openCertificate(cert, key string) (*certificateFiles, error) {
	c := &certificateFiles{files: [2]string{cert, key}, looked: time.Now()}
	_, err := c.load()
	return c, err
}

// load tells whether the files hold something else than when they were last read.
func (c *certificateFiles) load() (changed bool, err error) {
	var text [2][]byte
	for i, file := range c.files {
		if text[i], err = os.ReadFile(file); err != nil {
			return false, err
		}
	}
	if c.loaded != nil && bytes.Equal(text[0], c.text[0]) && bytes.Equal(text[1], c.text[1]) {
		return false, nil
	}
	c.text = text
	pair, err := tls.X509KeyPair(text[0], text[1])
	if err != nil {
		return false, err
	}
	c.loaded = &pair
	return true, nil
}

// current is the certificate of the files. While these cannot be read or do not
// fit together, as in the middle of a renewal, it is the one before.
func (c *certificateFiles) current(log *slog.Logger) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.looked) < lookAgain {
		return c.loaded
	}
	c.looked = now
	changed, err := c.load()
	switch {
	case changed:
		c.said = ""
		log.Info("the certificate for clients was read again", "until", c.loaded.Leaf.NotAfter)
	case err != nil && err.Error() != c.said:
		c.said = err.Error()
		log.Warn("the certificate for clients cannot be read again; the one before is used", "error", err)
	}
	return c.loaded
}

// tls is what clients are served HTTPS with; nil where they are not.
func (n *Node) tls() *tls.Config {
	c := n.config.Certificate
	if c == nil {
		return nil
	}
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(n.log), nil },
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
	}
}
