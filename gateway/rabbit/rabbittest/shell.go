package rabbittest

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"

	"nowserving/persistence/child"
)

// broker is a running rabbitmq-server with its Erlang shell.
type broker struct {
	*child.Process
	stdin io.Writer

	evaluating sync.Mutex // one expression at a time
	answers    chan string
}

// mark stands before what an expression came to, among the server's log lines.
const mark = "rabbittest-answer:"

func startBroker(cmd *exec.Cmd) (*broker, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	b := &broker{stdin: stdin, answers: make(chan string, 1)}
	b.Process, err = child.StartWith(cmd, child.Startup{Ready: " completed with ", Within: startTimeout, Line: b.hear})
	return b, err
}

// hear hands on what was evaluated.
func (b *broker) hear(line string) {
	if _, answer, answered := strings.Cut(line, mark); answered {
		select {
		case b.answers <- answer:
		default: // of one who no longer waits
		}
	}
}

// eval has the Erlang shell evaluate expressions. Each is wrapped, so that the
// shell remembers no variable of it.
func (b *broker) eval(expressions string) (string, error) {
	b.evaluating.Lock()
	defer b.evaluating.Unlock()
	select {
	case <-b.answers: // of one who did not wait long enough
	default:
	}
	_, err := fmt.Fprintf(b.stdin, "io:format(\"~n%s~0p~n\", [catch (fun() -> %s end)()]).\n", mark, expressions)
	if err != nil {
		return "", err
	}
	select {
	case answer := <-b.answers:
		if strings.HasPrefix(answer, "{'EXIT'") {
			return "", fmt.Errorf("the server failed: %s", answer)
		}
		return answer, nil
	case <-b.Exited():
		return "", errors.New("the server ended")
	case <-time.After(evalTimeout):
		return "", fmt.Errorf("no answer from the server after %s", evalTimeout)
	}
}
