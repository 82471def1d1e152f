package load

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/valyala/fasthttp"
)

// Conn is one keep-alive HTTP/1.1 connection for one goroutine. It uses fasthttp's request and response without its
// client: no pool, no lock, and no silent retry that would hide an error or send a command twice.
type Conn struct {
	addr    string
	tls     *tls.Config
	timeout time.Duration
	c       net.Conn
	r       *bufio.Reader
	w       *bufio.Writer
}

// NewConn prepares a connection to the host of base ("http://127.0.0.1:8080"); it is opened by the first Do. insecure
// accepts any certificate.
func NewConn(base string, insecure bool) (*Conn, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("url %q: want http(s)://host:port", base)
	}
	c := &Conn{addr: u.Host, timeout: 15 * time.Second}
	port := "80"
	if u.Scheme == "https" {
		c.tls, port = &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: insecure}, "443"
	}
	if u.Port() == "" {
		c.addr = net.JoinHostPort(u.Hostname(), port)
	}
	return c, nil
}

// Do sends req and waits for its answer. After an error the next Do opens the connection anew.
func (c *Conn) Do(req *fasthttp.Request, resp *fasthttp.Response) error {
	if c.c == nil {
		if err := c.open(); err != nil {
			return err
		}
	}
	err := c.exchange(req, resp)
	if err != nil || resp.ConnectionClose() {
		c.Close()
	}
	return err
}

func (c *Conn) exchange(req *fasthttp.Request, resp *fasthttp.Response) error {
	if err := c.c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	if err := req.Write(c.w); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	return resp.Read(c.r)
}

func (c *Conn) open() error {
	dialer := &net.Dialer{Timeout: c.timeout}
	var conn net.Conn
	var err error
	if c.tls != nil {
		conn, err = tls.DialWithDialer(dialer, "tcp", c.addr, c.tls)
	} else {
		conn, err = dialer.Dial("tcp", c.addr)
	}
	if err != nil {
		return err
	}
	c.c, c.r, c.w = conn, bufio.NewReaderSize(conn, 8<<10), bufio.NewWriterSize(conn, 4<<10)
	return nil
}

// Close closes the connection, if it is open.
func (c *Conn) Close() {
	if c.c != nil {
		_ = c.c.Close()
		c.c = nil
	}
}
