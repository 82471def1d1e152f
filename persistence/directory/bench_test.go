package directory

import (
	"fmt"
	"testing"
	"time"
)

func benchEach(b *testing.B, bench func(b *testing.B, d *Directory)) {
	for name, fresh := range databases {
		b.Run(name, func(b *testing.B) {
			d, err := Open(b.Context(), fresh(b))
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			bench(b, d)
		})
	}
}

func BenchmarkPutQueue(b *testing.B) {
	benchEach(b, func(b *testing.B, d *Directory) {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprint(batch), func(b *testing.B) {
				rows := make([]QueueRow, batch)
				for v := uint64(1); b.Loop(); v++ {
					for i := range rows {
						rows[i] = QueueRow{ID: fmt.Sprintf("q%d", i), Version: v, UpdatedAt: time.Now()}
					}
					if err := d.PutQueues(b.Context(), rows...); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

func BenchmarkUserByID(b *testing.B) {
	benchEach(b, func(b *testing.B, d *Directory) {
		u, err := d.CreateUser(b.Context(), someone("a@x"))
		if err != nil {
			b.Fatal(err)
		}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := d.UserByID(b.Context(), u.ID); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}
