package queue

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// FuzzQueue makes a sequence of commands of the bytes and holds every step
// against all that a witness knows: see witness_test.go.
func FuzzQueue(f *testing.F) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, n := range []int{0, 40, 400, 2000} {
		seed := make([]byte, n)
		for i := range seed {
			seed[i] = byte(r.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 2000 // beyond, there is nothing new but time spent
		data = data[:min(len(data), most)]
		p := &script{clock: scriptStart, steps: fuzzSteps, next: func() byte {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return b
		}}
		w := newWitness(t, "bank")
		w.thorough = true
		if _, err := w.do(bank(p)); err != nil {
			t.Fatal(err)
		}
		for len(data) > 0 {
			w.step(p.draw(w.live), p.clock)
		}
		w.restore()
		w.check()
	})
}

// step does what the script wishes.
func (w *witness) step(wi wish, clock Time) (Decision, error) {
	switch wi.side {
	case keepPlace:
		return Decision{}, w.live.KeepPlace(wi.old, clock)
	case freePlace:
		w.live.FreePlace(wi.old)
	case deliver:
		w.delivered(wi.old)
	case takeImage:
		w.restore()
	case loseEvents:
		w.losses++
		w.newEpoch(w.live.Version()+uint64(w.losses%3), fmt.Sprint("lost", w.losses), OpID{0xff, byte(w.losses)}, clock)
	case noSide:
		return w.do(wi.cmd)
	}
	return Decision{}, nil
}
