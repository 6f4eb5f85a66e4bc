// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package operations

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// shell is a bash that runs one command after the other.
type shell struct {
	in    io.WriteCloser
	lines chan string
}

// endOfStep is printed after each command, with its exit code.
const endOfStep = "--- end of step "

// newShell starts a bash in dir. At the end of the test it is killed, with all processes that it started.
func newShell(t *testing.T, dir string) *shell {
	t.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc")
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "MAKE") || strings.HasPrefix(kv, "MFLAGS=") // set by the make that runs the tests
	}), "TMPDIR="+t.TempDir(), "TERM=dumb")
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	r, w, err := pty.Open() // the pages show what a terminal of 80 columns shows
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(w, &pty.Winsize{Cols: 80, Rows: 24}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := &shell{in: in, lines: make(chan string, 1000)}
	go func() {
		defer close(s.lines)
		scanner := bufio.NewScanner(r)
		for scanner.Scan() {
			s.lines <- strings.TrimRight(scanner.Text(), " \t\r")
		}
	}()
	t.Cleanup(func() {
		in.Close()
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		_ = cmd.Wait()
		r.Close()
		for range s.lines { // until the scanner has returned
		}
	})
	return s
}

// run runs a command, and returns its output and exit code.
func (s *shell) run(command string) (out []string, code int, err error) {
	if _, err := fmt.Fprintf(s.in, "%s\necho; echo '%s'$?\n", command, endOfStep); err != nil {
		return nil, 0, err
	}
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return out, 0, io.ErrUnexpectedEOF
			}
			if text, ok := strings.CutPrefix(line, endOfStep); ok {
				code, err := strconv.Atoi(text)
				return trim(out), code, err
			}
			out = append(out, line)
		case <-timeout:
			return out, 0, errors.New("no exit within two minutes")
		}
	}
}

// trim removes empty lines at the end.
func trim(lines []string) []string {
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}
