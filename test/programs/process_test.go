// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// python3 is Debian's, which has Debian's modules.
const python3 = "/usr/bin/python3"

// programEnv is the environment of the programs. Other variables of this process could change their behaviour.
func programEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=/root", "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1",
		"NODE_PATH=" + filepath.Join(os.Getenv(madeVar), "npm/node_modules"),
	}
}

// process is a program in a namespace.
type process struct {
	s       *stage
	cmd     *exec.Cmd
	in      io.WriteCloser
	pipe    *os.File // its stdout
	out     *bufio.Reader
	exited  chan struct{}
	errMu   sync.Mutex
	errText bytes.Buffer
}

// Write keeps what the program writes to stderr.
func (p *process) Write(b []byte) (int, error) {
	p.errMu.Lock()
	defer p.errMu.Unlock()
	return p.errText.Write(b)
}

func (p *process) stderr() string {
	p.errMu.Lock()
	defer p.errMu.Unlock()
	return strings.TrimSpace(p.errText.String())
}

// start starts a program in a namespace. It is stopped when the test ends.
func (s *stage) start(ns *nstest.NS, argv ...string) *process {
	s.Helper()
	return s.startWith(ns, nil, argv...)
}

// startWith is start with additional environment variables.
func (s *stage) startWith(ns *nstest.NS, env []string, argv ...string) *process {
	s.Helper()
	p := &process{s: s, exited: make(chan struct{})}
	p.cmd = exec.Command("nsenter", append([]string{"--net=" + ns.Path()}, argv...)...)
	p.cmd.Env = append(programEnv(), env...)
	p.cmd.Stderr = p
	p.cmd.WaitDelay = 5 * time.Second
	r, w, err := os.Pipe()
	if err == nil && s.pipeSize > 0 {
		err = onPipe(w, func(fd int) error {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, s.pipeSize)
			return err
		})
	}
	if err != nil {
		s.Fatal(err)
	}
	p.cmd.Stdout, p.pipe, p.out = w, r, bufio.NewReader(r)
	if p.in, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	w.Close()
	if err != nil {
		s.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // the tests look at ProcessState
	}()
	s.Cleanup(p.stop)
	return p
}

// onPipe runs a system call on a pipe and leaves it non-blocking.
func onPipe(f *os.File, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(conn.Control(func(fd uintptr) { err = call(int(fd)) }), err)
}

// unread returns the number of bytes of the program's output in its pipe.
func (p *process) unread() (n int) {
	p.s.Helper()
	if err := onPipe(p.pipe, func(fd int) (err error) { n, err = unix.IoctlGetInt(fd, unix.TIOCINQ); return err }); err != nil {
		p.s.Fatal(err)
	}
	return n
}

// stop stops the program, first by SIGTERM.
func (p *process) stop() {
	defer p.pipe.Close()
	_ = p.cmd.Process.Signal(unix.SIGTERM) // it may have exited
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	if text := p.stderr(); text != "" && p.s.Failed() {
		p.s.Logf("%q wrote to stderr:\n%s", p.cmd.Args[2:], text)
	}
}

// send writes a line to the program's stdin.
func (p *process) send(line string) {
	p.s.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil && !errors.Is(err, unix.EPIPE) { // it may have exited
		p.s.Fatal(err)
	}
}

// line returns the line that the program prints next; ok is false when there is none any more.
func (p *process) line() (line string, ok bool) {
	p.s.Helper()
	if err := p.pipe.SetReadDeadline(time.Now().Add(soon)); err != nil {
		p.s.Fatal(err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		p.s.Fatalf("%q prints nothing: %v", p.cmd.Args[2:], err)
	}
	return strings.TrimSuffix(line, "\n"), err == nil
}

// awaitReady fails the test unless the next line is "ready".
func (p *process) awaitReady() {
	p.s.Helper()
	if line, _ := p.line(); line != "ready" {
		p.s.Fatalf("%q prints %q, not ready", p.cmd.Args[2:], line)
	}
}

// rest returns the rest of the program's output, after it has exited.
func (p *process) rest() string {
	p.s.Helper()
	if err := p.pipe.SetReadDeadline(time.Now().Add(soon)); err != nil {
		p.s.Fatal(err)
	}
	b, err := io.ReadAll(p.out)
	if err != nil {
		p.s.Fatalf("%q does not close its output: %v", p.cmd.Args[2:], err)
	}
	p.code()
	return string(b)
}

// code waits for the program's exit and returns the exit code, or 128 and the number of the signal that killed it.
func (p *process) code() int {
	p.s.Helper()
	select {
	case <-p.exited:
	case <-time.After(soon):
		p.s.Fatalf("%q does not exit", p.cmd.Args[2:])
	}
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// exit is the result of the program's exit.
func (p *process) exit() result {
	p.s.Helper()
	if code := p.code(); code != 0 {
		return result{"exit", fmt.Sprintf("code %d; stderr: %s", code, p.stderr())}
	}
	return result{what: "exit"}
}

// results reads one result per line: "ok" or the error. If the program exits early, the missing results are failures.
func (p *process) results(what string, n int) (results []result) {
	p.s.Helper()
	for i := range n {
		r := result{what: fmt.Sprintf("%s %d", what, i+1)}
		switch line, ok := p.line(); {
		case !ok:
			r.err = fmt.Sprintf("it has exited with %d; stderr: %s", p.code(), p.stderr())
		case line != "ok":
			r.err = line
		}
		results = append(results, r)
	}
	return results
}

// script is the path of a file in testdata.
func script(name string) string { return filepath.Join("testdata", name) }
