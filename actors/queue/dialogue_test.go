package queue

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the dialogues' answers in testdata")

// TestDialogues replays testdata/*.txt. In them a line that is not indented is
// a command (the words are in dialogue_words_test.go) or a comment; the indented
// ones below say what came of it: the event or the refusal, and the line as it
// is then. With -update the answers are written anew, to be read in the diff.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, file, string(text))
			switch {
			case got == string(text):
			case *update:
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s", firstDifference(file, string(text), got))
			}
		})
	}
}

// replay gives the dialogue as it goes now.
func replay(t *testing.T, file, text string) string {
	stage := newStage(t)
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		stage.where = fmt.Sprintf("%s:%d", file, i+1)
		for _, answer := range stage.perform(line) {
			out.WriteString("\t" + answer + "\n")
		}
	}
	return out.String()
}

func firstDifference(file, want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	command := ""
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("%s:%d: after %q want\n%s\ngot\n%s", file, i+1, command, w[i], strings.Join(g[i:min(i+2, len(g))], "\n"))
		}
		if !strings.HasPrefix(w[i], "\t") {
			command = w[i]
		}
	}
	return fmt.Sprintf("%s: ends with more: %s", file, g[len(w):])
}

// coreCodes are the refusals that the core itself makes.
var coreCodes = []Code{
	QueueNotFound, TicketNotFound, QueueExists, QueueNotEmpty, QueueClosed, QueueFull, QueuePaused,
	AttendantBusy, DeskTaken, TicketNotWaiting, TicketNotActive, TicketFinished, Invalid,
	PositionOutOfRange, VersionMismatch, IdempotencyKeyReused, Forbidden, Unavailable, OutcomeUnknown,
}

// Every refusal and every kind of event stands in a dialogue.
func TestDialoguesAreComplete(t *testing.T) {
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	if declared := strings.Count(string(source), " Code = \""); declared != len(coreCodes) {
		t.Errorf("errors.go has %d codes; coreCodes %d", declared, len(coreCodes))
	}
	var all strings.Builder
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, code := range coreCodes {
		if !strings.Contains(all.String(), "\trefused: "+string(code)) {
			t.Errorf("no dialogue has the refusal %s", code)
		}
	}
	for k := TicketEnqueued; k.Valid(); k++ {
		if !strings.Contains(all.String(), " "+k.String()+" ") {
			t.Errorf("no dialogue has the event %s", k)
		}
	}
}
