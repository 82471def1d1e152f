//go:build !unix

package child

import (
	"errors"
	"os"
)

// Pause is not to be had here.
func (p *Process) Pause() error { return errors.ErrUnsupported }

// Resume is not to be had here.
func (p *Process) Resume() error { return errors.ErrUnsupported }

func terminate(*os.Process) error { return errors.ErrUnsupported }
