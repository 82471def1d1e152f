package persistence

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"nowserving/actors/queue"
)

// This file is what the answers of Redis to writes mean.

func newScriptCmd(ctx context.Context, s redisScript, keys []string, args ...any) *redis.Cmd {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, "evalsha", s.sha, len(keys))
	for _, k := range keys {
		all = append(all, k)
	}
	return redis.NewCmd(ctx, append(all, args...)...)
}

// verdict reads what append.lua and snapshot.lua answer.
func verdict(queueID string, answer any) error {
	text, _ := answer.(string)
	word, version, _ := strings.Cut(text, " ")
	switch word {
	case "OK", "DUP", "OLD":
		return nil
	case "LOST":
		return unavailable(errStagingLost)
	case "FENCED":
		return fmt.Errorf("%w: queue %s", queue.ErrFenced, queueID)
	case "GAP":
		return fmt.Errorf("%w: queue %s is at version %s", queue.ErrGap, queueID, version)
	}
	return fmt.Errorf("%w: unexpected answer of a script", queue.ErrUnknown)
}

// decodeHead reads what claim.lua answers. Errors: ErrDamaged.
func decodeHead(queueID string, answer any) (queue.Head, error) {
	fields, _ := answer.([]any)
	var text [3]string
	if len(fields) == len(text) {
		for i, f := range fields {
			text[i], _ = f.(string)
		}
	}
	var head queue.Head
	var err, err2 error
	head.Version, err = strconv.ParseUint(text[0], 10, 64)
	head.SnapshotVersion, err2 = strconv.ParseUint(text[2], 10, 64)
	if err != nil || err2 != nil || len(text[1]) != len(head.Op) {
		return queue.Head{}, fmt.Errorf("%w: head of queue %s", queue.ErrDamaged, queueID)
	}
	copy(head.Op[:], text[1])
	return head, nil
}

// refusals are the first words of replies which mean that a script did nothing:
// it was not started, or its first write was refused.
var refusals = map[string]bool{
	"OOM": true, "READONLY": true, "MISCONF": true, "LOADING": true, "NOREPLICAS": true,
	"MASTERDOWN": true, "BUSY": true, "NOAUTH": true, "WRONGPASS": true, "NOSCRIPT": true,
	"CLUSTERDOWN": true, "MOVED": true, "ASK": true, "TRYAGAIN": true,
}

// writeError says what a failed write means: ErrUnavailable where it certainly
// did not happen, ErrUnknown where it may have.
func writeError(err error) error {
	var reply redis.Error
	var network *net.OpError
	switch {
	case errors.As(err, &reply):
		word, _, _ := strings.Cut(reply.Error(), " ")
		if refusals[word] || tooManyClients(reply) {
			return unavailable(err)
		}
		if strings.Contains(reply.Error(), "specified in XADD is equal or smaller") {
			return fmt.Errorf("%w: the log is ahead of its head", queue.ErrGap)
		}
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted), errors.Is(err, redis.ErrClosed):
		return unavailable(err)
	case errors.As(err, &network) && network.Op == "dial":
		return unavailable(err) // no connection, so nothing was sent
	}
	return unknown(err)
}

// passing are the first words of replies of a Redis that may be of use later.
var passing = map[string]bool{"LOADING": true, "MASTERDOWN": true, "MISCONF": true, "BUSY": true, "CLUSTERDOWN": true, "TRYAGAIN": true}

// away tells of the error of a first contact whether another one may do better:
// nothing was there, or something that is not up yet. What Redis itself refuses,
// above all a login, or a certificate that is not believed, stays as it is.
func away(err error) bool {
	var reply redis.Error
	var header tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &reply):
		word, _, _ := strings.Cut(reply.Error(), " ")
		return passing[word] || tooManyClients(reply)
	case errors.Is(err, errForgets), errors.As(err, &header), errors.As(err, &certificate):
		return false
	}
	return true
}

func tooManyClients(reply error) bool {
	return strings.HasPrefix(reply.Error(), "ERR max number of clients")
}

func isNoScript(err error) bool {
	return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT")
}
