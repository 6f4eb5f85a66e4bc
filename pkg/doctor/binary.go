// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/hostfs"
)

// binary is the plugin's binary, where runtimes look for it.
type binary struct {
	path string // on the host
	err  error  // of looking for it
	mode fs.FileMode
	self bool           // it is the one that this process runs
	info buildinfo.Info // what it says it is
	run  error          // of asking it
}

func lookAtBinary(ctx context.Context, h hostfs.Dir, path string) binary {
	b := binary{path: path}
	at, err := h.Resolve(path)
	if err != nil {
		b.err = err
		return b
	}
	info, err := os.Stat(at)
	if err != nil {
		b.err = err
		return b
	}
	b.mode = info.Mode()
	if own, err := os.Stat("/proc/self/exe"); err == nil && os.SameFile(own, info) {
		b.self = true
		return b
	}
	if b.mode.IsRegular() && b.mode&0o111 != 0 {
		b.info, b.run = askVersion(ctx, at)
	}
	return b
}

// askVersion runs a binary for its version. As a plugin it would need CNI_COMMAND, which it does not get.
func askVersion(ctx context.Context, path string) (buildinfo.Info, error) {
	cmd := exec.CommandContext(ctx, path, "version", "--output", "json")
	cmd.Env, cmd.Dir, cmd.WaitDelay = []string{}, "/", time.Second/4
	out, err := cmd.Output()
	if err != nil {
		if failed, ok := errors.AsType[*exec.ExitError](err); ok && len(failed.Stderr) > 0 {
			line, _, _ := strings.Cut(string(failed.Stderr), "\n")
			err = fmt.Errorf("%w: %s", err, line)
		}
		return buildinfo.Info{}, err
	}
	var info buildinfo.Info
	if err := json.Unmarshal(out, &info); err != nil {
		return buildinfo.Info{}, fmt.Errorf("read what it calls its version: %w", err)
	}
	return info, nil
}

// judgeBinary says whether the runtime can run the plugin that is chained.
func judgeBinary(b binary) []Finding {
	f := Finding{Check: "cni-binary", Level: Fail}
	install := fmt.Sprintf("install -m 755 halfclose %s, on the host, which halfclose install does", b.path)
	own := buildinfo.Get()
	switch {
	case errors.Is(b.err, fs.ErrNotExist):
		f.What, f.Do = fmt.Sprintf("there is no %s, though halfclose is chained: no container starts", b.path), install+"; or name the directory with --cni-bin-dir"
	case b.err != nil:
		f.Level, f.What, f.Do = Warn, fmt.Sprintf("%s cannot be looked at: %v", b.path, b.err), "run it as root"
	case !b.mode.IsRegular():
		f.What, f.Do = fmt.Sprintf("%s is no regular file (%s), though halfclose is chained: no container starts", b.path, b.mode), install
	case b.mode&0o111 == 0:
		f.What, f.Do = fmt.Sprintf("%s cannot be executed (%s), though halfclose is chained: no container starts", b.path, b.mode), "chmod 755 "+b.path
	case b.self:
		f.Level, f.What = OK, fmt.Sprintf("%s is the binary that runs here (%s)", b.path, own.Version)
	case errors.Is(b.run, fs.ErrPermission):
		f.Level, f.What, f.Do = Warn, fmt.Sprintf("%s cannot be run to ask for its version: %v", b.path, b.run), "run it as root; see whether its file system is mounted noexec"
	case b.run != nil:
		f.What, f.Do = fmt.Sprintf("%s does not say its version: %v", b.path, b.run), "see whether it is halfclose, for this machine ("+own.Platform+"); "+install
	case b.info.Version != own.Version || b.info.Commit != own.Commit:
		f.Level, f.What = Warn, fmt.Sprintf("%s is %s, and this is %s", b.path, b.info, own)
		f.Do = "install the newer of the two in both places"
	default:
		f.Level, f.What = OK, fmt.Sprintf("%s is there, and of the same version as this (%s)", b.path, own.Version)
	}
	return []Finding{f}
}
