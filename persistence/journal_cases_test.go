package persistence

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"nowserving/actors/queue"
)

var journalCases = []struct {
	name string
	run  func(t *testing.T, s *store)
}{
	{"a queue never seen has an empty head", func(t *testing.T, s *store) {
		wantHead(t, s, "q", queue.Head{})
		wantEntries(t, s, "q", 0, 10)
		wantEntries(t, s, "other", 0, 10)
		_, err := s.LoadSnapshot(t.Context(), "q")
		wantError(t, err, queue.ErrNoSnapshot)
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}},
	{"entries are read as they were appended", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		a, b, c := l.append(1, "a"), l.append(3, "b\x00\xff\r\n"), l.append(1, "")
		wantEntries(t, s, "q", 0, 10, a, b, c)
		wantHead(t, s, "q", queue.Head{Version: 5, Op: c.Op})
	}},
	{"a read resumes across the borders of entries", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		a, b, c := l.append(2, "a"), l.append(3, "b"), l.append(1, "c")
		wantEntries(t, s, "q", 1, 10, a, b, c)
		wantEntries(t, s, "q", 2, 10, b, c)
		wantEntries(t, s, "q", 4, 10, b, c)
		wantEntries(t, s, "q", 5, 10, c)
		wantEntries(t, s, "q", 1, 2, a, b)
		wantEntries(t, s, "q", 6, 10)
		wantEntries(t, s, "q", 0, 0)
	}},
	{"a read from where the journal has not come to says so", func(t *testing.T, s *store) {
		claim(t, s, "q").append(2, "a")
		for id, after := range map[string]uint64{"q": 3, "never claimed": 1} {
			_, err := s.Read(t.Context(), id, after, 10)
			wantError(t, err, queue.ErrLost)
		}
	}},
	{"an owner that knows more than the journal is told", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		l.append(2, "a")
		for range 2 { // from memory, and from what is stored
			wantError(t, ownsAt(s, "q", l.owner, 3), queue.ErrGap)
			wantError(t, ownsAt(s, "q", random16(), 3), queue.ErrFenced)
			for at := range uint64(3) {
				if err := ownsAt(s, "q", l.owner, at); err != nil {
					t.Fatal(err)
				}
			}
			s.reopen()
		}
	}},
	{"a long read is in order and bounded", readsLong},
	{"big entries", readsBig},
	{"an append that does not follow is a gap", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		a := l.append(2, "a")
		for _, first := range []uint64{1, 2, 4, 9} {
			err := appendTo(s, "q", l.owner, a.Op, queue.Entry{First: first, Last: first + 1, Op: random16()})
			wantError(t, err, queue.ErrGap)
		}
		err := appendTo(s, "never claimed", l.owner, queue.OpID{}, queue.Entry{First: 1, Last: 1})
		wantError(t, err, queue.ErrGap)
		wantEntries(t, s, "q", 0, 10, a)
	}},
	{"appends handed over one behind the other stand in that order", handsOver},
	{"what is handed over behind a refused append is refused", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		a := l.append(1, "a")
		wrong := queue.Entry{First: 3, Last: 3, Op: random16()}
		next := queue.Entry{First: 4, Last: 4, Op: random16()}
		answers := make(chan error, 2)
		s.Append("q", l.owner, a.Op, wrong, func(err error) { answers <- err })
		s.Append("q", l.owner, wrong.Op, next, func(err error) { answers <- err })
		wantError(t, <-answers, queue.ErrGap)
		wantError(t, <-answers, queue.ErrGap)
		wantEntries(t, s, "q", 0, 10, a)
	}},
	{"the same append again is success", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		prev := l.head.Op
		a := l.append(2, "a")
		if err := appendTo(s, "q", l.owner, prev, a); err != nil {
			t.Fatal(err)
		}
		other := a
		other.Op = random16()
		wantError(t, appendTo(s, "q", l.owner, prev, other), queue.ErrGap)
		l.append(1, "b")
		wantError(t, appendTo(s, "q", l.owner, prev, a), queue.ErrGap)
	}},
	{"the same version after another operation is a gap", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		l.append(1, "a")
		// As after a rollback of the store: the version fits, the history does not.
		e := queue.Entry{First: 2, Last: 2, Op: random16()}
		wantError(t, appendTo(s, "q", l.owner, random16(), e), queue.ErrGap)
	}},
	{"who was claimed over is fenced", func(t *testing.T, s *store) {
		a := claim(t, s, "q")
		last := a.append(1, "a")
		b := claim(t, s, "q")
		wantError(t, a.try(a.entry(1, nil)), queue.ErrFenced)
		wantError(t, appendTo(s, "q", a.owner, queue.OpID{}, last), queue.ErrFenced)
		wantError(t, owns(s, "q", a.owner), queue.ErrFenced)
		wantError(t, s.SaveSnapshot(t.Context(), "q", a.owner, queue.Snapshot{Version: 1}, 1), queue.ErrFenced)
		wantError(t, owns(s, "never claimed", a.owner), queue.ErrFenced)
		if err := owns(s, "q", b.owner); err != nil {
			t.Fatal(err)
		}
		b.append(1, "b")
	}},
	{"of owners at the same time exactly one writes each version", interleavesOwners},
	{"many queues at once", writesManyQueues},
	{"a snapshot trims but keeps the last entry", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		l.append(2, "a")
		b, c := l.append(2, "b"), l.append(1, "c")
		save := func(version, trimTo uint64) error {
			return s.SaveSnapshot(t.Context(), "q", l.owner, queue.Snapshot{Version: version, Data: fmt.Append(nil, "at ", version)}, trimTo)
		}
		wantSnapshot := func(version uint64) {
			t.Helper()
			got, err := s.LoadSnapshot(t.Context(), "q")
			if err != nil || got.Version != version || string(got.Data) != fmt.Sprint("at ", version) {
				t.Fatalf("snapshot %d %q, %v; want of %d", got.Version, got.Data, err, version)
			}
		}
		wantError(t, save(4, 5), ErrMalformed)
		wantError(t, save(6, 0), queue.ErrGap)
		if err := save(4, 3); err != nil { // 3 lies within b, which therefore stays
			t.Fatal(err)
		}
		wantSnapshot(4)
		wantEntries(t, s, "q", 2, 10, b, c)
		_, err := s.Read(t.Context(), "q", 1, 10)
		wantError(t, err, queue.ErrTrimmed)
		if err := save(3, 3); err != nil { // older: ignored
			t.Fatal(err)
		}
		wantSnapshot(4)
		if err := save(5, 5); err != nil {
			t.Fatal(err)
		}
		wantSnapshot(5)
		wantEntries(t, s, "q", 4, 10, c)
		wantEntries(t, s, "q", 5, 10)
		_, err = s.Read(t.Context(), "q", 3, 10)
		wantError(t, err, queue.ErrTrimmed)
		wantHead(t, s, "q", queue.Head{Version: 5, Op: c.Op, SnapshotVersion: 5})
	}},
	{"a snapshot of many chunks stands after a crash", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		l.append(1, "a")
		for _, size := range []int{3 << 20, 1, 3<<20 + 1, 0} {
			data := make([]byte, size)
			_, _ = rand.Read(data)
			if err := s.SaveSnapshot(t.Context(), "q", l.owner, queue.Snapshot{Version: 1, Data: data}, 1); err != nil {
				t.Fatal(err)
			}
			s.reopen()
			if got, err := s.LoadSnapshot(t.Context(), "q"); err != nil || got.Version != 1 || !bytes.Equal(got.Data, data) {
				t.Fatal(size, got.Version, len(got.Data), err)
			}
		}
	}},
	{"a long log is trimmed exactly", trimsLong},
	{"loads while the snapshot is replaced see one of them", loadsWhileReplaced},
	{"what was acknowledged stands after a crash", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		a, b := l.append(2, "a"), l.append(1, "b")
		if err := s.SaveSnapshot(t.Context(), "q", l.owner, queue.Snapshot{Version: 2, Data: []byte("s")}, 0); err != nil {
			t.Fatal(err)
		}
		l.j = s.reopen()
		if err := owns(s, "q", l.owner); err != nil {
			t.Fatal(err)
		}
		c := l.append(1, "c") // the fence knows its owner still
		wantEntries(t, s, "q", 0, 10, a, b, c)
		wantHead(t, s, "q", queue.Head{Version: 4, Op: c.Op, SnapshotVersion: 2})
	}},
	{"a context that is over is obeyed", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantError(t, s.SaveSnapshot(ctx, "q", l.owner, queue.Snapshot{}, 0), queue.ErrUnavailable)
		_, err := s.Claim(ctx, "q", random16())
		wantError(t, err, queue.ErrUnavailable)
		wantError(t, err, context.Canceled)
		_, err = s.Read(ctx, "q", 0, 1)
		wantError(t, err, queue.ErrUnavailable)
		l.append(1, "still the owner, at the same place")
	}},
	{"a closed journal is unavailable", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wantError(t, l.try(l.entry(1, nil)), queue.ErrUnavailable)
		wantError(t, s.Ping(t.Context()), queue.ErrUnavailable)
	}},
	{"queues are listed in order and by pages", func(t *testing.T, s *store) {
		var want []string
		for i := range 25 {
			id := fmt.Sprintf("q-%d", i)
			claim(t, s, id).append(1, "a")
			want = append(want, id)
		}
		slices.Sort(want)
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := s.Queues(t.Context(), after, 10)
			if err != nil || len(page) > 10 {
				t.Fatal(len(page), err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}},
	{"versions of many queues", func(t *testing.T, s *store) {
		claim(t, s, "a").append(3, "a")
		claim(t, s, "b").append(1, "b")
		claim(t, s, "empty")
		got, err := s.Versions(t.Context(), []string{"b", "unknown", "a", "empty", "b"})
		if err != nil || !slices.Equal(got, []uint64{1, 0, 3, 0, 1}) {
			t.Fatal(got, err)
		}
		if got, err := s.Versions(t.Context(), nil); err != nil || len(got) != 0 {
			t.Fatal(got, err)
		}
	}},
	{"malformed calls are refused", func(t *testing.T, s *store) {
		l := claim(t, s, "q")
		for _, e := range []queue.Entry{{First: 0, Last: 1}, {First: 2, Last: 1}, {First: 1, Last: MaxVersion + 1}, {First: 1, Last: 1, Data: make([]byte, MaxEntryBytes+1)}} {
			wantError(t, appendTo(s, "q", l.owner, queue.OpID{}, e), ErrMalformed)
		}
		_, err := s.Claim(t.Context(), "q", queue.OwnerID{})
		wantError(t, err, ErrMalformed)
		e := queue.Entry{First: 1, Last: MaxVersion, Op: random16()} // versions stay exact up to the bound
		if err := l.try(e); err != nil {
			t.Fatal(err)
		}
		wantHead(t, s, "q", queue.Head{Version: MaxVersion, Op: e.Op})
	}},
}

func readsLong(t *testing.T, s *store) {
	l := claim(t, s, "q")
	var all []queue.Entry
	for i := range 500 {
		all = append(all, l.append(1+i%3, fmt.Sprint("entry ", i)))
	}
	wantEntries(t, s, "q", 0, 10_000, all...)
	wantEntries(t, s, "q", all[99].Last, 300, all[100:400]...)
}

func trimsLong(t *testing.T, s *store) {
	l := claim(t, s, "q")
	var all []queue.Entry
	for i := range 3500 {
		all = append(all, l.append(1+i%2, "about as long as an event is"))
	}
	for _, keep := range []int{1, 3017, 3018, 3499} {
		if err := s.SaveSnapshot(t.Context(), "q", l.owner, queue.Snapshot{Version: l.head.Version}, all[keep-1].Last); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, s, "q", all[keep-1].Last, 10_000, all[keep:]...)
		_, err := s.Read(t.Context(), "q", all[keep-1].First-1, 1)
		wantError(t, err, queue.ErrTrimmed)
	}
	l.j = s.reopen()
	wantEntries(t, s, "q", all[3498].Last, 10, all[3499])
	_, err := s.Read(t.Context(), "q", 0, 1)
	wantError(t, err, queue.ErrTrimmed)
	l.append(1, "goes on")
}

// loadsWhileReplaced has snapshots whose every byte is their version's.
func loadsWhileReplaced(t *testing.T, s *store) {
	l := claim(t, s, "q")
	l.append(40, "a")
	save := func(version uint64) {
		data := bytes.Repeat([]byte{byte(version)}, 1<<20+int(version))
		if err := s.SaveSnapshot(context.Background(), "q", l.owner, queue.Snapshot{Version: version, Data: data}, 0); err != nil {
			t.Error(err)
		}
	}
	save(1)
	var saver sync.WaitGroup
	saver.Go(func() {
		for version := uint64(2); version <= 40; version++ {
			save(version)
		}
	})
	defer saver.Wait()
	for last := uint64(0); last < 40 && !t.Failed(); {
		got, err := s.LoadSnapshot(t.Context(), "q")
		if err != nil || got.Version < last || !bytes.Equal(got.Data, bytes.Repeat([]byte{byte(got.Version)}, 1<<20+int(got.Version))) {
			t.Fatalf("after version %d: version %d of %d bytes, %v", last, got.Version, len(got.Data), err)
		}
		last = got.Version
	}
}

func readsBig(t *testing.T, s *store) {
	l := claim(t, s, "q")
	var all []queue.Entry
	for i := range 12 {
		all = append(all, l.append(1, string(bytes.Repeat([]byte{byte(i)}, 1<<20))))
	}
	got, err := s.Read(t.Context(), "q", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || len(got) > 9 {
		t.Fatalf("a read of %d MiB is not bounded by its bytes", len(got))
	}
	wantEntries(t, s, "q", 0, 3, all[:3]...)
	wantEntries(t, s, "q", 9, 100, all[9:]...)
	data := bytes.Repeat([]byte("s"), 20<<20)
	if err := s.SaveSnapshot(t.Context(), "q", l.owner, queue.Snapshot{Version: 12, Data: data}, 12); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LoadSnapshot(t.Context(), "q"); err != nil || !bytes.Equal(got.Data, data) {
		t.Fatal(len(got.Data), err)
	}
}

// interleavesOwners lets activations claim and append against each other: what
// was acknowledged must be exactly what stands, each version once.
func interleavesOwners(t *testing.T, s *store) {
	var mu sync.Mutex
	acknowledged := map[queue.OpID]uint64{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				l := &line{t: t, j: s, queue: "q", owner: random16()}
				head, err := s.Claim(context.Background(), "q", l.owner)
				if err != nil {
					t.Error(err)
					return
				}
				l.head = head
				for range 3 {
					e := l.entry(1, nil)
					err := l.try(e)
					if errors.Is(err, queue.ErrFenced) {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					acknowledged[e.Op] = e.Last
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	stored, err := s.Read(t.Context(), "q", 0, 10_000)
	if err != nil || len(stored) != len(acknowledged) {
		t.Fatalf("%d entries stand, %d were acknowledged, %v", len(stored), len(acknowledged), err)
	}
	for i, e := range stored {
		if e.Last != uint64(i)+1 || acknowledged[e.Op] != e.Last {
			t.Fatalf("entry %d: version %d, acknowledged as %d", i, e.Last, acknowledged[e.Op])
		}
	}
}

func writesManyQueues(t *testing.T, s *store) {
	var wg sync.WaitGroup
	for q := range 64 {
		wg.Go(func() {
			id := fmt.Sprintf("q%d", q)
			l := &line{t: t, j: s, queue: id, owner: random16()}
			if _, err := s.Claim(context.Background(), id, l.owner); err != nil {
				t.Error(err)
				return
			}
			for i := range 20 {
				if err := l.try(l.entry(1, fmt.Append(nil, id, i))); err != nil {
					t.Error(err)
				}
				// A refused call must not harm those that share its batch.
				if err := appendTo(s, id, random16(), l.head.Op, l.entry(1, nil)); !errors.Is(err, queue.ErrFenced) {
					t.Error(err)
				}
				if err := owns(s, id, l.owner); err != nil {
					t.Error(err)
				}
			}
			entries, err := s.Read(context.Background(), id, 0, 100)
			if err != nil || len(entries) != 20 || string(entries[19].Data) != fmt.Sprint(id, 19) {
				t.Error(id, len(entries), err)
			}
		})
	}
	wg.Wait()
}

// handsOver appends to several queues without waiting for any answer.
func handsOver(t *testing.T, s *store) {
	const queues, entries = 5, 200
	type answer struct {
		queue, entry int
		err          error
	}
	answers := make(chan answer, queues*entries)
	var lines [queues]*line
	for q := range lines {
		lines[q] = claim(t, s, fmt.Sprint("q", q))
	}
	for i := range entries {
		for q, l := range lines {
			e := l.entry(1+i%3, fmt.Append(nil, q, i))
			s.Append(l.queue, l.owner, l.head.Op, e, func(err error) { answers <- answer{q, i, err} })
			l.head.Version, l.head.Op = e.Last, e.Op
		}
	}
	var answered [queues]int
	for range queues * entries {
		a := <-answers
		if a.err != nil || a.entry != answered[a.queue] {
			t.Fatalf("queue %d: entry %d was answered %v after %d others", a.queue, a.entry, a.err, answered[a.queue])
		}
		answered[a.queue]++
	}
	for q, l := range lines {
		got, err := s.Read(t.Context(), l.queue, 0, entries+1)
		if err != nil || len(got) != entries {
			t.Fatal(l.queue, len(got), err)
		}
		for i, e := range got {
			if string(e.Data) != fmt.Sprint(q, i) {
				t.Fatalf("%s: entry %d holds %q", l.queue, i, e.Data)
			}
		}
	}
}
