package gateway

import (
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"nowserving/actors/queue"
	"nowserving/messages"
)

// The history as CSV (RFC 4180).

// Bounds of an export. At any time it holds one page and one piece of text.
const (
	exportPage  = 250
	exportPiece = 32 << 10
)

// historyColumns are a ticket's fields by their names in JSON, in its order.
var historyColumns = strings.Split("id,queue,number,state,position,priority,service,customer,payload,source,visit,"+
	"attendant,desk,calls,enqueued_at,called_at,started_at,finished_at,transferred_from,transferred_to,reason,outcome", ",")

// exportHistory answers with all rows that fit, as they are read. The first page
// is read before anything is answered, so that a refusal can still be one.
func (g *Gateway) exportHistory(c *fiber.Ctx, who *Principal, r *historyRequest) error {
	e := &export{
		g: g, who: who, ctx: c.UserContext(), conn: c.Context().Conn(), filter: r.filter, next: r.after, left: r.limit, bounded: r.limit > 0,
	}
	p := e.read()
	if p == nil {
		p = g.auditHistory(c, who, "history.exported", r)
	}
	if p != nil {
		return p
	}
	e.text = append([]byte(strings.Join(historyColumns, ",")), "\r\n"...)
	c.Set(fiber.HeaderContentType, "text/csv; charset=utf-8; header=present")
	c.Set(fiber.HeaderContentDisposition, `attachment; filename="history.csv"`)
	c.Context().SetBodyStream(e, -1)
	return nil
}

// export is the body of such an answer. The server reads it as fast as the
// client takes it, and no more once the client has gone.
type export struct {
	g       *Gateway
	who     *Principal
	ctx     context.Context
	conn    net.Conn
	filter  HistoryFilter
	rows    []HistoryRow
	next    *HistoryPlace // where the page after rows begins; nil: there is none
	left    int           // rows to be read yet
	bounded bool          // left counts
	text    []byte        // what the server has not taken yet
}

// read reads the next page, for as long as there is access.
func (e *export) read() (p *problem) {
	if e.g.auth.ended.has(e.who) {
		return unauthenticated()
	}
	limit := exportPage
	if e.bounded {
		limit = min(limit, e.left)
	}
	if e.rows, e.next, p = e.g.historyPage(e.ctx, e.filter, e.next, limit); p != nil {
		return p
	}
	if e.left -= len(e.rows); e.bounded && e.left == 0 {
		e.next = nil
	}
	return nil
}

// Read gives the next of the text. Where the history cannot be read any more it
// fails, and the server cuts the connection: what ends otherwise is whole.
func (e *export) Read(p []byte) (int, error) {
	if len(e.text) == 0 {
		if err := e.write(); err != nil {
			return 0, err
		}
	}
	n := copy(p, e.text)
	e.text = e.text[n:]
	return n, nil
}

// write makes a piece of text. The server bounds the time of a whole answer;
// here each piece has as much.
func (e *export) write() error {
	for len(e.rows) == 0 {
		if e.next == nil {
			return io.EOF
		}
		if p := e.read(); p != nil {
			return p
		}
	}
	if err := e.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	e.text = e.text[:0]
	for len(e.rows) > 0 && len(e.text) < exportPiece {
		e.text = e.g.appendHistoryRecord(e.text, &e.rows[0])
		e.rows = e.rows[1:]
	}
	return nil
}

// appendHistoryRecord writes a row in the order of historyColumns. What is null
// in JSON is an empty cell; customer and payload are JSON.
func (r *renderer) appendHistoryRecord(dst []byte, row *HistoryRow) []byte {
	t := row.Ticket
	visit := visitOf(t)
	dst = appendCellID(dst, t.Id)
	dst = appendCellText(dst, row.Queue)
	dst = appendCellText(dst, t.Number)
	dst = appendCellText(dst, queue.TicketState(t.State).String())
	dst = append(dst, ',') // position: nobody waits here
	dst = append(strconv.AppendUint(dst, uint64(t.Priority), 10), ',')
	dst = appendCellText(dst, t.Service)
	dst = r.appendCellSealed(dst, t, sealedCustomer, t.Customer)
	dst = r.appendCellSealed(dst, t, sealedPayload, t.Payload)
	dst = appendCellText(dst, queue.Source(t.Source).String())
	dst = appendCellID(dst, visit[:])
	dst = appendCellText(dst, t.Attendant)
	dst = appendCellText(dst, t.Desk)
	dst = append(strconv.AppendUint(dst, uint64(t.Calls), 10), ',')
	for _, at := range []int64{t.EnqueuedAt, t.CalledAt, t.StartedAt, t.FinishedAt} {
		if at != 0 {
			quoted := appendTime(nil, at)
			dst = append(dst, quoted[1:len(quoted)-1]...)
		}
		dst = append(dst, ',')
	}
	dst = appendCellID(dst, t.TransferredFrom)
	dst = appendCellID(dst, t.TransferredTo)
	dst = appendCellText(dst, t.Reason)
	dst = appendCellText(dst, t.Outcome)
	return append(dst[:len(dst)-1], "\r\n"...)
}

func appendCellID(dst, id []byte) []byte {
	if len(id) == 16 {
		dst = append(dst, idText(id)...)
	}
	return append(dst, ',')
}

// appendCellText writes a text that people typed. A spreadsheet takes one that
// begins like a formula for a formula; behind an apostrophe it is text.
func appendCellText(dst []byte, text string) []byte {
	if text != "" && strings.IndexByte("=+-@\t\r\n", text[0]) >= 0 {
		return appendCell(dst, "'"+text)
	}
	return appendCell(dst, text)
}

// appendCellSealed writes JSON, which stays as it is: none begins like a
// formula but a negative number, and that is one.
func (r *renderer) appendCellSealed(dst []byte, t *messages.Ticket, field string, sealed []byte) []byte {
	text := string(r.appendSealed(nil, t, field, sealed, true))
	if text == "null" {
		text = ""
	}
	return appendCell(dst, text)
}

func appendCell(dst []byte, text string) []byte {
	if !strings.ContainsAny(text, ",\"\r\n") {
		return append(append(dst, text...), ',')
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(text, `"`, `""`)...)
	return append(dst, `",`...)
}
