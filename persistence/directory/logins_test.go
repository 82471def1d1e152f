package directory

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
)

var threeOfAddress = LoginLimits{OfEmail: 2, OfAddress: 3, Within: time.Minute}

// testLogins: what failed counts over all handles, by address of either kind.
func testLogins(t *testing.T, open opener) {
	now := at
	tick := func() time.Time { return now }
	a, b, ctx := open(t, tick), open(t, tick), t.Context()
	try := func(d *Directory, email, address string, fails bool) Login {
		t.Helper()
		l, err := d.BeginLogin(ctx, email, address, threeOfAddress)
		check(t, err)
		if (l.Attempt == "") == (l.Wait == 0 && !l.Busy) {
			t.Fatalf("%+v", l)
		}
		if l.Attempt != "" && fails {
			check(t, d.FailLogin(ctx, l.Attempt))
		} else if l.Attempt != "" {
			check(t, d.EndLogin(ctx, l.Attempt))
		}
		return l
	}
	begun := func(l Login) {
		t.Helper()
		if l.Attempt == "" {
			t.Fatalf("held back: %+v", l)
		}
	}
	held := func(l Login, wait time.Duration) {
		t.Helper()
		if l.Wait != wait {
			t.Fatalf("%+v, want to wait %s", l, wait)
		}
	}
	for range 5 { // those that succeed do not count
		begun(try(a, "ann@x", "1", false))
	}
	begun(try(a, "ann@x", "1", true))
	now = now.Add(10 * time.Second)
	begun(try(b, " ANN@X", "2", true))
	held(try(a, "ann@x", "3", true), 50*time.Second) // until the first one is over
	held(try(b, "ann@x", "3", true), 50*time.Second)
	begun(try(b, "bob@x", "1", true))
	begun(try(b, "cid@x", "1", true))
	held(try(a, "dan@x", "1", false), 50*time.Second)
	begun(try(a, "dan@x", "3", false))
	now = at.Add(time.Minute)
	begun(try(a, "ann@x", "3", true))
	held(try(b, "ann@x", "3", true), 10*time.Second)

	// Those that are under way have to be waited for, but not for ever.
	l, err := a.BeginLogin(ctx, "eve@x", "9", threeOfAddress)
	check(t, err)
	if _, err := b.BeginLogin(ctx, "eve@x", "9", threeOfAddress); err != nil {
		t.Fatal(err)
	}
	if l := try(b, "eve@x", "9", true); !l.Busy {
		t.Fatalf("%+v", l)
	}
	check(t, a.EndLogin(ctx, l.Attempt))
	begun(try(b, "eve@x", "9", true)) // the other one's node is lost
	now = now.Add(loginUnderway)
	held(try(b, "eve@x", "9", true), 30*time.Second)

	var rows []attemptRow
	check(t, a.db.Find(&rows).Error)
	for _, row := range rows {
		if len(row.Email) != 32 || len(row.Address) != 32 || bytes.Contains(row.Email, []byte("ann")) {
			t.Fatalf("%+v", row)
		}
	}
	swept, err := b.SweepLogins(ctx, now)
	if left := int64(0); err != nil || swept != int64(len(rows)) || a.db.Model(&attemptRow{}).Count(&left).Error != nil || left != 0 {
		t.Fatal(swept, left, err)
	}
}

// testLoginsAtOnce: of many at the same moment no more go on than may fail.
func testLoginsAtOnce(t *testing.T, open opener) {
	handles, ctx := []*Directory{open(t, nil), open(t, nil)}, t.Context()
	limits := LoginLimits{OfEmail: 4, OfAddress: 100, Within: time.Hour}
	var failed, held, underway atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for ctx.Err() == nil {
				l, err := handles[i%2].BeginLogin(ctx, "ann@x", fmt.Sprint(i), limits)
				switch {
				case err != nil:
					t.Error(err)
					return
				case l.Wait > 0:
					held.Add(1)
					return
				case l.Attempt != "":
					if underway.Add(1) > 4 {
						t.Error("more are under way than may fail")
					}
					failed.Add(1)
					underway.Add(-1)
					if err := handles[i%2].FailLogin(context.WithoutCancel(ctx), l.Attempt); err != nil {
						t.Error(err)
					}
					return
				}
				<-time.After(rand.N(20 * time.Millisecond)) // as its caller gives way
			}
		})
	}
	all.Wait()
	if failed.Load() != 4 || held.Load() != 12 {
		t.Fatalf("%d failed, %d were held back", failed.Load(), held.Load())
	}
}

// testLoginCutOff: an attempt that is kept when its time is over can be ended.
func testLoginCutOff(t *testing.T, open opener) {
	d, rows := open(t, nil), int64(0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := 0 // two before it is kept, two behind
	check(t, d.db.Callback().Query().Before("gorm:query").Register("cut off", func(*gorm.DB) {
		if looks++; looks == 3 {
			cancel()
		}
	}))
	l, err := d.BeginLogin(ctx, "ann@x", "1", threeOfAddress)
	want(t, err, ErrUnavailable)
	check(t, d.db.Model(&attemptRow{}).Where("id = ?", l.Attempt).Count(&rows).Error)
	if l.Attempt == "" || rows != 1 {
		t.Fatalf("%+v, %d rows", l, rows)
	}
	check(t, d.EndLogin(t.Context(), l.Attempt))
	check(t, d.db.Model(&attemptRow{}).Count(&rows).Error)
	if rows != 0 {
		t.Fatalf("%d rows are left", rows)
	}
}
