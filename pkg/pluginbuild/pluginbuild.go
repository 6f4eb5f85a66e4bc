// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package pluginbuild determines the build of an installed CNI plugin or command by running it.
package pluginbuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// runTimeout bounds one run, which usually takes a few milliseconds, and seconds on a node that is overloaded. Only tests change it.
var runTimeout = 30 * time.Second

// outputDelay bounds the wait for the end of a plugin's output after its exit. On a busy machine a process that is being
// started can have the same pipe for a moment.
const outputDelay = 2 * time.Second

// Ask runs the plugin at path twice, with CNI_COMMAND=VERSION and without a command, and returns its build. The build is zero
// for another plugin and for one that is too old to report it. It is an error if the plugin does not answer VERSION, as
// each CNI plugin does, or does not exit in time. The error does not name the path.
func Ask(ctx context.Context, path string) (buildinfo.Info, error) {
	out, _, err := run(ctx, path, request{env: []string{"CNI_COMMAND=VERSION"}, stdin: `{"cniVersion":"1.1.0"}`})
	if err != nil {
		return buildinfo.Info{}, err
	}
	var versions struct {
		Supported []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal(out, &versions); err != nil || len(versions.Supported) == 0 {
		return buildinfo.Info{}, fmt.Errorf("it answers %.80q: it is no CNI plugin", firstLine(out))
	}
	// Ours exits with 2. Another plugin may do anything here.
	_, stderr, err := run(ctx, path, request{})
	if err != nil && !isExit(err) {
		return buildinfo.Info{}, fmt.Errorf("run without CNI_COMMAND: %w", err)
	}
	info, _ := buildinfo.ParsePlugin(string(stderr))
	return info, nil
}

// AskCommand runs the command at path for its version. The error does not name the path.
func AskCommand(ctx context.Context, path string) (buildinfo.Info, error) {
	out, _, err := run(ctx, path, request{args: []string{"version", "--output", "json"}})
	if err != nil {
		return buildinfo.Info{}, err
	}
	var info buildinfo.Info
	if err := json.Unmarshal(out, &info); err != nil || info == (buildinfo.Info{}) {
		return buildinfo.Info{}, fmt.Errorf("it answers %.80q: it is not the command halfclose", firstLine(out))
	}
	return info, nil
}

// request is one run of a program.
type request struct {
	args  []string
	env   []string // the whole environment
	stdin string
}

// run runs the program at path. It returns at most maxOutput bytes of each output, and no process of the program's group
// outlives it.
func run(ctx context.Context, path string, r request) (stdout, stderr []byte, err error) {
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("not run: %w", context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline() // the caller's if that is earlier
	limit := time.Until(deadline).Round(10 * time.Millisecond)
	var out, errs bounded
	cmd := exec.CommandContext(ctx, path, r.args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = append([]string{}, r.env...), "/", outputDelay
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(r.stdin), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err = cmd.Start(); err == nil {
		err = waitGroup(cmd)
	}
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		err = errors.New("it leaves a process behind that keeps its output open")
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it does not answer within %v", limit)
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("killed before it answered: %w", context.Cause(ctx))
	case errors.Is(err, unix.ENOEXEC):
		err = fmt.Errorf("%w: it is not built for this machine (%s/%s)", err, runtime.GOOS, runtime.GOARCH)
	case isExit(err) && len(errs.Bytes()) > 0:
		err = fmt.Errorf("%w: %.80s", err, firstLine(errs.Bytes()))
	}
	return out.Bytes(), errs.Bytes(), err
}

// waitGroup waits for the leader of a process group to exit, and kills the rest of the group.
func waitGroup(cmd *exec.Cmd) error {
	pid := cmd.Process.Pid
	// Until Wait reaps the leader, no other process or group can have its process ID.
	_ = hostfs.RetryErr(func() error { return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) })
	_ = unix.Kill(-pid, unix.SIGKILL) // succeeds: the leader is in the group
	return cmd.Wait()
}

func isExit(err error) bool {
	_, ok := errors.AsType[*exec.ExitError](err)
	return ok
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}

// bounded keeps the first maxOutput bytes and discards the rest, so that the program never blocks on a full pipe. The
// buffer is no embedded field: its ReadFrom would bypass Write.
type bounded struct{ kept bytes.Buffer }

const maxOutput = 64 << 10

func (b *bounded) Write(p []byte) (int, error) {
	_, err := b.kept.Write(p[:min(len(p), maxOutput-b.kept.Len())])
	return len(p), err
}

// Bytes returns the bytes kept.
func (b *bounded) Bytes() []byte { return b.kept.Bytes() }
