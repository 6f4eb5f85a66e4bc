// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package pluginbuild_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/pluginbuild"
)

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plugin")
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

const answersVersion = `#!/bin/sh
if [ "$CNI_COMMAND" = VERSION ]; then
  echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0"]}'
  exit
fi
`

func TestAPluginReportsItsBuild(t *testing.T) {
	want := buildinfo.Info{Version: "v1.2.3", Commit: "abc", Go: "go1.26.8", Platform: "linux/amd64"}
	for name, tt := range map[string]struct {
		text string
		info buildinfo.Info
	}{
		"ours":            {answersVersion + `echo "` + want.PluginLine() + `" >&2; exit 2`, want},
		"another one":     {answersVersion + `echo "CNI bridge plugin v1.6.0" >&2`, buildinfo.Info{}},
		"one that fails":  {answersVersion + `kill -9 $$`, buildinfo.Info{}},
		"an older binary": {answersVersion + `echo "Usage: halfclose [command]"`, buildinfo.Info{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := pluginbuild.Ask(t.Context(), script(t, tt.text))
			if err != nil || got != tt.info {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestAPluginThatDoesNotAnswerVersionIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		text    string
		wantErr string
	}{
		"another program":            {"#!/bin/sh\necho hello\n", `answers "hello": it is no CNI plugin`},
		"an object without versions": {"#!/bin/sh\necho '{}'\n", "it is no CNI plugin"},
		"a program that fails":       {"#!/bin/sh\necho no network >&2; exit 3\n", "exit status 3: no network"},
		"of another architecture":    {"\x7fELF text", "it is not built for this machine (linux/"},
		"1 MiB of output":            {"#!/bin/sh\nhead -c 1048576 /dev/zero\n", "it is no CNI plugin"},
		"one that needs a shell":     {"#!/none/sh\n", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pluginbuild.Ask(t.Context(), script(t, tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %v, want %q in it", err, tt.wantErr)
			}
		})
	}
	if _, err := pluginbuild.Ask(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("none: got %v", err)
	}
}

func TestALongOutputIsCut(t *testing.T) {
	const writes = "#!/bin/sh\nhead -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2\n"
	stdout, stderr, err := pluginbuild.Run(t.Context(), script(t, writes))
	if err != nil || len(stdout) != pluginbuild.MaxOutput || len(stderr) != pluginbuild.MaxOutput {
		t.Errorf("got %d and %d bytes, %v; want %d of each", len(stdout), len(stderr), err, pluginbuild.MaxOutput)
	}
}

func TestACommandReportsItsBuild(t *testing.T) {
	const answers = `#!/bin/sh
[ "$*" = "version --output json" ] || exit 9
echo '{"version":"v1.2.3","commit":"abc","go":"go1.26.8","platform":"linux/amd64"}'
`
	want := buildinfo.Info{Version: "v1.2.3", Commit: "abc", Go: "go1.26.8", Platform: "linux/amd64"}
	if got, err := pluginbuild.AskCommand(t.Context(), script(t, answers)); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	pluginbuild.SetRunTimeout(t, time.Second)
	for name, tt := range map[string]struct {
		text    string
		wantErr string
	}{
		"another program":      {"echo hello", `it answers "hello": it is not the command halfclose`},
		"another command":      {"echo '{}'", "it is not the command halfclose"},
		"a command that fails": {"echo no version >&2; exit 3", "exit status 3: no version"},
		"1 MiB of output":      {"head -c 1048576 /dev/zero", "it is not the command halfclose"},
		"output without end":   {"exec yes", "it does not answer within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pluginbuild.AskCommand(t.Context(), script(t, "#!/bin/sh\n"+tt.text+"\n")); err == nil || !strings.Contains(err.Error(), tt.wantErr) || len(err.Error()) > 500 {
				t.Errorf("got %.600v, want %q in it", err, tt.wantErr)
			}
		})
	}
}

func TestAProgramThatDoesNotExitIsNotWaitedFor(t *testing.T) {
	for name, tt := range map[string]string{
		"it writes without end": "#!/bin/sh\nexec yes\n",
		"it sleeps":             "#!/bin/sh\nexec sleep 60\n",
	} {
		t.Run(name, func(t *testing.T) {
			pluginbuild.SetRunTimeout(t, 300*time.Millisecond)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := pluginbuild.Ask(t.Context(), script(t, tt))
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), "it does not answer within 300ms") {
				t.Errorf("got %v", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
				t.Errorf("asking took %d bytes of memory, want no more than 4 MiB", took)
			}
		})
	}
}

func TestTheCallersDeadlineIsAnError(t *testing.T) {
	const sleeps = "exec sleep 60\n"
	for name, text := range map[string]string{"with VERSION": "#!/bin/sh\n" + sleeps, "without a command": answersVersion + sleeps} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := pluginbuild.Ask(ctx, script(t, text)); err == nil || !strings.Contains(err.Error(), "it does not answer within ") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTheErrorHasTheCallersCause(t *testing.T) {
	dir := t.TempDir()
	fifo, path := filepath.Join(dir, "fifo"), script(t, "#!/bin/sh\n: >"+dir+"/fifo; exec sleep 60\n")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	errInterrupted := errors.New("the user interrupted it")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		if f, err := os.Open(fifo); err == nil { // the program runs
			f.Close()
		}
		cancel(errInterrupted)
	}()
	_, err := pluginbuild.Ask(ctx, path)
	if !errors.Is(err, errInterrupted) || !strings.HasPrefix(err.Error(), "killed before it answered: ") {
		t.Errorf("while it runs: got %v", err)
	}
	if _, err = pluginbuild.Ask(ctx, path); !errors.Is(err, errInterrupted) || !strings.HasPrefix(err.Error(), "not run: ") {
		t.Errorf("before it runs: got %v", err)
	}
}

// isGone reports whether a process exits within 10 s.
func isGone(t *testing.T, pid int) bool {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true
	} else if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if !errors.Is(err, unix.EINTR) {
			return n == 1
		}
	}
}

// childOf returns the process ID that the script at path wrote to PATH.child, and kills that process after the test.
func childOf(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path + ".child")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
	return pid
}

func TestNoChildOfTheProgramOutlivesTheRun(t *testing.T) {
	const child = "#!/bin/sh\nsleep 600 & echo $! >\"$0.child\"\n"
	for name, tt := range map[string]struct {
		text    string
		wantErr string
	}{
		"of a program that does not exit": {child + "wait\n", "it does not answer within 1s"},
		"of a program that exits":         {child + "exit 3\n", "exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			pluginbuild.SetRunTimeout(t, time.Second)
			path := script(t, tt.text)
			_, err := pluginbuild.Ask(t.Context(), path)
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("got %v, want %q in it", err, tt.wantErr)
			}
			if pid := childOf(t, path); !isGone(t, pid) {
				t.Errorf("process %d still runs", pid)
			}
		})
	}
}

func TestAProcessOutsideTheGroupThatKeepsTheOutputOpenIsNotWaitedFor(t *testing.T) {
	path := script(t, `#!/bin/sh
setsid sh -c 'echo $$ >"$0.child"; exec sleep 600' "$0" &
while [ ! -s "$0.child" ]; do :; done
`)
	_, err := pluginbuild.Ask(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "keeps its output open") {
		t.Errorf("got %v", err)
	}
	childOf(t, path)
}
