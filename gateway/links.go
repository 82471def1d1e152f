package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// linkPrefix tells a ticket's token from every other kind.
const linkPrefix = "tk_"

// maxLink is above the length of any token: 63 bytes of a queue's id, 16 of a
// ticket's, nonce and tag, in base64.
const maxLink = 160

// links makes and opens the secret tokens of tickets. A token is the ticket's
// queue and id, sealed: every node knows it without being told, nothing is kept
// of it, and nobody can make one up.
type links struct{ keys []linkKey }

type linkKey struct {
	aead  cipher.AEAD
	nonce []byte // the key that makes nonces
}

// newLinks takes keys of 32 bytes; the first one seals, all open.
func newLinks(keys []TokenKey) (*links, error) {
	if len(keys) == 0 {
		return nil, errors.New("gateway: a key for the links of tickets is needed")
	}
	l := &links{}
	for _, k := range keys {
		secret, err := hkdf.Key(sha256.New, k.Bytes, nil, "ticket-link/v1", 64)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(secret[:32])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		l.keys = append(l.keys, linkKey{aead, secret[32:]})
	}
	return l, nil
}

// seal gives the token of a ticket. It is the same each time, so that a check-in
// that is sent again has the same answer; the nonce is therefore made of what is
// sealed, and comes twice for different tickets as seldom as a random one.
func (l *links) seal(queueID string, ticket []byte) string {
	k := l.keys[0]
	plain := append(append(make([]byte, 0, len(ticket)+len(queueID)), ticket...), queueID...)
	mac := hmac.New(sha256.New, k.nonce)
	mac.Write(plain)
	nonce := mac.Sum(nil)[:k.aead.NonceSize()]
	return linkPrefix + base64.RawURLEncoding.EncodeToString(k.aead.Seal(nonce, nonce, plain, nil))
}

// open gives the ticket of a token, false where no key here made it.
func (l *links) open(token string) (queueID string, ticket []byte, ok bool) {
	text, ok := strings.CutPrefix(token, linkPrefix)
	if !ok || len(token) > maxLink {
		return "", nil, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder would skip
		return "", nil, false
	}
	for _, k := range l.keys {
		size := k.aead.NonceSize()
		if len(sealed) < size {
			return "", nil, false
		}
		plain, err := k.aead.Open(nil, sealed[:size], sealed[size:], nil)
		if err == nil && len(plain) > 16 {
			return string(plain[16:]), plain[:16], true
		}
	}
	return "", nil, false
}
