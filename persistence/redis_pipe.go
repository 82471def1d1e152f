package persistence

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
)

// redisPipe is one connection on which calls go out as they come, without
// waiting for the answers to those before: while Redis syncs its file, what
// comes next lies ready for it already. Redis carries out the commands of one
// connection in order, so the appends of a queue, which all go over the same
// pipe, happen in the order in which they were put into its line.
//
// The calls' line has one writer, which also connects; each connection has one
// reader. What was sent on a connection that broke is of unknown fate.
type redisPipe struct {
	keys    redisKeys
	options *redis.Options
	timeout time.Duration
	calls   *callLine

	reload atomic.Bool // Redis was found to have forgotten the scripts
	leave  atomic.Bool // Redis was found to be a replica: another one may be at its address now

	again func()     // told of each connection but the first
	lives int        // connections that there were
	live  *redisConn // the writer's; nil where there is none
	buf   []byte
}

// redisConn is one life of a pipe's connection.
type redisConn struct {
	net.Conn
	pipe    *redisPipe
	in      *bufio.Reader
	sent    chan *journalCall // whose answers are awaited, in order
	closed  sync.Once
	broken  chan struct{} // closed by whoever finds it broken, the writer or the reader
	reading sync.WaitGroup

	mu      sync.Mutex
	leaving bool      // nothing more is sent
	waiting int       // calls that were sent and are not answered
	since   time.Time // when the oldest of them may have been sent, or an answer came last
}

const (
	maxSent   = 4_096 // calls on their way; beyond it the writer waits
	maxBuffer = 1 << 20
)

var errBroken = errors.New("the connection to redis broke")

func startRedisPipe(keys redisKeys, options *redis.Options, timeout time.Duration, again func()) *redisPipe {
	p := &redisPipe{keys: keys, options: options, timeout: timeout, again: again, calls: newCallLine()}
	p.calls.start(p.write)
	return p
}

// close ends the pipe when all that was sent has been answered.
func (p *redisPipe) close() {
	p.calls.stop()
	p.drop()
}

// drop gives the connection up, after its last answers.
func (p *redisPipe) drop() {
	if p.live == nil {
		return
	}
	p.live.leave()
	p.live = nil
}

// write sends a batch of calls. Every one is answered: here where it was not
// sent, else by the reader.
func (p *redisPipe) write(batch []*journalCall) {
	conn, err := p.connected()
	if err != nil {
		for _, c := range batch {
			c.answer(unavailable(err))
		}
		return
	}
	p.buf = p.buf[:0]
	if p.reload.Swap(false) {
		batch = slices.Insert(batch, 0, &journalCall{kind: callLoad, done: func(error) {}})
	}
	for _, c := range batch {
		p.buf = p.keys.appendCall(p.buf, c)
	}
	conn.await(len(batch))
	for _, c := range batch { // before they are sent: the answers may be quicker than this goroutine
		conn.sent <- c
	}
	_ = conn.SetWriteDeadline(time.Now().Add(p.timeout))
	if _, err := conn.Write(p.buf); err != nil {
		conn.breakOff()
	}
	if cap(p.buf) > maxBuffer {
		p.buf = nil
	}
}

// connected gives the connection, made anew where the last one broke.
func (p *redisPipe) connected() (*redisConn, error) {
	if p.leave.Swap(false) {
		p.drop()
	}
	if p.live != nil {
		select {
		case <-p.live.broken:
			p.drop()
		default:
			return p.live, nil
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.options.DialTimeout+p.timeout)
	defer cancel()
	conn, err := p.options.Dialer(ctx, p.options.Network, p.options.Addr)
	if err != nil {
		return nil, err
	}
	c := &redisConn{
		Conn: conn, pipe: p, in: bufio.NewReaderSize(conn, 64<<10),
		sent: make(chan *journalCall, maxSent), broken: make(chan struct{}),
	}
	if err := c.greet(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	c.reading.Go(c.read)
	p.live = c
	if p.lives++; p.lives > 1 {
		p.again()
	}
	return c, nil
}

// greet logs in, chooses the database and makes the scripts known, which a
// Redis that was restarted has forgotten.
func (c *redisConn) greet() error {
	o, replies := c.pipe.options, 0
	var b []byte
	command := func(words ...string) {
		b = respCommand(b, len(words))
		for _, w := range words {
			b = respWord(b, w)
		}
		replies++
	}
	switch {
	case o.Username != "":
		command("auth", o.Username, o.Password)
	case o.Password != "":
		command("auth", o.Password)
	}
	if o.DB != 0 {
		command("select", fmt.Sprint(o.DB))
	}
	b = appendLoad(b)
	replies += loadReplies
	_ = c.SetDeadline(time.Now().Add(c.pipe.timeout))
	if _, err := c.Write(b); err != nil {
		return err
	}
	for range replies {
		reply, err := readReply(c.in)
		if err != nil {
			return err
		}
		if refused, ok := reply.(redisReply); ok {
			return refused
		}
	}
	return nil
}

// await notes that n calls are being sent.
func (c *redisConn) await(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == 0 {
		c.extend()
	}
	c.waiting += n
}

// extend gives the oldest call under way, or the next one, the whole timeout.
func (c *redisConn) extend() {
	c.since = time.Now()
	_ = c.SetReadDeadline(c.since.Add(c.pipe.timeout))
}

func (c *redisConn) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
	if c.in.Buffered() == 0 { // once for all answers that came together
		c.extend()
	}
}

// over tells, before a read and after one that timed out, whether nothing is to
// be read any more: an answer is overdue, or the last one has come.
func (c *redisConn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.waiting == 0 && c.leaving:
		return true
	case c.waiting > 0 && time.Since(c.since) >= c.pipe.timeout:
		return true
	case c.waiting == 0:
		c.extend()
	default:
		_ = c.SetReadDeadline(c.since.Add(c.pipe.timeout))
	}
	return false
}

// leave makes the reader end when every call has been answered. Nothing is
// sent afterwards.
func (c *redisConn) leave() {
	close(c.sent)
	c.mu.Lock()
	c.leaving = true
	_ = c.SetReadDeadline(time.Now()) // wakes it
	c.mu.Unlock()
	c.reading.Wait()
}

func (c *redisConn) breakOff() {
	c.closed.Do(func() {
		close(c.broken)
		_ = c.Close()
	})
}

// read gives every call that was sent its answer. It listens when none is
// awaited, too, and so sees at once that Redis has gone.
func (c *redisConn) read() {
	err := c.readAnswers()
	c.breakOff()
	for call := range c.sent { // until the writer has seen it
		call.broken(err)
	}
}

func (c *redisConn) readAnswers() error {
	for {
		if err := c.listen(); err != nil {
			return err
		}
		select {
		case call := <-c.sent:
			if call == nil {
				return errBroken // an answer after the last one
			}
			if err := c.take(call); err != nil {
				return err
			}
		default:
			return errProtocol // nobody asked
		}
	}
}

// listen waits for the first byte of an answer.
func (c *redisConn) listen() error {
	for c.in.Buffered() == 0 {
		if _, err := c.in.Peek(1); err == nil {
			return nil
		} else if !errors.Is(err, os.ErrDeadlineExceeded) || c.over() {
			return fmt.Errorf("%w: %w", errBroken, err)
		}
	}
	return nil
}

// take reads a call's answer, whose first byte is there.
func (c *redisConn) take(call *journalCall) error {
	var answer any
	for range replies[call.kind] {
		reply, err := readReply(c.in)
		if err != nil {
			call.broken(err)
			return err
		}
		if _, failed := answer.(redisReply); !failed {
			answer = reply // the first error counts: a queue that is not listed must not get events
		}
	}
	c.answered()
	if refused, ok := answer.(redisReply); ok && isNoScript(refused) {
		c.pipe.reload.Store(true)
		call.state.Store(callWaiting) // certainly not done
		c.pipe.calls.put(call)
		return nil
	} else if ok && redis.HasErrorPrefix(refused, "READONLY") {
		c.pipe.leave.Store(true)
	}
	call.answer(call.verdict(answer))
	return nil
}

// verdict turns Redis's answer into the call's.
func (c *journalCall) verdict(reply any) error {
	if refused, ok := reply.(redisReply); ok {
		if c.changesNothing() {
			return unavailable(refused)
		}
		return writeError(refused)
	}
	switch c.kind {
	case callOwns:
		return c.ownsHead(reply)
	case callClaim:
		head, err := decodeHead(c.queue, reply)
		c.head = head
		return err
	case callLoad, callProbe:
		return nil
	default:
		return verdict(c.queue, reply)
	}
}

// changesNothing: where it fails, it certainly did nothing.
func (c *journalCall) changesNothing() bool { return c.kind == callOwns || c.kind == callProbe }

// broken answers a call whose reply does not come any more.
func (c *journalCall) broken(err error) {
	if c.changesNothing() {
		c.answer(unavailable(err))
	} else {
		c.answer(unknown(err))
	}
}

// ownsHead checks a head against what the owner knows of it.
func (c *journalCall) ownsHead(reply any) error {
	head, _ := reply.(string)
	if len(head) < ownerAndOp || head[:len(c.owner)] != string(c.owner[:]) {
		return fmt.Errorf("%w: queue %s", queue.ErrFenced, c.queue)
	}
	version, err := parseHead(c.queue, head)
	if err == nil && version < c.at {
		err = gapAt(c.queue, version)
	}
	return err
}
