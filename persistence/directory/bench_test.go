package directory

import (
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"nowserving/actors/queue"
)

func benchEach(b *testing.B, bench func(b *testing.B, d *Directory)) {
	for name, fresh := range databases {
		b.Run(name, func(b *testing.B) {
			d, err := Open(b.Context(), fresh(b))
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			b.ResetTimer()
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

// BenchmarkRecordStatistics: the changes of one round of a busy node.
func BenchmarkRecordStatistics(b *testing.B) {
	benchEach(b, func(b *testing.B, d *Directory) {
		for _, queues := range []int{1, 64} {
			b.Run(fmt.Sprintf("%d queues", queues), func(b *testing.B) {
				at, changes := time.Now().UnixMilli(), make([]statChange, 1000)
				for round := 0; b.Loop(); round++ {
					for i := range changes {
						changes[i] = statChange{queue: fmt.Sprintf("q%d", i%queues), kind: statServed, sign: 1,
							at: at + int64(round*200+i/5), wait: int64(i*7919) % 1800, handle: int64(i*104729) % 900}
					}
					if err := d.write(b.Context(), func(tx *gorm.DB) error { return recordStatistics(tx, changes) }); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

// BenchmarkStatistics: a queue of 200,000 tickets in a year of working days.
func BenchmarkStatistics(b *testing.B) {
	benchEach(b, func(b *testing.B, d *Directory) {
		begins := time.Date(2025, 1, 1, 8, 0, 0, 0, time.UTC)
		for day := range 260 {
			changes := make([]statChange, 800)
			for i := range changes {
				at := begins.AddDate(0, 0, day*7/5).Add(time.Duration(i) * 40 * time.Second)
				changes[i] = statChange{queue: "q", kind: statServed, sign: 1, at: at.UnixMilli(), wait: int64(i*7919) % 1800, handle: int64(i*104729) % 900}
			}
			if err := d.write(b.Context(), func(tx *gorm.DB) error { return recordStatistics(tx, changes) }); err != nil {
				b.Fatal(err)
			}
		}
		for _, q := range []struct {
			name   string
			bucket queue.Bucket
			days   int
		}{{"hours of a day", queue.ByHour, 1}, {"days of a month", queue.ByDay, 30}, {"weeks of a year", queue.ByWeek, 365}, {"days of a year", queue.ByDay, 365}} {
			b.Run(q.name, func(b *testing.B) {
				calendar := queue.CalendarOf("Asia/Kathmandu")
				from, _ := calendar.Day(queue.Time(begins.UnixMilli()))
				cuts, _ := calendar.Edges(q.bucket, from, from+queue.Time(q.days)*queue.Day, 1000)
				asked := StatisticsQuery{Queue: "q", Target: 600}
				for _, cut := range cuts {
					asked.Edges = append(asked.Edges, time.UnixMilli(int64(cut)))
				}
				for b.Loop() {
					if _, total, err := d.Statistics(b.Context(), asked); err != nil || total.Served == 0 {
						b.Fatal(total, err)
					}
				}
			})
		}
	})
}
