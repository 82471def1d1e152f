package redistest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Content is every key and value that the Redis at a URL has.
func Content(t testing.TB, url string) []byte {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	var all strings.Builder
	ctx := t.Context()
	for _, key := range c.Keys(ctx, "*").Val() {
		fmt.Fprintln(&all, key)
		switch kind := c.Type(ctx, key).Val(); kind {
		case "string":
			all.WriteString(c.Get(ctx, key).Val())
		case "list":
			fmt.Fprint(&all, c.LRange(ctx, key, 0, -1).Val())
		case "zset":
			fmt.Fprint(&all, c.ZRange(ctx, key, 0, -1).Val())
		case "hash":
			fmt.Fprint(&all, c.HGetAll(ctx, key).Val())
		case "stream":
			for _, entry := range c.XRange(ctx, key, "-", "+").Val() {
				for _, value := range entry.Values {
					all.WriteString(value.(string))
				}
			}
		default:
			t.Fatalf("%s is a %s", key, kind)
		}
	}
	return []byte(all.String())
}
