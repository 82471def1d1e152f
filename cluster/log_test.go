package cluster

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// A message that goes astray is logged by its type: what it holds may be
// somebody's name.
func TestAstrayMessagesAreLoggedByType(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	system := newSystem(log)
	type letter struct{ Name string }
	system.Root.Send(actor.NewPID(system.Address(), "nobody"), &letter{Name: "Ann Example"})
	if text := out.String(); strings.Contains(text, "Ann") || !strings.Contains(text, "letter") {
		t.Errorf("logged: %s", text)
	}
}
