// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/termtest"
	"github.com/halfclose/halfclose/internal/testnode"
)

// onTerminal starts a program with a controlling terminal, as a login does.
func (w *world) onTerminal(t *testing.T, term *termtest.Terminal, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), w.exec.env...)
	cmd.Env = append(cmd.Env, "TERM=xterm-256color", "NO_COLOR=", "HALFCLOSE="+halfclose())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.TTY, term.TTY, term.TTY
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have exited
		_ = cmd.Wait()
	})
	return cmd
}

// top starts halfclose top.
func (w *world) top(t *testing.T, term *termtest.Terminal, args ...string) *exec.Cmd {
	t.Helper()
	return w.onTerminal(t, term, halfclose(), append([]string{"top", "--interval", "250ms"}, args...)...)
}

// exits waits until a program has exited.
func exits(t *testing.T, cmd *exec.Cmd, code int) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // ProcessState has the exit code
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(testnode.Patience):
		t.Fatal("it does not exit")
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
}

func TestTopShowsLeaksAsTheyComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t, "--mode", "observe")
	w.holds(t, p.PID())
	calm, leaky := newContainer(t, nil), newContainer(t, nil)
	w.register(t, calm.name)
	w.register(t, leaky.name, "--grace", "1s")
	term := termtest.New(t, 100, 30)
	cmd := w.top(t, term)
	term.Shows(t, "Mode      observe (the reaper's --mode observe)")
	term.Shows(t, "Found     0 CLOSE_WAIT, 0 FIN_WAIT2")

	var socket string
	for range 3 {
		socket = leak(t, leaky).LocalAddr().String()
	}
	term.Shows(t, "Found     3 CLOSE_WAIT, 3 FIN_WAIT2")
	term.Shows(t, "6 would have been, ")
	term.Until(t, "the pod that leaks comes first", func() bool {
		rows := strings.Split(term.Screen(), "\n")
		for i, row := range rows[:max(0, len(rows)-2)] {
			if strings.Contains(row, "  POD ") {
				return strings.Contains(rows[i+1], leaky.name) && strings.Contains(rows[i+2], calm.name)
			}
		}
		return false
	})
	term.Press(t, "\r")
	term.Shows(t, "halfclose "+leaky.name)
	term.Shows(t, socket)
	term.Shows(t, fmt.Sprintf("held by e2e.test[%d]", os.Getpid()))
	term.Press(t, "\x1b")
	term.Press(t, "/"+leaky.name+"\r")
	term.Until(t, "only the pod that leaks is listed", func() bool { return !strings.Contains(term.Screen(), calm.name) })
	term.Press(t, "\x1b2")
	term.Shows(t, fmt.Sprintf("e2e.test[%d]", os.Getpid()))
	term.Press(t, "3")
	term.Shows(t, "would-destroy")
	term.Press(t, "1")
	term.Shows(t, calm.name)

	p.Stop()
	term.Shows(t, "no answer since")
	term.Shows(t, leaky.name) // the last known state
	again := w.start(t, "--mode", "observe")
	w.holds(t, again.PID())
	term.Until(t, "the reaper's return is seen", func() bool { return !strings.Contains(term.Screen(), "no answer since") })

	term.Resize(t, 60, 10)
	term.Until(t, "the frame fits", func() bool {
		rows := strings.Split(term.Screen(), "\n")
		return len(rows) == 10 && strings.Contains(rows[9], "q quit")
	})
	if strings.Contains(term.Written(), "panic") {
		t.Errorf("it panics:\n%s", term.Written())
	}
	term.Press(t, "q")
	exits(t, cmd, 0)
	term.Restored(t, 1)
}

func TestTopRestoresTheTerminalHoweverItExits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	for name, end := range map[string]func(term *termtest.Terminal, cmd *exec.Cmd) error{
		"by SIGTERM": func(_ *termtest.Terminal, cmd *exec.Cmd) error { return cmd.Process.Signal(unix.SIGTERM) },
		"by SIGINT":  func(_ *termtest.Terminal, cmd *exec.Cmd) error { return cmd.Process.Signal(unix.SIGINT) },
		"by SIGHUP":  func(_ *termtest.Terminal, cmd *exec.Cmd) error { return cmd.Process.Signal(unix.SIGHUP) },
		"by ^C":      func(term *termtest.Terminal, _ *exec.Cmd) error { term.Press(t, "\x03"); return nil },
		"by q":       func(term *termtest.Terminal, _ *exec.Cmd) error { term.Press(t, "q"); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			term := termtest.New(t, 80, 24)
			cmd := w.top(t, term)
			term.Shows(t, "No attachment is registered on this node.")
			if term.Settings(t).Lflag&(unix.ECHO|unix.ICANON) != 0 {
				t.Error("the terminal waits for whole lines, or echoes")
			}
			if err := end(term, cmd); err != nil {
				t.Fatal(err)
			}
			exits(t, cmd, 0)
			term.Restored(t, 1)
		})
	}
}

func TestTopSetsTheSwitchOfAHungReaper(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	c := newContainer(t, nil)
	w.register(t, c.name)
	term := termtest.New(t, 120, 24)
	cmd := w.top(t, term)
	term.Shows(t, c.name)
	kill(t, p.PID(), unix.SIGSTOP)
	t.Cleanup(func() { kill(t, p.PID(), unix.SIGCONT) })
	term.Shows(t, "waiting for the reaper ...")
	term.Press(t, "mpINC-7\r")
	term.Shows(t, "Stop destroying on container "+c.name+", reason \"INC-7\"?")
	term.Press(t, "y")
	term.Shows(t, "no answer since")
	term.Shows(t, "the switch is set to observe for every reaper that reads it")
	kill(t, p.PID(), unix.SIGCONT)
	term.Shows(t, "Switches  observe for container "+c.name)
	term.Press(t, "q")
	exits(t, cmd, 0)
	term.Restored(t, 1)
	if r := w.run(t, "mode", "--pod", c.name); !strings.Contains(r.stdout, "INC-7") {
		t.Errorf("the reason is not kept: %s%s", r.stdout, r.stderr)
	}
}

// suspended runs top in a shell that records the settings of the terminal before, while top is stopped, and after.
const suspended = `
set -m
stty -g >"$1/before"
"$HALFCLOSE" top --interval 250ms
echo $? >"$1/code"
stty -g >"$1/stopped"
while [ ! -e "$1/go on" ]; do sleep 0.05; done
fg >"$1/fg"
echo $? >"$1/end"
stty -g >"$1/after"
`

func TestTopCanBeSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	for name, suspend := range map[string]func(*testing.T, *termtest.Terminal, int){
		"by ^Z":      func(t *testing.T, term *termtest.Terminal, _ int) { term.Press(t, "\x1a") },
		"by SIGTSTP": func(t *testing.T, _ *termtest.Terminal, pid int) { kill(t, pid, unix.SIGTSTP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			read := func(file string) string {
				b, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					return ""
				}
				return strings.TrimSpace(string(b))
			}
			term := termtest.New(t, 80, 24)
			shell := w.onTerminal(t, term, "sh", "-c", suspended, "sh", dir)
			term.Shows(t, "No attachment is registered on this node.")
			suspend(t, term, childOf(t, shell.Process.Pid))
			nstest.Eventually(t, testnode.Patience, "the shell has the terminal", func() bool { return read("stopped") != "" })
			if read("code") == "0" || read("stopped") != read("before") {
				t.Errorf("stopped with exit code %s, and the settings %s; before they were %s", read("code"), read("stopped"), read("before"))
			}
			term.Restored(t, 1)
			if err := os.WriteFile(filepath.Join(dir, "go on"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			term.Shows(t, "No attachment is registered on this node.")
			term.Press(t, "q")
			exits(t, shell, 0)
			if read("end") != "0" || read("after") != read("before") {
				t.Errorf("ended with exit code %s, and the settings %s; before they were %s", read("end"), read("after"), read("before"))
			}
			term.Restored(t, 2)
		})
	}
}

func kill(t *testing.T, pid int, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// childOf returns the PID of the process that a shell waits for.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.Fields(string(b) + " 0")[0])
	if err != nil || child == 0 {
		t.Fatalf("the shell has no child: %q, %v", b, err)
	}
	return child
}

func TestTopOncePrintsOneFrame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	c := newContainer(t, nil)
	w.register(t, c.name, "--grace", "1s", "--mode", "observe")
	leak(t, c)
	nstest.Eventually(t, testnode.Patience, "it shows the leak", func() bool {
		r := w.run(t, "top", "--once")
		if r.code != 0 || r.stderr != "" || strings.Contains(r.stdout, "\x1b") || strings.Contains(r.stdout, "q quit") {
			t.Fatalf("exit code %d: %q%s", r.code, r.stdout, r.stderr)
		}
		return strings.Contains(r.stdout, "Found     1 CLOSE_WAIT, 1 FIN_WAIT2") && strings.Contains(r.stdout, "  "+c.name)
	})
}

func TestTopObeysNoColor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.start(t)
	w.holds(t, p.PID())
	for _, tt := range []struct {
		name, value string
		colour      bool
	}{{"set", "1", false}, {"not set", "", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			term := termtest.New(t, 80, 24)
			cmd := w.onTerminal(t, term, "sh", "-c", `NO_COLOR=`+tt.value+` exec "$HALFCLOSE" top`)
			term.Shows(t, "Mode      destroy")
			if got := strings.Contains(term.Styled(), "\x1b[32;1mdestroy"); got != tt.colour {
				t.Errorf("in colour: %v, want %v:\n%q", got, tt.colour, term.Styled())
			}
			term.Press(t, "q")
			exits(t, cmd, 0)
		})
	}
}

func TestTopReportsWhatItNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		script, output string
		code           int
	}{
		"keys":                           {`"$HALFCLOSE" top </dev/null`, "halfclose: stdin is not a terminal, so no key can quit: use --once to print one frame\r\n", 2},
		"a terminal that is not dumb":    {`TERM=dumb "$HALFCLOSE" top`, "halfclose: TERM is dumb, which cannot show a full screen: use --once to print one frame\r\n", 2},
		"a screen":                       {`"$HALFCLOSE" top | cat`, "halfclose: stdout is not a terminal: use --once to print one frame\r\n", 0}, // the exit code of cat
		"a reaper, before any of a mess": {`"$HALFCLOSE" top`, "halfclose: no reaper is running: ", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			term := termtest.New(t, 80, 24)
			cmd := w.onTerminal(t, term, "sh", "-c", tt.script)
			exits(t, cmd, tt.code)
			term.Until(t, "it reports that", func() bool { return strings.Contains(term.Written(), "\n") })
			if got := term.Written(); !strings.HasPrefix(got, tt.output) || strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 1 {
				t.Errorf("it prints %q, want %q", got, tt.output)
			}
			term.Restored(t, 0)
		})
	}
}
