package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Credentials are this node's certificate and the authority that signs those of
// all nodes. Whoever has a certificate of that authority is a node, whatever
// name is in it: nodes come and go at addresses that nobody knew before.
//
// The files are read again when they have changed, so that certificates, and the
// authority, are renewed without a restart.
type Credentials struct {
	files [3]string // certificate, key, authority

	mu     sync.Mutex
	stamps [3]os.FileInfo // of when they were read last, with success or not
	loaded *loadedCredentials
	said   string // the trouble that was logged last
}

type loadedCredentials struct {
	certificate tls.Certificate
	authority   *x509.CertPool
}

// LoadCredentials reads PEM files. The certificate must be one that other nodes
// accept now.
func LoadCredentials(certificate, key, authority string) (*Credentials, error) {
	c := &Credentials{files: [3]string{certificate, key, authority}}
	if _, err := c.changed(); err != nil {
		return nil, err
	}
	var err error
	c.loaded, err = c.load()
	return c, err
}

func (c *Credentials) load() (*loadedCredentials, error) {
	certificate, err := tls.LoadX509KeyPair(c.files[0], c.files[1])
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(c.files[2])
	if err != nil {
		return nil, err
	}
	l := &loadedCredentials{certificate: certificate, authority: x509.NewCertPool()}
	if !l.authority.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: it holds no certificate", c.files[2])
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := l.verify(certificate.Leaf, certificate.Certificate[1:], use); err != nil {
			return nil, fmt.Errorf("%s: %w", c.files[0], err)
		}
	}
	return l, nil
}

// verify holds a certificate against the authority.
func (l *loadedCredentials) verify(leaf *x509.Certificate, others [][]byte, use x509.ExtKeyUsage) error {
	options := x509.VerifyOptions{
		Roots: l.authority, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{use}, CurrentTime: time.Now(),
	}
	for _, der := range others {
		if other, err := x509.ParseCertificate(der); err == nil {
			options.Intermediates.AddCert(other)
		}
	}
	_, err := leaf.Verify(options)
	return err
}

// changed tells whether a file is another one than when it was looked at last.
func (c *Credentials) changed() (bool, error) {
	changed, stamps := false, c.stamps
	for i, file := range c.files {
		stamp, err := os.Stat(file)
		if err != nil {
			return false, err
		}
		was := c.stamps[i]
		if was == nil || !os.SameFile(was, stamp) || !was.ModTime().Equal(stamp.ModTime()) || was.Size() != stamp.Size() {
			stamps[i], changed = stamp, true
		}
	}
	c.stamps = stamps
	return changed, nil
}

// current are the files' contents. While these do not fit together, as in the
// middle of a renewal, it is what was there before.
func (c *Credentials) current(log *slog.Logger) *loadedCredentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, err := c.changed()
	if changed {
		var l *loadedCredentials
		if l, err = c.load(); err == nil {
			c.loaded, c.said = l, ""
			log.Info("the certificate for other nodes was read again", "until", l.certificate.Leaf.NotAfter)
		}
	}
	if err != nil && err.Error() != c.said {
		c.said = err.Error()
		log.Warn("the certificate for other nodes cannot be read again; the one before is used", "error", err)
	}
	return c.loaded
}

// Until is when the certificate ends.
func (c *Credentials) Until(log *slog.Logger) time.Time {
	return c.current(log).certificate.Leaf.NotAfter
}

// Server is for the connections of other nodes.
func (c *Credentials) Server(log *slog.Logger) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			l := c.current(log)
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{l.certificate},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: l.authority,
			}, nil
		},
	}
}

// Client is for connections to other nodes.
func (c *Credentials) Client(log *slog.Logger) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &c.current(log).certificate, nil
		},
		// The authority may change, and the name does not matter: VerifyConnection
		// does what is needed.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("cluster: the other node shows no certificate")
			}
			others := make([][]byte, 0, len(s.PeerCertificates)-1)
			for _, other := range s.PeerCertificates[1:] {
				others = append(others, other.Raw)
			}
			return c.current(log).verify(s.PeerCertificates[0], others, x509.ExtKeyUsageServerAuth)
		},
	}
}
