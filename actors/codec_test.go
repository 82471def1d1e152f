package actors

import (
	"errors"
	"reflect"
	"testing"

	"nowserving/actors/queue"
)

// fill sets every field of a value to something that is not zero, so that a
// field which a conversion forgets is seen.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(*n%250) + 1)
		}
	case reflect.String:
		v.SetString("s" + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(*n)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n%3) + 1) // also a state, a status and a source
	default:
		panic("a kind that no message holds: " + v.Kind().String())
	}
}

func TestEveryFieldOfAnEventIsKept(t *testing.T) {
	t.Parallel()
	var want queue.Event
	n := int64(0)
	fill(reflect.ValueOf(&want).Elem(), &n)
	got, err := eventFromMessage(eventToMessage(&want))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, &want) {
		t.Errorf("got  %+v %+v %+v\nwant %+v %+v %+v", got, got.Ticket, got.Config, &want, want.Ticket, want.Config)
	}
}

// A snapshot that was written when operations without a key were not remembered
// is no proof that one of them never came.
func TestOldSnapshotKnowsOfNoOperationWithoutAKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		remembered bool
		after      queue.Time
		want       error
	}{
		{false, 30_000, queue.ErrOutcomeUnknown}, {false, 30_001, nil}, {true, 0, nil},
	} {
		old := queue.New("a")
		config := queue.Config{}.Defaults("a")
		decision, err := old.Decide(&queue.Command{At: 1_000_000, Do: &queue.Create{Epoch: "e", Config: config}})
		if err == nil {
			err = old.Apply(decision.Event)
		}
		if err != nil {
			t.Fatal(err)
		}
		m := snapshotToMessage(old.Image())
		if !c.remembered {
			m.Recents, m.RecentsAfter = nil, nil
		}
		data, err := encodeRecord(m)
		if err != nil {
			t.Fatal(err)
		}
		state, err := decodeSnapshot(queue.Snapshot{Version: 1, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		_, err = state.Decide(&queue.Command{At: 1_000_000 + c.after, Op: queue.OpID{1}, Again: true, Do: &queue.SetStatus{Status: queue.Paused}})
		if !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestEveryFieldOfASnapshotIsKept(t *testing.T) {
	t.Parallel()
	var want queue.Image
	n := int64(0)
	fill(reflect.ValueOf(&want).Elem(), &n)
	want.Tickets[0].State = queue.Waiting
	want.Config.Timezone = "Europe/Lisbon"
	s, err := encodeSnapshot(&want)
	if err != nil {
		t.Fatal(err)
	}
	state, err := decodeSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	if got := state.Image(); !reflect.DeepEqual(got, &want) {
		t.Errorf("got  %+v %+v\nwant %+v %+v", got, got.Tickets[0], &want, want.Tickets[0])
	}
}
